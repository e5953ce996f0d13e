/**
 * Digests of large images, as whole processes, against the SHA-384 that they cannot do without: `./bazelw build
 * //tools:cvm && ./bazelw run //test/bench:measurements [-- RUNS]`. Both sides run in turns, in one run.
 *
 *   igvm measure   a file of 64 MiB in pages that are all different, against one pass over it, and page by page
 *   coconut build  the qemu target with its measurement, from parts: the kernel of 1 MiB, OVMF of 4 MiB
 *   tdx measure    a bundle of firmware 4 MiB, kernel 12 MiB and initrd 40 MiB, against one pass over its files
 *
 * Nothing here passes or fails; figures of one machine are worth nothing on another, their ratios are.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';

import { PAGE_DATA_TYPES, supportedPlatform, type IgvmHeader } from '../../tools/igvm/model.ts';
import { writeIgvm } from '../../tools/igvm/writer.ts';
import { buildMiniatureEfiKernel } from '../../tools/miniature/efi-kernel.ts';
import { buildMiniatureTdxFirmware } from '../../tools/miniature/tdx-firmware.ts';
import { writeVmsa } from '../../tools/snp/vmsa-page.ts';

const root = process.env['BUILD_WORKSPACE_DIRECTORY'] ?? resolve(dirname(import.meta.filename), '../..');
const cvm = join(root, 'bazel-bin/tools/cvm.mjs');
const RUNS = Number(process.argv[2] ?? 11);
const MIB = 1 << 20;
const PAGE = 4096;

interface Side {
  readonly name: string;
  readonly words: readonly string[];
  readonly before?: () => void;
}

/** Seconds of a whole process. */
function seconds({ words, before }: Side): number {
  before?.();
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${words.join(' ')} ended with ${status ?? 'a signal'}:\n${stderr}`);
  return (performance.now() - start) / 1000;
}

/** All sides in turns, once before for the caches; rows with the ratio of medians to the last side that is named so. */
function compare(title: string, sides: readonly Side[]): void {
  const times = sides.map(() => [] as number[]);
  for (let run = -1; run < RUNS; run++) {
    for (const [i, side] of sides.entries()) {
      const time = seconds(side);
      if (run >= 0) times[i]?.push(time);
    }
  }
  const medians = times.map((all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN);
  process.stdout.write(`${title.padEnd(46)}      min   median    ratio\n`);
  for (const [i, { name }] of sides.entries()) {
    const figures = [Math.min(...(times[i] ?? [])), medians[i] ?? 0, (medians[0] ?? 0) / (medians[i] ?? 0)];
    process.stdout.write(`  ${name.padEnd(44)}${figures.map((n) => n.toFixed(3).padStart(9)).join('')}\n`);
  }
}

/** Bytes that compress no better than code does, the same on every machine. */
function filler(sizeBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  let state = seed;
  for (let at = 0; at + 4 <= sizeBytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

function largeIgvm(sizeBytes: number): Uint8Array {
  const content = filler(sizeBytes, 1);
  const pages = Array.from({ length: sizeBytes / PAGE }, (_, i): IgvmHeader => {
    const data = content.subarray(i * PAGE, (i + 1) * PAGE);
    return {
      kind: 'page-data',
      gpa: 8 * MIB + i * PAGE,
      mask: 1,
      flags: 0,
      dataType: PAGE_DATA_TYPES.NORMAL,
      data,
    };
  });
  const headers: IgvmHeader[] = [
    supportedPlatform('SEV_SNP', 1, { highestVtl: 2 }),
    { kind: 'guest-policy', policy: 0x30000n, mask: 1 },
    ...pages,
    {
      kind: 'vp-context',
      gpa: 0xffff_ffff_f000,
      mask: 1,
      vpIndex: 0,
      data: writeVmsa({ segments: {}, registers: {} }),
    },
  ];
  return writeIgvm({ version: 1, architecture: 'x64', headers });
}

/** A process that reads files and hashes them: in one pass, or page by page. */
function pass(files: readonly string[], isByPage: boolean): Side {
  const hashing = isByPage
    ? `for (let at = 0; at < count; at += ${PAGE}) hash('sha384', buffer.subarray(at, at + ${PAGE}), 'buffer');`
    : 'state.update(buffer.subarray(0, count));';
  const script = `
    const { createHash, hash } = require('node:crypto');
    const { openSync, readSync } = require('node:fs');
    const buffer = new Uint8Array(${MIB});
    const state = createHash('sha384');
    for (const path of ${JSON.stringify(files)}) {
      const handle = openSync(path);
      for (let count; (count = readSync(handle, buffer)) > 0;) { ${hashing} }
    }
    state.digest();`;
  return {
    name: `SHA-384 of the same bytes, ${isByPage ? 'page by page' : 'one pass'}`,
    words: ['-e', script],
  };
}

const work = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'cvm-bench-'));
const at = (name: string): string => join(work, name);
/** Makes an input with a command of ours. */
const make = (...words: readonly string[]): void => void seconds({ name: '', words: [cvm, ...words] });
const start: Side = { name: 'cvm --version', words: [cvm, '--version'] };

try {
  writeFileSync(at('large.igvm'), largeIgvm(64 * MIB));
  compare('IGVM file of 64 MiB', [
    { name: 'cvm igvm measure', words: [cvm, 'igvm', 'measure', '--bare', at('large.igvm')] },
    pass([at('large.igvm')], false),
    pass([at('large.igvm')], true),
    start,
  ]);

  mkdirSync(at('components'));
  const grown = (name: string, ...words: readonly string[]): Buffer => {
    make('miniature', ...words, '--output', at(name));
    return readFileSync(at(name));
  };
  writeFileSync(at('components/svsm'), Buffer.concat([grown('small.elf', 'svsm'), filler(MIB, 9)]));
  writeFileSync(at('components/stage2'), filler(48 * 1024, 2));
  writeFileSync(at('components/tdx-stage1'), filler(PAGE, 3));
  writeFileSync(at('components/userinit'), filler(MIB, 4));
  const ovmf = grown('small.fd', 'firmware');
  // Its tables are found from its end: what makes it larger goes in front.
  writeFileSync(at('OVMF.fd'), Buffer.concat([filler(4 * MIB - ovmf.length, 5), ovmf]));
  const recipe = {
    igvm: { qemu: { output: 'coconut-qemu.igvm', platforms: ['snp', 'tdp', 'native'], 'check-kvm': true } },
    kernel: { svsm: { binary: true }, stage2: { binary: true }, 'tdx-stage1': { objcopy: 'binary' } },
    firmware: { file: at('OVMF.fd') },
    fs: { modules: { userinit: { path: '/init' } } },
  };
  writeFileSync(at('recipe.json'), JSON.stringify(recipe));
  const words = [
    'coconut',
    'build',
    at('recipe.json'),
    '--components',
    at('components'),
    '--output',
    at('bin'),
  ];
  compare('COCONUT-SVSM qemu target', [
    { name: 'cvm coconut build, which measures too', words: [cvm, ...words] },
    start,
  ]);

  writeFileSync(at('ovmf.fd'), buildMiniatureTdxFirmware(4 * MIB));
  writeFileSync(at('bzImage'), buildMiniatureEfiKernel(12 * MIB));
  writeFileSync(at('initrd'), filler(40 * MIB, 7));
  writeFileSync(at('rootfs'), filler(PAGE, 8));
  make(
    ...['bundle', 'create', '--ovmf', at('ovmf.fd'), '--kernel', at('bzImage'), '--initrd', at('initrd')],
    ...['--rootfs', at('rootfs'), '--rootfs-hash', '11'.repeat(32), '--rootfs-size', String(PAGE)],
    ...['--image-version', '0.6.0', '--ovmf-variant', 'pre202505', '--folder', at('image')],
  );
  const files = ['ovmf.fd', 'bzImage', 'initramfs.cpio.gz'].map((name) => at(`image/${name}`));
  const vm = ['--cpus', '2', '--memory', '4G', '--qemu-version', '8.2.2'];
  compare('TDX bundle of 4 + 12 + 40 MiB', [
    { name: 'cvm tdx measure', words: [cvm, 'tdx', 'measure', '--bundle', at('image'), ...vm] },
    pass(files, false),
    start,
  ]);
} finally {
  rmSync(work, { recursive: true, force: true });
}
