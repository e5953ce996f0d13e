import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { findResource } from '../../../tools/pe/resources.ts';
import { expectCvmError } from '../../support/errors.ts';

// Made by windres and ld: see the README beside it.
const DLL = new Uint8Array(readFileSync(new URL('../../vectors/pe/firmware.dll', import.meta.url)));
const SNP = { type: 'VMFW', id: 13_515 };
const LIMIT = 1 << 20;

const find = (bytes: Uint8Array, wanted = SNP, limit = LIMIT): ByteSource =>
  findResource(sourceFromBytes(bytes), wanted, limit);
const textOf = (source: ByteSource): string => Buffer.from(source.read(0, source.sizeBytes)).toString();

/** The DLL with a little-endian number changed. */
function changed(at: number, value: number, bytes: 2 | 4 = 4): Uint8Array {
  const copy = Buffer.from(DLL);
  if (bytes === 2) copy.writeUInt16LE(value, at);
  else copy.writeUInt32LE(value, at);
  return new Uint8Array(copy);
}
const view = Buffer.from(DLL);
const PE = view.readUInt32LE(0x3c);
const OPTIONAL = PE + 24;
const RESOURCE_ENTRY = OPTIONAL + 112 + 16;
const SECTIONS = OPTIONAL + view.readUInt16LE(PE + 20);
const SECTION = SECTIONS + 40 * 3;
const TREE = view.readUInt32LE(SECTION + 20);

describe('a DLL that windres and ld made', () => {
  test('gives the resource of a type and an id', () => {
    expect(textOf(find(DLL))).toBe('synthetic SNP igvm payload of a test\n'.repeat(3));
    expect(textOf(find(DLL, { type: 'VMFW', id: 13_520 }))).toBe('synthetic TDX igvm payload of a test\n');
  });

  test('says which ids and types there are when it has another', () => {
    const other = expectCvmError(
      () => find(DLL, { type: 'VMFW', id: 13_516 }),
      'PE_RESOURCE_ABSENT',
      'format',
    );
    expect(other.facts).toEqual([['found', '13515, 13520']]);
    const type = expectCvmError(() => find(DLL, { type: 'VMFX', id: 13_515 }), 'PE_RESOURCE_ABSENT');
    expect(type.facts).toEqual([['types', 'VMFW, 10']]);
  });

  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(), 'PE_SIGNATURE'],
    ['no MZ', changed(0, 0, 2), 'PE_SIGNATURE'],
    ['a header behind the file', changed(0x3c, DLL.length - 10), 'PE_SIGNATURE'],
    ['another signature', changed(PE, 0x4551), 'PE_SIGNATURE'],
    ['an unknown optional header', changed(OPTIONAL, 0x10c, 2), 'PE_HEADER'],
    ['an optional header that is cut off', changed(PE + 20, 0xffff, 2), 'PE_HEADER'],
    ['no room for the resource entry', changed(PE + 20, 128, 2), 'PE_RESOURCE_ABSENT'],
    ['two data directories', changed(OPTIONAL + 108, 2), 'PE_RESOURCE_ABSENT'],
    ['no resources', changed(RESOURCE_ENTRY, 0), 'PE_RESOURCE_ABSENT'],
    ['more sections than Windows loads', changed(PE + 6, 97, 2), 'PE_HEADER'],
    ['resources in no section', changed(RESOURCE_ENTRY, 0x7fff_0000), 'PE_SECTION'],
    ['a section behind the file', changed(SECTION + 20, 0x7fff_0000), 'PE_SECTION'],
    ['more entries than there is room for', changed(TREE + 14, 0xffff, 2), 'PE_RESOURCES'],
    ['a name behind the tree', changed(TREE + 16, 0x8fff_ffff), 'PE_RESOURCES'],
    ['a leaf in the place of a type', changed(TREE + 20, 0x40), 'PE_RESOURCES'],
    ['a file that ends in the resource', DLL.slice(0, TREE + 0x110), 'PE_SECTION'],
  ])('%s is refused', (_, bytes, code) => {
    expectCvmError(() => find(bytes), code, 'format');
  });

  test('a resource that is larger than it may be is refused before it is read', () => {
    const error = expectCvmError(() => find(DLL, SNP, 110), 'PE_RESOURCE_SIZE');
    expect(error.facts).toContainEqual(['size', '111 bytes']);
    expect(find(DLL, SNP, 111).sizeBytes).toBe(111);
  });
});

test('whatever is changed or cut off: an answer inside the file, or an error of ours', () => {
  const change = fc.tuple(fc.nat(DLL.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { maxLength: 6 }), fc.nat(DLL.length), (changes, length) => {
      const bytes = DLL.slice();
      for (const [at, value] of changes) bytes[at] = value;
      try {
        const found = find(bytes.subarray(0, length));
        expect(found.read(0, found.sizeBytes)).toHaveLength(found.sizeBytes);
      } catch (error) {
        if (!(error instanceof CvmError) || error.kind !== 'format') throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
