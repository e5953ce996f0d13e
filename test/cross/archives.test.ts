/** Our tar, zstd, cpio and sum files against programs nobody here wrote, in both directions. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { chunks, sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { command as fileSha256 } from '../../tools/commands/file-sha256.ts';
import { openFile, writeFileWhole } from '../../tools/commands/files.ts';
import { openImage, writeTzst } from '../../tools/commands/image-files.ts';
import { writeCpio } from '../../tools/cpio/writer.ts';
import { readSums, writeSums } from '../../tools/release/sums.ts';
import { readTar, type TarMember } from '../../tools/tar/reader.ts';
import { writeSparseTar } from '../../tools/tar/sparse.ts';
import { treeFromTar, treeToTar } from '../../tools/tar/tree.ts';
import type { TreeEntry } from '../../tools/tree/entry.ts';
import { compressFrames } from '../../tools/zstd/compress.ts';
import { requirePinnedEncoder } from '../../tools/zstd/pinned-encoder.ts';
import { zstdSource } from '../../tools/zstd/source.ts';
import { expectCvmError } from '../support/errors.ts';
import { runCommand, scratchFolder } from '../support/run-command.ts';
import { common, fileEntry, folderEntry, piecesSource, plainTree } from '../support/trees.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const tar = findOracle('tar');
const zstd = findOracle('zstd');
const cpio = findOracle('cpio');
const bsdtar = findOracle('bsdtar');
const sha256sum = findOracle('sha256sum');
const cat = findOracle('cat');

const uid = process.getuid?.() ?? 0;
const gid = process.getgid?.() ?? 0;
/** Whether owners and devices can be made here: not by a user, and not by the one user of a sandbox. */
const isRoot = ((): boolean => {
  const probe = join(scratchFolder(), 'probe');
  writeFileSync(probe, '');
  try {
    chownSync(probe, 0o10000000, 4_000_000_000);
    return true;
  } catch {
    return false;
  }
})();

function run(program: string | undefined, args: readonly string[], cwd: string): Buffer {
  return execFileSync(program as string, args, { cwd, env: ORACLE_ENV, maxBuffer: 1 << 28 });
}

function sha256(source: ByteSource): string {
  const hash = createHash('sha256');
  for (const chunk of chunks(source)) hash.update(chunk);
  return hash.digest('hex');
}

const noise = (length: number, seed: number): Uint8Array => {
  let state = seed;
  return new Uint8Array(length).map(() => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 24) & 0x3f;
  });
};

/** Many pieces, one that starts inside a block, a hole at the end. */
const MANY = piecesSource(
  3_000_000,
  Array.from({ length: 60 }, (_, i) => [i * 49_152 + (i % 3) * 100, noise(5000, i + 1)] as const),
);

/** As far as a root partition reaches: offsets that octal digits do not hold. */
const FAR = piecesSource(10_603_200_512 + 8192, [
  [4096, noise(4096, 1)],
  [10_603_200_512, noise(8192, 2)],
]);

function writeHoley(path: string, source: ByteSource): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, source.sizeBytes);
  for (const { offset, length } of source.extents)
    writeSync(file, source.read(offset, length), 0, length, offset);
  closeSync(file);
}

describe('GNU tar reads our sparse archives', () => {
  oracleTest({ tar })('contents, sizes and holes', async () => {
    const folder = scratchFolder();
    const members = [
      { name: 'boot.img', source: MANY },
      { name: 'VERSION.TXT', source: sourceFromBytes(new Uint8Array([0x31, 0x0a])) },
      { name: 'empty', source: sourceFromBytes(new Uint8Array(0)) },
      { name: 'hole', source: piecesSource(123_457, []) },
      { name: 'root.img', source: FAR, mode: 0o755 },
    ];
    await writeFileWhole(join(folder, 'a.tar'), writeSparseTar(members));
    const listing = run(
      tar,
      ['--list', '--verbose', '--numeric-owner', '--file', 'a.tar'],
      folder,
    ).toString();
    expect(
      listing
        .trim()
        .split('\n')
        .map((line) => line.split(/\s+/).toSpliced(3, 2).join(' ')),
    ).toEqual(
      [
        '-rw-r--r-- 0/0 3000000 boot.img',
        '-rw-r--r-- 0/0 2 VERSION.TXT',
        '-rw-r--r-- 0/0 0 empty',
        '-rw-r--r-- 0/0 123457 hole',
        '-rwxr-xr-x 0/0 10603208704 root.img',
      ].map((line) => line.replace(/ (\d+) (\S+)$/, ' $1 $2')),
    );
    const out = run(tar, ['--extract', '--to-stdout', '--file', 'a.tar', 'boot.img'], folder);
    expect(Buffer.compare(out, MANY.read(0, MANY.sizeBytes))).toBe(0);
    run(tar, ['--extract', '--file', 'a.tar', 'hole', 'root.img', 'empty', 'VERSION.TXT'], folder);
    for (const { name, source } of members.slice(1)) {
      const file = openFile(join(folder, name));
      expect(file.sizeBytes).toBe(source.sizeBytes);
      for (const { offset, length } of source.extents) {
        expect(Buffer.compare(file.read(offset, length), source.read(offset, length))).toBe(0);
      }
      file.close();
    }
  });
});

describe('we read the sparse archives of GNU tar', () => {
  const notations = [
    ['--format=gnu'],
    ['--format=oldgnu'],
    ['--format=pax', '--sparse-version=0.0'],
    ['--format=pax', '--sparse-version=0.1'],
    ['--format=pax', '--sparse-version=1.0'],
  ];
  for (const notation of notations) {
    oracleTest({ tar })(notation.join(' '), () => {
      const folder = scratchFolder();
      const name = `${'folder/'.repeat(20)}sparse`;
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeHoley(join(folder, name), MANY);
      writeHoley(join(folder, 'far'), FAR);
      writeFileSync(join(folder, 'small'), 'small');
      const options = ['--create', '--sparse', ...notation, '--file', 'a.tar'];
      run(tar, [...options, 'far', name, 'small'], folder);
      const archive = openFile(join(folder, 'a.tar'));
      const [far, many, small] = [...readTar(archive)] as [TarMember, TarMember, TarMember];
      expect([far.name, many.name, small.name]).toEqual(['far', name, 'small']);
      expect(sha256(many.content)).toBe(sha256(MANY));
      expect(far.content.sizeBytes).toBe(FAR.sizeBytes);
      for (const { offset, length } of FAR.extents) {
        expect(Buffer.compare(far.content.read(offset, length), FAR.read(offset, length))).toBe(0);
      }
      // Holes are known: GNU tar stored what the file system said was data.
      expect(far.content.extents.reduce((sum, extent) => sum + extent.length, 0)).toBeLessThan(1 << 20);
      archive.close();
    });
  }
});

/** One record at most for each member: GNU tar orders several differently. */
const TREE: readonly TreeEntry[] = [
  folderEntry('d', { uid, gid, mode: 0o2755 }),
  fileEntry('d/f', 'content', {
    uid,
    gid,
    mode: 0o4755,
    mtimeSec: 1_234_567,
    xattrs: new Map([['user.bin', new Uint8Array([0, 10, 0x3d, 0xff])]]),
  }),
  fileEntry('d-x', '', { uid, gid }),
  fileEntry('n'.repeat(100), noise(1000, 3), { uid, gid }),
  fileEntry('n'.repeat(101), noise(512, 4), { uid, gid }),
  folderEntry('l'.repeat(99), { uid, gid }),
  fileEntry(`${'l'.repeat(99)}/${'m'.repeat(150)}`, 'x', { uid, gid }),
  fileEntry('ümlaut', 'u', { uid, gid }),
  fileEntry('e=q%', 'x', { uid, gid, xattrs: new Map([['user.a=b%c', new Uint8Array([1])]]) }),
  { ...common('ln', { mode: 0o777, uid, gid }), type: 'symlink', target: 't'.repeat(100) },
  { ...common('ln-long', { mode: 0o777, uid, gid }), type: 'symlink', target: 't'.repeat(101) },
  { ...common('pipe', { uid, gid }), type: 'fifo' },
  { ...common('zz', { uid, gid, mode: 0o4755, mtimeSec: 1_234_567 }), type: 'hardlink', linkPath: 'd/f' },
  ...(isRoot
    ? ([
        fileEntry('uid', '', { uid: 0o10000000 }),
        fileEntry('gid', '', { gid: 4_000_000_000 }),
        { ...common('null'), type: 'char', major: 1, minor: 3 },
        { ...common('disk'), type: 'block', major: 259, minor: 1_048_575 },
      ] satisfies TreeEntry[])
    : []),
];

const EXTRACT = ['--extract', '--same-permissions', '--numeric-owner', '--xattrs', '--xattrs-include=*'];
const CREATE = [
  '--create',
  '--sort=name',
  '--numeric-owner',
  '--format=pax',
  '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
  '--xattrs',
  '--blocking-factor=1',
];

/**
 * GNU tar 1.35 leaves the device fields of what is no device empty; 1.34, and we, write zeros there. Fills them in, on both sides, so
 * that either version can be compared with us.
 */
function withDeviceZeros(archive: Buffer): Buffer {
  const filled = Buffer.from(archive);
  const octal = (at: number, length: number): number =>
    Number.parseInt(filled.toString('latin1', at, at + length).replace(/[\0 ]+$/, '') || '0', 8);
  for (let at = 0; at < filled.length && filled[at] !== 0;) {
    const isDevice = '34'.includes(filled.toString('latin1', at + 156, at + 157));
    if (!isDevice && filled.subarray(at + 329, at + 345).every((byte) => byte === 0)) {
      filled.write('0000000\u00000000000\u0000', at + 329, 'latin1');
      const sum = octal(at + 148, 7) + 14 * '0'.charCodeAt(0);
      filled.write(sum.toString(8).padStart(6, '0'), at + 148, 'latin1');
    }
    at += 512 + Math.ceil(octal(at + 124, 12) / 512) * 512;
  }
  return filled;
}

oracleTest({ tar })('GNU tar makes the same bytes of the tree it extracts from our archive', async () => {
  const folder = scratchFolder();
  await writeFileWhole(join(folder, 'ours.tar'), treeToTar(TREE));
  mkdirSync(join(folder, 'tree'));
  run(tar, [...EXTRACT, '--file', '../ours.tar'], join(folder, 'tree'));
  const names = [
    ...new Set(TREE.map(({ path }) => Buffer.from(path.split('/')[0] as string, 'latin1').toString())),
  ];
  names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  run(tar, [...CREATE, '--file', '../theirs.tar', ...names], join(folder, 'tree'));
  expect(
    Buffer.compare(
      withDeviceZeros(readFileSync(join(folder, 'theirs.tar'))),
      withDeviceZeros(readFileSync(join(folder, 'ours.tar'))),
    ),
  ).toBe(0);
});

oracleTest({ tar, bsdtar })('GNU tar and bsdtar extract what we store without holes', async () => {
  const folder = scratchFolder();
  const entry = { ...fileEntry('d/sparse', ''), content: MANY };
  await writeFileWhole(join(folder, 's.tar'), treeToTar([entry], { sparse: true }));
  expect(readFileSync(join(folder, 's.tar')).length).toBeLessThan(MANY.sizeBytes);
  for (const program of [tar, bsdtar]) {
    mkdirSync(join(folder, 'out'));
    run(program, ['-xf', '../s.tar'], join(folder, 'out'));
    const extracted = readFileSync(join(folder, 'out/d/sparse'));
    expect(Buffer.compare(extracted, MANY.read(0, MANY.sizeBytes))).toBe(0);
    rmSync(join(folder, 'out'), { recursive: true });
  }
});

for (const format of ['v7', 'ustar', 'oldgnu', 'gnu', 'pax']) {
  oracleTest({ tar })(`we read what GNU tar writes as ${format}`, async () => {
    const folder = scratchFolder();
    const isShort = format === 'v7' || format === 'ustar';
    const tree = TREE.filter(({ path, xattrs, type, ...entry }) => {
      const isLong = path.length > 97 || ('target' in entry && entry.target.length > 99);
      const isLargeId = entry.uid >= 0o10000000 || entry.gid >= 0o10000000;
      const isSpecial = type === 'char' || type === 'block' || type === 'fifo';
      if (format === 'v7' && isSpecial) return false;
      return (
        !(isShort && (isLong || isLargeId)) && (format === 'pax' || xattrs.size === 0) && type !== 'hardlink'
      );
    });
    const links: TreeEntry[] = [{ ...common('e', { uid, gid }), type: 'hardlink', linkPath: 'd-x' }];
    await writeFileWhole(join(folder, 'ours.tar'), treeToTar([...tree, ...links]));
    mkdirSync(join(folder, 'tree'));
    run(tar, [...EXTRACT, '--file', '../ours.tar'], join(folder, 'tree'));
    const xattrs = format === 'pax' ? ['--xattrs'] : [];
    run(
      tar,
      [
        '--create',
        '--numeric-owner',
        ...xattrs,
        `--format=${format}`,
        '--exclude=./.',
        '--file',
        '../theirs.tar',
        '.',
      ],
      join(folder, 'tree'),
    );
    const theirs = openFile(join(folder, 'theirs.tar'));
    const ours = openFile(join(folder, 'ours.tar'));
    const withoutRoot = (entries: readonly TreeEntry[]): unknown[] =>
      plainTree(entries.filter(({ path }) => path !== '').map((entry) => ({ ...entry, mtimeNsec: 0 })));
    expect(withoutRoot(treeFromTar(theirs))).toEqual(withoutRoot(treeFromTar(ours)));
    theirs.close();
    ours.close();
  });
}

describe('zstd', () => {
  const content = sourceFromBytes(noise(20_000_003, 9));

  oracleTest({ zstd })('the program decodes our frames and finds their checksums', async () => {
    const folder = scratchFolder();
    await writeFileWhole(join(folder, 'a.zst'), compressFrames(chunks(content)));
    run(zstd, ['--quiet', '--decompress', 'a.zst', '-o', 'a'], folder);
    const file = openFile(join(folder, 'a'));
    expect(sha256(file)).toBe(sha256(content));
    file.close();
    expect(run(zstd, ['--list', '--verbose', 'a.zst'], folder).toString()).toMatch(/Check: XXH64/);
    const source = openFile(join(folder, 'a.zst'));
    expect(sha256(zstdSource(source) as ByteSource)).toBe(sha256(content));
    source.close();
  });

  oracleTest({ zstd })(
    'the program, of whatever version, is told from the pinned encoder by its bytes: it works through a window',
    () => {
      const compress = (input: Uint8Array): Uint8Array =>
        execFileSync(zstd as string, ['--single-thread', '-3', `--stream-size=${input.length}`], {
          input,
          env: ORACLE_ENV,
        });
      expectCvmError(() => requirePinnedEncoder(3, compress), 'ZSTD_ENCODER', 'usage');
    },
  );

  const ways = [
    ['--threads=0'],
    ['--threads=0', '-10'],
    ['--single-thread', '-1'],
    ['--threads=2', '-19'],
    ['--no-check'],
    ['--long=27'],
    ['--ultra', '-22'],
    ['--rsyncable', '--threads=2'],
  ];
  for (const way of ways) {
    oracleTest({ zstd })(
      `we decode what the program writes with ${way.join(' ')}, from a file and a pipe`,
      async () => {
        const folder = scratchFolder();
        const small = content.read(
          0,
          way.includes('-22') || way.includes('-19') ? 3_000_001 : content.sizeBytes,
        );
        writeFileSync(join(folder, 'a'), small);
        run(zstd, ['--quiet', ...way, 'a', '-o', 'file.zst'], folder);
        const piped = execFileSync(zstd as string, ['--quiet', '--stdout', ...way], {
          input: small,
          env: ORACLE_ENV,
          maxBuffer: 1 << 28,
        });
        writeFileSync(join(folder, 'pipe.zst'), piped);
        for (const name of ['file.zst', 'pipe.zst']) {
          const image = await openImage(join(folder, name));
          expect(sha256(image), name).toBe(sha256(sourceFromBytes(small)));
          image.close();
        }
      },
    );
  }

  oracleTest({ zstd, cat })('frames of the program one behind the other', async () => {
    const folder = scratchFolder();
    for (const name of ['a', 'b'])
      writeFileSync(join(folder, name), content.read(0, name === 'a' ? 1000 : 500_000));
    run(zstd, ['--quiet', 'a', 'b'], folder);
    writeFileSync(join(folder, 'both.zst'), run(cat, ['a.zst', 'b.zst', 'a.zst'], folder));
    const image = await openImage(join(folder, 'both.zst'));
    expect(image.sizeBytes).toBe(502_000);
    expect(Buffer.compare(image.read(501_000, 1000), content.read(0, 1000))).toBe(0);
    image.close();
  });

  oracleTest({ tar, zstd })('a partition file goes through tar and zstd to a raw image', async () => {
    const folder = scratchFolder();
    await writeTzst(join(folder, 'partition.tzst'), FAR);
    run(tar, ['--extract', '--zstd', '--file', 'partition.tzst'], folder);
    const file = openFile(join(folder, 'partition.img'));
    expect(file.sizeBytes).toBe(FAR.sizeBytes);
    for (const { offset, length } of FAR.extents) {
      expect(Buffer.compare(file.read(offset, length), FAR.read(offset, length))).toBe(0);
    }
    file.close();
  });
});

describe('cpio', () => {
  // In the C locale bsdtar knows ASCII alone.
  const tree = TREE.filter(({ path }) => path.length < 90 && /^[ -~]*$/.test(path));
  const names = tree.map(({ path }) => Buffer.from(path, 'latin1').toString());

  oracleTest({ cpio })('GNU cpio lists and extracts our archive', async () => {
    const folder = scratchFolder();
    await writeFileWhole(join(folder, 'a.cpio'), writeCpio(tree));
    const listed = execFileSync(cpio as string, ['--list', '--quiet'], {
      input: readFileSync(join(folder, 'a.cpio')),
      env: ORACLE_ENV,
    });
    expect(listed.toString().trim().split('\n')).toEqual(names);
    mkdirSync(join(folder, 'tree'));
    execFileSync(cpio as string, ['--extract', '--quiet', '--preserve-modification-time'], {
      cwd: join(folder, 'tree'),
      input: readFileSync(join(folder, 'a.cpio')),
      env: ORACLE_ENV,
    });
    expect(readFileSync(join(folder, 'tree/d/f'), 'latin1')).toBe('content');
    expect(readFileSync(join(folder, 'tree/zz'), 'latin1')).toBe('content');
  });

  oracleTest({ bsdtar })('bsdtar lists our archives and reads the same contents', async () => {
    const folder = scratchFolder();
    await writeFileWhole(join(folder, 'a.cpio'), writeCpio(tree));
    expect(run(bsdtar, ['-tf', 'a.cpio'], folder).toString().trim().split('\n')).toHaveLength(names.length);
    await writeFileWhole(join(folder, 'a.tar'), treeToTar(tree));
    expect(run(bsdtar, ['-xOf', 'a.tar', 'd/f'], folder).toString()).toBe('content');
    await writeFileWhole(join(folder, 's.tar'), writeSparseTar([{ name: 'boot.img', source: MANY }]));
    expect(
      Buffer.compare(run(bsdtar, ['-xOf', 's.tar', 'boot.img'], folder), MANY.read(0, MANY.sizeBytes)),
    ).toBe(0);
  });

  oracleTest({ bsdtar, tar })('we read what bsdtar writes, attributes in both notations', async () => {
    const folder = scratchFolder();
    await writeFileWhole(join(folder, 'ours.tar'), treeToTar(tree));
    mkdirSync(join(folder, 'tree'));
    run(tar, [...EXTRACT, '--file', '../ours.tar'], join(folder, 'tree'));
    run(bsdtar, ['-cf', '../theirs.tar', '--format=pax', '--no-read-sparse', '.'], join(folder, 'tree'));
    const theirs = openFile(join(folder, 'theirs.tar'));
    const found = treeFromTar(theirs).find(({ path }) => path === 'd/f');
    expect([...(found?.xattrs.get('user.bin') ?? [])]).toEqual([0, 10, 0x3d, 0xff]);
    theirs.close();
  });
});

oracleTest({ sha256sum })('sha256sum checks our sum files', async () => {
  const folder = scratchFolder();
  writeFileSync(join(folder, 'image'), noise(3_000_000, 5));
  await runCommand(fileSha256, folder, ['image'], { output: 'image.sha256' });
  expect(run(sha256sum, ['--check', '--strict', 'image.sha256'], folder).toString()).toBe('image: OK\n');
  expect(run(sha256sum, ['image'], folder).toString()).toBe(
    readFileSync(join(folder, 'image.sha256'), 'utf8'),
  );
});

oracleTest({ sha256sum })('sha256sum reads the sum files of releases, and we read its own', () => {
  const folder = scratchFolder();
  const names = ['a', 'b c', 'd\\e', 'f\ng', 'h\ri', 'ü'];
  const entries = names.map((name, i) => {
    writeFileSync(join(folder, name), noise(1000 + i, i));
    return { name, sha256: sha256(sourceFromBytes(noise(1000 + i, i))) };
  });
  writeFileSync(join(folder, 'SHA256SUMS'), writeSums(entries));
  // Its reader takes one space for the form of BSD's tools, escapes and all.
  const checked = run(sha256sum, ['--check', '--strict', 'SHA256SUMS'], folder).toString();
  expect(checked.match(/: OK$/gm)).toHaveLength(names.length);
  for (const mode of ['--text', '--binary']) {
    const theirs = run(sha256sum, [mode, '--', ...names], folder).toString();
    expect(readSums(theirs)).toEqual(entries);
  }
});
