/**
 * The file-system engine against the programs that do the same: `./bazelw build //tools:cvm && ./bazelw run
 * //test/bench:filesystems [-- MIB…]`, with mke2fs, debugfs, veritysetup, zstd and tar installed. Both sides are warm, write to the same folder and run in
 * turns. The sizes in MiB are those of the images, four fifths full of files; 256, 1024 and 4096 when none are given,
 * for which 35 GB of room are needed (in BENCH_FOLDER or the system's folder for such things). Prints `name ours=… peer=… ratio=…` a
 * line, then time and memory against size, and writes all figures as JSON.
 *
 * Nothing here passes or fails; figures of one machine are worth nothing on another, their ratios are.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { openFile } from '../../tools/commands/files.ts';
import { writeZstdFile } from '../../tools/commands/image-files.ts';
import { writeSparseTar } from '../../tools/tar/sparse.ts';

const root = process.env['BUILD_WORKSPACE_DIRECTORY'] ?? resolve(dirname(import.meta.filename), '../..');
const cvmBundle = process.env['BENCH_BUNDLE'] ?? join(root, 'bazel-bin/tools/cvm.mjs');
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

/**
 * Both sides in turns, once before for the caches.
 * @param ours the command of a run. Runs that make many files make them in folders of their own: Linux is slow to give
 *   out inodes that were freed a minute ago, and whoever comes next would pay for the removal.
 */
function compare(name: string, ours: (run: number) => string, peer: (run: number) => string): Row {
  measure(peer(0));
  measure(ours(0));
  const measures = { ours: [] as Measure[], peer: [] as Measure[] };
  for (let run = 1; run <= RUNS; run++) {
    measures.peer.push(measure(peer(run)));
    measures.ours.push(measure(ours(run)));
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

/**
 * Files as an image has them: to `zstd -3` they are what Debian's /usr is, which it packs to 0.346 at 124 MB a second
 * where it packs these to 0.345 at 123.
 */
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
    for (let at = 0; at < size;) {
      const kind = next() >>> 24;
      const length = Math.min(size - at, 12 + (next() >>> 26));
      const distance = 1 + length + ((next() >>> 12) % (1 << 17));
      if (i % 12 === 0 || kind < 36) {
        // Packed already, or as good as random.
        for (const end = Math.min(size, at + 16); at < end; at++) bytes[at] = next() >>> 24;
      } else if (kind < 128 && distance <= at) {
        at += bytes.copy(bytes, at, at - distance, at - distance + length);
      } else at += bytes.write(words[next() >>> 20] as string, at);
    }
    if (i < 50) mkdirSync(join(folder, `d${i}`), { recursive: true });
    writeFileSync(join(folder, `d${i % 50}/f${i}`), bytes);
  }
}

/** What a node is updated with: the images of both partitions, packed as `guestos update-image` packs them. */
async function writeUpdateImage(path: string, rootImage: string): Promise<void> {
  const root = openFile(rootImage);
  const text = (content: string): ByteSource => sourceFromBytes(Buffer.from(content));
  const members = [
    { name: 'VERSION.TXT', source: text('0123456789abcdef\n') },
    { name: 'boot.img', source: text('x'.repeat(1 << 20)) },
    { name: 'root.img', source: root },
  ];
  await writeZstdFile(path, writeSparseTar(members));
  root.close();
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
    const [tree, tar, image] = [at('tree'), at('tree.tar'), at('m.img')];
    rows.push(
      compare(
        `partition-build-${size}MiB`,
        () =>
          `${cvm} partition build --tar ${tar} --size ${bytes} --verity-offset ${bytes} --output ${at('p.tzst')} --root-hash-output ${at('hash')}`,
        () =>
          `rm -f ${image}; truncate -s ${bytes} ${image}; mke2fs -q -F -t ext4 -b 4096 -O ^has_journal -E lazy_itable_init=0 -d ${tree} ${image}; ` +
          `veritysetup format ${image} ${image} --hash-offset=${bytes} --data-blocks=${bytes / 4096} --salt=${salt} >/dev/null; zstd -q -f -T2 -3 ${image} -o ${at('m.zst')}`,
      ),
    );
    rows.push(
      compare(
        `extract-tree-${size}MiB`,
        (run) => `${cvm} ext4 extract ${image} --output ${at(`out-${run}`)} 2>/dev/null`,
        (run) =>
          `mkdir ${at(`rdump-${run}`)}; debugfs -R 'rdump / ${at(`rdump-${run}`)}' ${image} 2>/dev/null`,
      ),
    );
    await writeUpdateImage(at('update-img.tar.zst'), image);
    rows.push(
      compare(
        `extract-file-${size}MiB`,
        () => `${cvm} ext4 cat ${at('update-img.tar.zst')} /d7/f7 --member root.img --output ${at('one')}`,
        () =>
          `zstd -dcq ${at('update-img.tar.zst')} | tar -xO root.img > ${at('r.img')}; debugfs -R 'dump /d7/f7 ${at('two')}' ${at('r.img')} 2>/dev/null`,
      ),
    );
    if (!readFileSync(at('one')).equals(readFileSync(join(tree, 'd7/f7'))))
      throw new Error('another file came out');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
for (const kind of ['partition-build', 'extract-tree', 'extract-file']) {
  const against = mebibytes.map((size) => {
    const row = rows.find(({ name }) => name === `${kind}-${size}MiB`) as Row;
    const perGiB = (row.ours * 1024) / size;
    return `${size}MiB: ${perGiB.toFixed(2)}s/GiB ${row.oursPeakMiB.toFixed(0)}MiB`;
  });
  process.stdout.write(`${kind} against size: ${against.join(', ')}\n`);
}
writeFileSync(
  join(process.env['BUILD_WORKING_DIRECTORY'] ?? process.cwd(), 'bench-filesystems.json'),
  `${JSON.stringify(rows, null, 1)}\n`,
);
