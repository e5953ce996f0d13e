import fc from 'fast-check';
import { bytesToHex, hexToBytes } from '../../tools/bytes/hex.ts';
import { sourceFromBytes, sparseSource, type ByteSource, type Piece } from '../../tools/bytes/source.ts';
import type { RawText } from '../../tools/bytes/text.ts';
import type { Ext4Options } from '../../tools/ext4/writer.ts';
import { NO_XATTRS, type EntryCommon, type TreeEntry } from '../../tools/tree/entry.ts';

/** The options of the reference vectors. */
export const EXT4_OPTIONS: Ext4Options = {
  sizeBytes: 1 << 20,
  uuid: hexToBytes('0123456789abcdef0123456789abcdef'),
  hashSeed: hexToBytes('00112233445566778899aabbccddeeff'),
  label: 'boot',
  epochSec: 1_700_000_000,
};

export const COMMON: Omit<EntryCommon, 'path'> = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSec: EXT4_OPTIONS.epochSec,
  mtimeNsec: 0,
  xattrs: NO_XATTRS,
};

export function fileEntry(
  path: RawText,
  content: Uint8Array | ByteSource = new Uint8Array(),
  more: Partial<EntryCommon> = {},
): TreeEntry {
  const source = content instanceof Uint8Array ? sourceFromBytes(content) : content;
  return { ...COMMON, type: 'file', path, content: source, ...more };
}

export function dirEntry(path: RawText, more: Partial<EntryCommon> = {}): TreeEntry {
  return { ...COMMON, type: 'dir', path, mode: 0o755, ...more };
}

export function linkEntry(path: RawText, target: RawText): TreeEntry {
  return { ...COMMON, type: 'symlink', path, target, mode: 0o777 };
}

export function hardlinkEntry(path: RawText, linkPath: RawText): TreeEntry {
  return { ...COMMON, type: 'hardlink', path, linkPath };
}

/** Content of `count` blocks of data with a hole of one block behind each. */
export function combSource(count: number): ByteSource {
  const pieces = Array.from({ length: count }, (_, i): Piece => {
    const block = new Uint8Array(4096).fill(1 + (i % 255));
    return { offset: i * 8192, source: sourceFromBytes(block) };
  });
  return sparseSource(count * 8192, pieces);
}

/** An entry as plain data, to compare and to print. Contents are shown whole: for small trees. */
export function plain(entry: TreeEntry): Record<string, unknown> {
  const { xattrs, ...rest } = entry;
  return {
    ...rest,
    xattrs: [...xattrs].map(([name, value]) => `${name}=${bytesToHex(value)}`).sort(),
    ...(entry.type === 'file' ? { content: bytesToHex(entry.content.read(0, entry.content.sizeBytes)) } : {}),
  };
}

/**
 * The list a reader answers for what was given to the writer: depth first, names in byte order; of an inode with
 * many names the first is the file; root and lost+found are there.
 */
export function canonical(entries: readonly TreeEntry[]): TreeEntry[] {
  const given = new Map(entries.map((entry) => [entry.path, entry]));
  if (!given.has('')) given.set('', dirEntry(''));
  if (!given.has('lost+found')) given.set('lost+found', dirEntry('lost+found', { mode: 0o700 }));
  const sorted = [...given.values()].sort((a, b) => compareComponents(a.path, b.path));
  const firstNames = new Map<TreeEntry, RawText>();
  return sorted.map((entry) => {
    let inode = entry;
    while (inode.type === 'hardlink') inode = given.get(inode.linkPath) as TreeEntry;
    const first = firstNames.get(inode);
    if (first === undefined) {
      firstNames.set(inode, entry.path);
      return { ...inode, path: entry.path };
    }
    const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = inode;
    return {
      type: 'hardlink',
      path: entry.path,
      linkPath: first,
      mode,
      uid,
      gid,
      mtimeSec,
      mtimeNsec,
      xattrs,
    };
  });
}

function compareComponents(a: RawText, b: RawText): number {
  // The root's path has no component at all.
  const left = a === '' ? [] : a.split('/');
  const right = b === '' ? [] : b.split('/');
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [x = '', y = ''] = [left[i], right[i]];
    if (x !== y) return x < y ? -1 : 1;
  }
  return left.length - right.length;
}

const anyName: fc.Arbitrary<RawText> = fc
  .oneof(
    fc.string({
      minLength: 1,
      maxLength: 12,
      unit: fc.constantFrom('a', 'b', '.', ' ', '\xff', '\x80', '\n'),
    }),
    fc
      .array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 255 })
      .map((bytes) => String.fromCharCode(...bytes)),
  )
  .filter((name) => !name.includes('/') && name !== '.' && name !== '..');

const anyXattrs: fc.Arbitrary<ReadonlyMap<string, Uint8Array>> = fc
  .uniqueArray(
    fc.record({
      name: fc.oneof(
        fc.constantFrom(
          'security.selinux',
          'security.capability',
          'trusted.overlay.opaque',
          'system.nfs4_acl',
        ),
        fc.string({ minLength: 1, maxLength: 20 }).map((name) => `user.${name.replaceAll('\0', '0')}`),
      ),
      value: fc.uint8Array({ maxLength: 120 }),
    }),
    { maxLength: 8, selector: ({ name }) => name },
  )
  .map((list) => new Map(list.map(({ name, value }) => [name, value])));

const anyContent: fc.Arbitrary<ByteSource> = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map(sourceFromBytes),
  fc.record({ size: fc.integer({ min: 1, max: 80_000 }), at: fc.nat(60_000) }).map(({ size, at }) => {
    const pieces =
      at + 10 <= size ? [{ offset: at, source: sourceFromBytes(new Uint8Array(10).fill(7)) }] : [];
    return sparseSource(size, pieces);
  }),
);

type Seed = EntryCommon & {
  readonly kind: TreeEntry['type'];
  readonly parent: number;
  readonly content: ByteSource;
  readonly target: RawText;
  readonly major: number;
  readonly minor: number;
};

const anySeed: fc.Arbitrary<Seed> = fc.record({
  kind: fc.constantFrom<TreeEntry['type'][]>(
    'file',
    'dir',
    'dir',
    'symlink',
    'char',
    'block',
    'fifo',
    'socket',
    'hardlink',
  ),
  parent: fc.nat(),
  path: anyName,
  mode: fc.nat(0o7777),
  uid: fc.nat(2 ** 32 - 1),
  gid: fc.nat(2 ** 32 - 1),
  mtimeSec: fc.oneof(fc.integer(), fc.integer({ min: -(2 ** 31), max: 15_032_385_535 })),
  mtimeNsec: fc.nat(999_999_999),
  xattrs: anyXattrs,
  content: anyContent,
  target: fc.oneof(
    anyName,
    fc.integer({ min: 1, max: 4095 }).map((length) => 't'.repeat(length)),
  ),
  major: fc.nat(0xfff),
  minor: fc.nat(0xfffff),
});

/** Any tree of up to 40 entries, every type, in an order in which parents stand first. */
export const anyTree: fc.Arbitrary<TreeEntry[]> = fc.array(anySeed, { maxLength: 40 }).map((seeds) => {
  const directories: RawText[] = [''];
  const entries = new Map<RawText, TreeEntry>();
  for (const { kind, parent, content, target, major, minor, ...common } of seeds) {
    const above = directories[parent % directories.length] ?? '';
    const path = above === '' ? common.path : `${above}/${common.path}`;
    if (entries.has(path)) continue;
    const entry = entryOf(
      kind,
      { ...common, path },
      { content, target, major, minor, entries: [...entries.values()] },
    );
    entries.set(path, entry);
    if (entry.type === 'dir') directories.push(path);
  }
  return [...entries.values()];
});

function entryOf(
  kind: TreeEntry['type'],
  common: EntryCommon,
  more: Pick<Seed, 'content' | 'target' | 'major' | 'minor'> & { readonly entries: readonly TreeEntry[] },
): TreeEntry {
  switch (kind) {
    case 'file':
      return { ...common, type: kind, content: more.content };
    case 'dir':
    case 'fifo':
    case 'socket':
      return { ...common, type: kind };
    case 'symlink':
      return { ...common, type: kind, target: more.target };
    case 'char':
    case 'block':
      return { ...common, type: kind, major: more.major, minor: more.minor };
    case 'hardlink': {
      const named = more.entries.findLast((entry) => entry.type !== 'dir');
      if (named === undefined) return { ...common, type: 'file', content: more.content };
      return { ...common, type: kind, linkPath: named.path };
    }
  }
}
