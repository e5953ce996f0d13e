/**
 * Mutated IGVM files, executables, archives, firmware and quotes: whatever comes, a value or a named error, in bounded time
 * and memory. 5,000 inputs in the normal run, 100,000 and a seed of the day in `//test:fuzz_nightly`.
 */
import fc from 'fast-check';
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { readU32, writeU32 } from '../../tools/bytes/little-endian.ts';
import { sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { buildImage } from '../../tools/coconut/build-image.ts';
import { readElf } from '../../tools/elf/file.ts';
import { diffIgvm } from '../../tools/igvm/diff.ts';
import { dumpJson, dumpText } from '../../tools/igvm/dump.ts';
import { explainMeasurement } from '../../tools/igvm/explain.ts';
import { hasPlatform } from '../../tools/igvm/measured-file.ts';
import { MEASURED_PLATFORMS, measureIgvm, type MeasuredPlatform } from '../../tools/igvm/measure.ts';
import { headersOfKind, LARGE_PAGE_BYTES, PAGE_FLAGS, type IgvmFile } from '../../tools/igvm/model.ts';
import { readIgvm } from '../../tools/igvm/reader.ts';
import { writeIgvm } from '../../tools/igvm/writer.ts';
import { buildMiniatureEfiKernel } from '../../tools/miniature/efi-kernel.ts';
import { buildMiniatureHypervFirmware } from '../../tools/miniature/hyperv-firmware.ts';
import { buildMiniatureSvsm } from '../../tools/miniature/svsm.ts';
import { readPackit } from '../../tools/packit/archive.ts';
import { authenticodeSha384 } from '../../tools/tdx/authenticode.ts';
import { loadKernel } from '../../tools/tdx/kernel-header.ts';
import { mrtd } from '../../tools/tdx/mrtd.ts';
import { readQuote } from '../../tools/tdx/quote.ts';
import { memoryRanges, tdHob } from '../../tools/tdx/td-hob.ts';
import { parseTdvf } from '../../tools/tdx/tdvf.ts';
import {
  BLDR_KERNEL,
  bldrOptions,
  FS_IMAGE,
  LOADER,
  ovmf,
  parts,
  stage2Options,
} from '../support/coconut-parts.ts';
import { kernelK, pseudoRandom, tdvf1 } from '../support/dstack.ts';
import { allPageKinds, MINIMAL, MINIMAL_TDX, stage2CpuidPage, VSM_FIXTURE } from '../support/igvm-files.ts';
import { accepts, changesWith, mutate, RUNS, SEED, type Change } from './mutations.ts';

/** Integers that overflow, wrap or reach far, of 16, 32 and 64 bits. */
const changes = changesWith([
  ...['00', '01', '7f', '80', 'ff', 'ffff', '0080', 'ffffffff', 'ffffff7f', '00000080', '00f0ffff'],
  ...['ffffffffffffffff', 'ffffffffffffff7f', '00f0ffffffffffff', '0000000000001000', '0000000000000000'],
  ...['0000000001000000', '00000000', '01000080'],
]);

/** Pages of parameters and of 2 MiB that a file may ask for here: each costs time and no byte. */
const EMPTY_PAGES_LIMIT = 1 << 16;

/** A source that counts what is read of it, and hands out copies: nothing may rest on views. */
function counted(bytes: Uint8Array): ByteSource & { readonly readBytes: number } {
  const inner = sourceFromBytes(bytes);
  let readBytes = 0;
  return {
    sizeBytes: inner.sizeBytes,
    extents: inner.extents,
    get readBytes() {
      return readBytes;
    },
    read(offset, length) {
      readBytes += length;
      return inner.read(offset, length).slice();
    },
  };
}

/** The size and the checksum of an IGVM file made right again, so that a change reaches what stands behind them. */
function resealed(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  if (copy.length < 24) return copy;
  const headerBytes = readU32(copy, 4) === 2 ? 32 : 24;
  writeU32(copy, 16, copy.length);
  writeU32(copy, 20, 0);
  const variable = copy.subarray(headerBytes, headerBytes + readU32(copy, 12));
  writeU32(copy, 20, crc32(variable, crc32(copy.subarray(0, headerBytes))));
  return copy;
}

function emptyPages(file: IgvmFile): number {
  const areas = headersOfKind(file, 'parameter-area').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const ranges = headersOfKind(file, 'error-range').reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const large = headersOfKind(file, 'page-data').filter(({ flags }) => (flags & PAGE_FLAGS.is2MbPage) !== 0);
  return (areas + ranges + large.length * LARGE_PAGE_BYTES) / 4096;
}

function useIgvm(bytes: Uint8Array): void {
  const file = readIgvm(bytes);
  dumpText(file);
  JSON.stringify(dumpJson(file));
  expect(diffIgvm(file, readIgvm(bytes))).toEqual([]);
  if (!file.headers.some(({ kind }) => kind === 'unknown')) {
    const again = readIgvm(writeIgvm(file));
    expect(diffIgvm(file, again)).toEqual([]);
  }
  if (emptyPages(file) > EMPTY_PAGES_LIMIT) return;
  const source = counted(bytes);
  const streamed = readIgvm(source, { sharesPageBuffer: true });
  for (const platform of Object.keys(MEASURED_PLATFORMS) as MeasuredPlatform[]) {
    if (!hasPlatform(file, MEASURED_PLATFORMS[platform])) continue;
    for (const compat of platform === 'tdx' || platform === 'vbs'
      ? [undefined]
      : [undefined, 'igvmmeasure' as const]) {
      // A platform that cannot be measured is no end of the others.
      accepts(() => {
        const options = { platform, compat };
        const whole = measureIgvm(file, options);
        // Read page by page through one buffer, it is the same in every detail.
        const measured = measureIgvm(streamed, options);
        expect(explainMeasurement(measured)).toBe(explainMeasurement(whole));
      });
    }
  }
  // Twice for each measurement and its explanation, of which each reads ahead by at most as much again.
  const pages = headersOfKind(file, 'page-data').length + headersOfKind(file, 'vp-context').length;
  expect(source.readBytes).toBeLessThan(bytes.length * 2 + (pages + 8) * 4096 * 64);
}

function useElf(bytes: Uint8Array): void {
  const elf = readElf(counted(bytes), 'fuzz.elf');
  for (const { content } of elf.segments)
    expect(content.read(0, content.sizeBytes).length).toBe(content.sizeBytes);
  if (elf.symbols !== undefined) {
    const { table, count, entryBytes, strings } = elf.symbols;
    expect(count * entryBytes).toBeLessThanOrEqual(table.sizeBytes);
    strings.read(0, strings.sizeBytes);
  }
}

interface Target {
  readonly seeds: readonly Uint8Array[];
  readonly read: (bytes: Uint8Array) => void;
  /** Makes a changed input whole enough to be looked at. */
  readonly repair?: (bytes: Uint8Array) => Uint8Array;
  /** Its share of the runs; 1 when absent. */
  readonly weight?: number;
  readonly kinds?: readonly string[];
}

const QUOTE = ((): Uint8Array => {
  const quote = pseudoRandom(48 + 6 + 648 + 4 + 200, 'quote');
  quote.set([5, 0, 2, 0, 0x81, 0, 0, 0]);
  quote.set([3, 0, 0x88, 2, 0, 0], 48);
  writeU32(quote, 54 + 648, 200);
  return quote;
})();

const TARGETS: Readonly<Record<string, Target>> = {
  igvm: {
    seeds: [VSM_FIXTURE, MINIMAL, MINIMAL_TDX, allPageKinds(stage2CpuidPage())].map(writeIgvm),
    read: useIgvm,
    weight: 0.2,
  },
  'igvm with a right checksum': {
    seeds: [
      ...[VSM_FIXTURE, MINIMAL, MINIMAL_TDX, allPageKinds(stage2CpuidPage())].map(writeIgvm),
      buildMiniatureHypervFirmware(),
    ],
    read: useIgvm,
    repair: resealed,
    weight: 2,
  },
  elf: { seeds: [BLDR_KERNEL, buildMiniatureSvsm()], read: useElf, weight: 2 },
  'elf, loaded': {
    seeds: [BLDR_KERNEL, buildMiniatureSvsm()],
    read: (kernel) =>
      void writeIgvm(buildImage(bldrOptions(), parts({ kernel, loader: LOADER, fs: FS_IMAGE }))),
    weight: 0.2,
  },
  'OVMF in an image': {
    seeds: [ovmf()],
    read: (firmware) => {
      for (const options of [stage2Options(), bldrOptions()]) {
        writeIgvm(buildImage(options, parts({ kernel: BLDR_KERNEL, loader: LOADER, firmware })));
      }
    },
    weight: 0.2,
  },
  packit: {
    seeds: [FS_IMAGE],
    read: (bytes) => {
      for (const { content } of readPackit(counted(bytes))) content.read(0, content.sizeBytes);
    },
  },
  'TDX firmware': {
    seeds: [tdvf1()],
    read: (bytes) => {
      const sections = parseTdvf(counted(bytes));
      for (const order of ['single-pass', 'two-pass'] as const) mrtd(bytes, sections, order);
      tdHob(sections, 2 ** 31);
      memoryRanges(sections, 2 ** 31);
    },
    weight: 0.5,
    kinds: ['format', 'usage'],
  },
  'kernel of TDX': {
    seeds: [kernelK(), buildMiniatureEfiKernel()],
    read: (bytes) => {
      authenticodeSha384(counted(bytes));
      authenticodeSha384(loadKernel(counted(bytes), 123_457, 2 ** 31).patched);
    },
  },
  quote: { seeds: [QUOTE], read: (bytes) => void readQuote(bytes) },
};

const names = Object.keys(TARGETS);
const total = names.reduce((sum, name) => sum + (TARGETS[name]?.weight ?? 1), 0);

/** Changes to the front, where structure is: of a file that is mostly pages, few others would hit it. */
const inFront = (list: readonly Change[], bytes: Uint8Array, share: number): Uint8Array => {
  const split = Math.max(1, Math.floor(bytes.length * share));
  const front = mutate(bytes.slice(0, split), list);
  return new Uint8Array(Buffer.concat([front, bytes.subarray(split)]));
};

describe(`mutated images, ${RUNS} of them with seed ${SEED}`, () => {
  test.each(names)('%s: a value or a named error', (name) => {
    const { seeds, read, repair, weight = 1, kinds } = TARGETS[name] as Target;
    for (const seed of seeds) {
      const isGood = accepts(() => {
        read(seed);
      }, kinds);
      expect(isGood, bytesToHex(seed.subarray(0, 16))).toBe(true);
    }
    let refused = 0;
    const runs = Math.ceil((RUNS * weight) / total);
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        changes,
        fc.constantFrom(1, 1, 0.25, 0.05, 0.01),
        (seed, list, share) => {
          const changed = share === 1 ? mutate(seed, list) : inFront(list, seed, share);
          const bytes = repair === undefined ? changed : repair(changed);
          if (
            !accepts(() => {
              read(bytes);
            }, kinds)
          )
            refused++;
        },
      ),
      { numRuns: runs, seed: SEED },
    );
    expect(refused).toBeGreaterThan(runs / 20);
  });
});
