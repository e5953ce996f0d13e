import fc from 'fast-check';
import { expect, test } from 'vitest';
import { writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import type { CvmError } from '../../../tools/errors.ts';
import { aclFromDisk, aclToDisk } from '../../../tools/ext4/acl.ts';
import { INODE } from '../../../tools/ext4/layout.ts';
import { expectRefusal, open, Patch } from './image-patch.ts';

/** In a 256-byte slot with 32 extra bytes: the magic at 160, entries from 164, values up to 256. */
const MAGIC = 160;
const LIST = 164;
const VALUES = 92;

interface Attribute {
  readonly index: number;
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly valueInode?: number;
}

/** The default vector with these attributes in the slot of /etc/empty, which has none. */
function withAttributes(
  attributes: readonly Attribute[],
  more: (slot: Uint8Array) => void = () => undefined,
): Patch {
  const patch = new Patch('default-4k');
  const inode = patch.inodeNumber('/etc/empty');
  const slot = patch.slot(inode);
  slot.fill(0, MAGIC);
  writeU32(slot, MAGIC, 0xea020000);
  let at = LIST;
  for (const { index, name, offset, size, valueInode = 0 } of attributes) {
    slot.set([name.length, index], at);
    writeU16(slot, at + 2, offset);
    writeU32(slot, at + 4, valueInode);
    writeU32(slot, at + 8, size);
    slot.set(Buffer.from(name, 'latin1'), at + 16);
    at += 16 + Math.ceil(name.length / 4) * 4;
  }
  more(slot);
  patch.sealInode(inode);
  return patch;
}

function xattrsOf(patch: Patch): ReadonlyMap<string, Uint8Array> | undefined {
  return open(patch.bytes).lookup('etc/empty')?.xattrs;
}

test('attributes in the slot: prefixes by index, empty values, names in several scripts', () => {
  const patch = withAttributes(
    [
      { index: 1, name: '\xc3\xa9', offset: VALUES - 4, size: 3 },
      { index: 6, name: 'selinux', offset: 0, size: 0 },
    ],
    (slot) => slot.set([1, 2, 3], 252),
  );
  expect(xattrsOf(patch)).toEqual(
    new Map([
      ['user.é', Uint8Array.of(1, 2, 3)],
      ['security.selinux', new Uint8Array(0)],
    ]),
  );
});

const REFUSED: readonly (readonly [what: string, attribute: Attribute])[] = [
  ['a value past the slot', { index: 1, name: 'a', offset: VALUES - 4, size: 5 }],
  ['a value inside the list', { index: 1, name: 'a', offset: 8, size: 4 }],
  ['a value larger than any can be', { index: 1, name: 'a', offset: 30, size: 0xffffffff }],
  ['an unknown index', { index: 5, name: 'a', offset: 80, size: 4 }],
  ['a prefix without a name', { index: 1, name: '', offset: 80, size: 4 }],
  ['a name behind a whole name', { index: 2, name: 'x', offset: 80, size: 4 }],
  ['a NUL in a name', { index: 1, name: 'a\0b', offset: 80, size: 4 }],
  ['a value inode without the feature for it', { index: 1, name: 'a', offset: 0, size: 4, valueInode: 12 }],
];

for (const [what, attribute] of REFUSED) {
  test(`rejects attributes with ${what}`, () => {
    expectRefusal('EXT4_XATTR', () => open(withAttributes([attribute]).bytes).entries());
  });
}

test('rejects a name that is not UTF-8: no tool could name it', () => {
  expectRefusal('TEXT_NOT_UTF8', () =>
    open(withAttributes([{ index: 1, name: '\xff', offset: 80, size: 4 }]).bytes).entries(),
  );
});

test('rejects one name given twice', () => {
  const twice = { index: 1, name: 'a', offset: 80, size: 4 };
  expectRefusal('EXT4_XATTR', () => open(withAttributes([twice, twice]).bytes).entries());
});

test('rejects a list without an end', () => {
  const patch = withAttributes([{ index: 1, name: 'a'.repeat(72), offset: 0, size: 0 }], (slot) => {
    slot.fill(0x61, LIST + 88);
  });
  expectRefusal('EXT4_XATTR', () => open(patch.bytes).entries());
});

test('rejects a list entry that runs past the slot', () => {
  expectRefusal('EXT4_XATTR', () =>
    open(
      withAttributes([{ index: 1, name: 'a', offset: 0, size: 0 }], (slot) => slot.set([200], LIST)).bytes,
    ).entries(),
  );
});

const BLOCKS: readonly (readonly [what: string, code: string, change: (block: Uint8Array) => void])[] = [
  ['another magic', 'EXT4_XATTR', (block) => writeU32(block, 0, 0xea010000)],
  ['two blocks', 'EXT4_XATTR', (block) => writeU32(block, 8, 2)],
  ['a list without an end', 'EXT4_XATTR', (block) => block.fill(1, 32)],
];

for (const [what, code, change] of BLOCKS) {
  test(`rejects an attribute block with ${what}, though its checksum is right`, () => {
    const patch = withAttributes([]);
    const number = 8000;
    const block = patch.block(number).fill(0);
    block.set([0, 0, 2, 0xea, 1, 0, 0, 0, 1, 0, 0, 0]);
    change(block);
    patch.sealXattrBlock(number);
    const inode = patch.inodeNumber('/etc/empty');
    writeU32(patch.slot(inode), INODE.xattrBlockLow, number);
    patch.sealInode(inode);
    expectRefusal(code, () => open(patch.bytes).entries());
  });
}

test('rejects an attribute block outside the file system', () => {
  const patch = withAttributes([]);
  const inode = patch.inodeNumber('/etc/empty');
  writeU32(patch.slot(inode), INODE.xattrBlockLow, 8192);
  patch.sealInode(inode);
  expectRefusal('EXT4_BLOCK_BOUNDS', () => open(patch.bytes).entries());
});

test('rejects inline data whose attribute is missing', () => {
  const patch = new Patch('inline-4k');
  const inode = patch.inodeNumber('/etc/f59');
  writeU32(patch.slot(inode), MAGIC, 0);
  patch.sealInode(inode);
  const entry = open(patch.bytes).lookup('etc/f59');
  if (entry?.type !== 'file') throw new Error('not a file');
  const { content } = entry;
  expectRefusal('EXT4_XATTR', () => content.read(0, 1));
});

test('rejects a file larger than its inline data', () => {
  const patch = new Patch('inline-4k');
  const inode = patch.inodeNumber('/etc/f128');
  writeU32(patch.slot(inode), INODE.sizeLow, 129);
  patch.sealInode(inode);
  const entry = open(patch.bytes).lookup('etc/f128');
  if (entry?.type !== 'file') throw new Error('not a file');
  const { content } = entry;
  expectRefusal('EXT4_FILE_SIZE', () => content.read(0, 129));
});

const LINUX_ACL = Buffer.from(
  '02000000' +
    '01000700ffffffff' +
    '02000600e8030000' +
    '04000500ffffffff' +
    '10000700ffffffff' +
    '20000400ffffffff',
  'hex',
);
const DISK_ACL = Buffer.from(
  '01000000' + '01000700' + '02000600e8030000' + '04000500' + '10000700' + '20000400',
  'hex',
);

test('an access control list: ids on disk for named users and groups only', () => {
  expect(Buffer.from(aclFromDisk(DISK_ACL))).toEqual(LINUX_ACL);
  expect(Buffer.from(aclToDisk(LINUX_ACL))).toEqual(DISK_ACL);
});

test('access control lists survive both ways', () => {
  const entry = fc.record({
    tag: fc.constantFrom(1, 2, 4, 8, 0x10, 0x20),
    permissions: fc.nat({ max: 7 }),
    id: fc.nat({ max: 0xfffffffe }),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 20 }), (entries) => {
      const linux = new Uint8Array(4 + 8 * entries.length);
      writeU32(linux, 0, 2);
      entries.forEach(({ tag, permissions, id }, i) => {
        writeU16(linux, 4 + 8 * i, tag);
        writeU16(linux, 6 + 8 * i, permissions);
        writeU32(linux, 8 + 8 * i, tag === 2 || tag === 8 ? id : 0xffffffff);
      });
      expect(aclFromDisk(aclToDisk(linux))).toEqual(linux);
    }),
  );
});

test('any bytes as an access control list give a list or a format error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.boolean(), (bytes, fromDisk) => {
      const whole = Uint8Array.from([fromDisk ? 1 : 2, 0, 0, 0, ...bytes]);
      for (const input of [bytes, whole]) {
        try {
          if (fromDisk) aclFromDisk(input);
          else aclToDisk(input);
        } catch (error) {
          expect((error as CvmError).code).toBe('ACL_INVALID');
        }
      }
    }),
  );
});
