/**
 * The file-system engine against the programs that do the same: `./bazelw build //tools:cvm && ./bazelw run
 * //test/bench:filesystems [-- MIB…]`, with mke2fs, debugfs, veritysetup, zstd and tar installed. Both sides are warm, write to the same folder and run in
 * turns. Prints `name ours=… peer=… ratio=…` and writes all figures as JSON.
 *
 * Nothing here passes or fails; figures of one machine are worth nothing on another, their ratios are.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';

const root = process.env['BUILD_WORKSPACE_DIRECTORY'] ?? resolve(dirname(import.meta.filename), '../..');
const cvmBundle = join(root, 'bazel-bin/tools/cvm.mjs');
const RUNS = 3;
const FILES = 5000;
const ENV = { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

interface Measure {
  readonly seconds: number;
  /** Largest resident set of one process, in MiB. */
  readonly peakMiB: number;
}

/** Runs a pipeline of the shell; the words are ours. */
function measure(command: string): Measure {
  const start = performance.now();
  const result = spawnSync('/usr/bin/time', ['-f', 'peak %M', 'bash', '-euo', 'pipefail', '-c', command], {
    encoding: 'utf8',
    env: ENV,
    maxBuffer: 1 << 28,
  });
  const seconds = (performance.now() - start) / 1000;
  if (result.status !== 0) throw new Error(`${command}\n${result.stderr}`);
  return { seconds, peakMiB: Number(/peak (\d+)\s*$/.exec(result.stderr)?.[1] ?? 0) / 1024 };
}

function median(measures: readonly Measure[]): Measure {
  const sorted = measures.toSorted((a, b) => a.seconds - b.seconds);
  return sorted[Math.floor(sorted.length / 2)] as Measure;
}

/** Both sides in turns, once before for the caches. */
function compare(name: string, ours: string, peer: string): Row {
  measure(peer);
  measure(ours);
  const measures = { ours: [] as Measure[], peer: [] as Measure[] };
  for (let run = 0; run < RUNS; run++) {
    measures.peer.push(measure(peer));
    measures.ours.push(measure(ours));
  }
  const [o, p] = [median(measures.ours), median(measures.peer)];
  const row = {
    name,
    ours: o.seconds,
    peer: p.seconds,
    ratio: o.seconds / p.seconds,
    oursPeakMiB: Math.max(...measures.ours.map(({ peakMiB }) => peakMiB)),
    peerPeakMiB: Math.max(...measures.peer.map(({ peakMiB }) => peakMiB)),
  };
  process.stdout.write(
    `${name} ours=${row.ours.toFixed(2)}s peer=${row.peer.toFixed(2)}s ratio=${row.ratio.toFixed(2)} ` +
      `peak=${row.oursPeakMiB.toFixed(0)}MiB peer_peak=${row.peerPeakMiB.toFixed(0)}MiB\n`,
  );
  return row;
}

interface Row {
  readonly name: string;
  readonly ours: number;
  readonly peer: number;
  readonly ratio: number;
  readonly oursPeakMiB: number;
  readonly peerPeakMiB: number;
}

/** Files as an image has them: text and tables that compress, code that does so less, some that is packed already. */
function fillTree(folder: string, totalBytes: number): void {
  let state = 1;
  const next = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0);
  const words = Array.from(
    { length: 4096 },
    (_, i) => `${(Math.imul(i, 2_654_435_761) >>> 8).toString(36)} `,
  );
  for (let i = 0; i < FILES; i++) {
    const size = Math.floor((totalBytes / FILES) * (0.2 + (1.6 * ((i * 7919) % 1000)) / 1000));
    const bytes = Buffer.alloc(size);
    const kind = i % 10;
    for (let at = 0; at < size;) {
      if (kind === 0 || (kind < 6 && next() >>> 29 === 0)) {
        for (const end = Math.min(size, at + 64); at < end; at++) bytes[at] = next() >>> 24;
      } else at += bytes.write(words[(next() >>> 8) & 4095] as string, at);
    }
    if (i < 50) mkdirSync(join(folder, `d${i}`), { recursive: true });
    writeFileSync(join(folder, `d${i % 50}/f${i}`), bytes);
  }
}

const sizes = process.argv.slice(2).map(Number);
const mebibytes = sizes.length === 0 ? [256, 1024, 4096] : sizes;
const rows: Row[] = [];
for (const size of mebibytes) {
  const work = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'cvm-bench-'));
  try {
    const at = (name: string): string => join(work, name);
    mkdirSync(at('tree'));
    fillTree(at('tree'), (size * 800 * 1024 * 1024) / 1024);
    measure(
      `tar --sort=name --format=pax --pax-option=delete=atime,delete=ctime -cf ${at('tree.tar')} -C ${at('tree')} .`,
    );
    const bytes = size * 1024 * 1024;
    const cvm = `${process.execPath} ${cvmBundle}`;
    const salt = '89bc06702975f10b41dd53e26eb9aef0adde93bc13d73e8f26b496dddefe2483';
    rows.push(
      compare(
        `partition-build-${size}MiB`,
        `${cvm} partition build --tar ${at('tree.tar')} --size ${bytes} --verity-offset ${bytes} --output ${at('p.tzst')} --root-hash-output ${at('hash')}`,
        `rm -f ${at('m.img')}; truncate -s ${bytes} ${at('m.img')}; mke2fs -q -F -t ext4 -b 4096 -O ^has_journal -E lazy_itable_init=0 -d ${at('tree')} ${at('m.img')}; ` +
          `veritysetup format ${at('m.img')} ${at('m.img')} --hash-offset=${bytes} --data-blocks=${bytes / 4096} --salt=${salt} >/dev/null; zstd -q -f -T2 -3 ${at('m.img')} -o ${at('m.zst')}`,
      ),
    );
    rows.push(
      compare(
        `extract-tree-${size}MiB`,
        `rm -rf ${at('out')}; ${cvm} ext4 extract ${at('m.img')} --output ${at('out')} 2>/dev/null`,
        `rm -rf ${at('rdump')}; mkdir ${at('rdump')}; debugfs -R 'rdump / ${at('rdump')}' ${at('m.img')} 2>/dev/null`,
      ),
    );
    rows.push(
      compare(
        `extract-file-${size}MiB`,
        `${cvm} ext4 cat ${at('p.tzst')} /d7/f7 --output ${at('one')}`,
        `zstd -dcq ${at('p.tzst')} | tar -xO partition.img > ${at('r.img')}; debugfs -R 'dump /d7/f7 ${at('two')}' ${at('r.img')} 2>/dev/null`,
      ),
    );
    if (statSync(at('one')).size !== statSync(at('tree/d7/f7')).size)
      throw new Error('another file came out');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
writeFileSync(
  join(process.env['BUILD_WORKING_DIRECTORY'] ?? process.cwd(), 'bench-filesystems.json'),
  `${JSON.stringify(rows, null, 1)}\n`,
);
