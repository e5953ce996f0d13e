import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CHUNK_BYTES, sourceFromBytes, type ByteSource, type Extent } from '../../../tools/bytes/source.ts';
import { dataRuns } from '../../../tools/bytes/zero-blocks.ts';
import { piecesSource } from '../../support/trees.ts';

function runs(source: ByteSource, blockBytes = 4): Extent[] {
  return [...dataRuns(source, blockBytes)];
}

test('neighbouring blocks are one run, and the last one may be short', () => {
  const bytes = new Uint8Array([0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
  expect(runs(sourceFromBytes(bytes))).toEqual([
    { offset: 4, length: 8 },
    { offset: 16, length: 3 },
  ]);
});

test('a block that two extents share is one block', () => {
  const source = piecesSource(16, [
    [1, new Uint8Array([1])],
    [3, new Uint8Array([1, 1])],
    [7, new Uint8Array([1])],
  ]);
  expect(runs(source)).toEqual([{ offset: 0, length: 8 }]);
});

test('runs go on across chunks', () => {
  const bytes = new Uint8Array(CHUNK_BYTES + 4096);
  bytes.fill(1, CHUNK_BYTES - 512, CHUNK_BYTES + 512);
  expect(runs(sourceFromBytes(bytes), 512)).toEqual([{ offset: CHUNK_BYTES - 512, length: 1024 }]);
});

test('a run starts where a block does, whatever the memory’s alignment', () => {
  for (let shift = 0; shift < 5; shift++) {
    const buffer = new Uint8Array(64 + shift);
    buffer[shift + 37] = 1;
    expect(runs(sourceFromBytes(buffer.subarray(shift)), 16)).toEqual([{ offset: 32, length: 16 }]);
  }
});

test('every byte outside the runs is zero, and every block of a run holds another', () => {
  const block = fc.constantFrom<readonly number[]>([0, 0, 0, 0], [0, 0, 0, 1], [5, 0, 0, 0], [0, 9, 0, 0]);
  fc.assert(
    fc.property(fc.array(block, { maxLength: 30 }), fc.nat(3), (blocks, tail) => {
      const bytes = new Uint8Array([...blocks.flat(), ...new Array<number>(tail).fill(0)]);
      const covered = new Uint8Array(bytes.length);
      let end = -1;
      for (const { offset, length } of runs(sourceFromBytes(bytes))) {
        expect(offset).toBeGreaterThan(end);
        end = offset + length;
        covered.fill(1, offset, end);
      }
      for (let at = 0; at < bytes.length; at += 4) {
        const isData = bytes.subarray(at, at + 4).some((byte) => byte !== 0);
        expect(covered.subarray(at, at + 4).every((flag) => flag === (isData ? 1 : 0))).toBe(true);
      }
    }),
  );
});
