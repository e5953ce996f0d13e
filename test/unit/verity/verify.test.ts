import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { sliceSource, sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { formatVerity } from '../../../tools/verity/format.ts';
import type { VerityParameters } from '../../../tools/verity/parameters.ts';
import { verifyVerity } from '../../../tools/verity/verify.ts';
import { expectCvmError } from '../../support/errors.ts';

const BASE: VerityParameters = {
  hashType: 1,
  algorithm: 'sha256',
  dataBlockBytes: 512,
  hashBlockBytes: 512,
  dataBlocks: 0,
  salt: Uint8Array.of(1, 2, 3),
  uuid: hexToBytes('0123456789abcdef0123456789abcdef'),
};

interface Sealed {
  readonly image: Uint8Array;
  readonly hashOffset: number;
  readonly rootHash: Uint8Array;
}

function seal(data: Uint8Array, more: Partial<VerityParameters> = {}, gap = 0): Sealed {
  const parameters = { ...BASE, ...more };
  const dataBlocks = Math.floor(data.length / parameters.dataBlockBytes);
  const hashOffset = Math.ceil(data.length / 512) * 512 + gap;
  const { rootHash, hashArea } = formatVerity(
    sourceFromBytes(data),
    { ...parameters, dataBlocks },
    hashOffset,
  );
  const whole = sparseSource(hashOffset + hashArea.sizeBytes, [
    { offset: 0, source: sourceFromBytes(data) },
    { offset: hashOffset, source: hashArea },
  ]);
  return { image: whole.read(0, whole.sizeBytes).slice(), hashOffset, rootHash };
}

const counted = (bytes: number): Uint8Array =>
  new Uint8Array(bytes).map((_, at) => (at * 7 + (at >> 9)) & 0xff);
const sealed = seal(counted(300 * 512));

function flip(image: Uint8Array, at: number): ByteSource {
  const bytes = image.slice();
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  return sourceFromBytes(bytes);
}

const facts = (error: CvmError): Record<string, unknown> => Object.fromEntries(error.facts);

describe('what was formatted verifies', () => {
  test.each(['sha1', 'sha256', 'sha384', 'sha512'] as const)('with %s, both hash types', (algorithm) => {
    for (const hashType of [0, 1] as const) {
      for (const blocks of [1, 2, 3, 300]) {
        const { image, hashOffset, rootHash } = seal(counted(blocks * 512), { algorithm, hashType });
        const verified = verifyVerity(sourceFromBytes(image), hashOffset, rootHash);
        expect(verified.rootHash).toEqual(rootHash);
        expect(verified.parameters).toMatchObject({ algorithm, hashType, dataBlocks: blocks });
      }
    }
  });

  test('with any sizes, salts, gaps and holes', () => {
    const sizes = fc.constantFrom(512, 1024, 4096);
    fc.assert(
      fc.property(
        fc.integer({ min: 4096, max: 200_000 }),
        sizes,
        sizes,
        fc.uint8Array({ maxLength: 256 }),
        fc.nat(5),
        fc.nat(150_000),
        (bytes, dataBlockBytes, hashBlockBytes, salt, gap, from) => {
          const data = counted(bytes).fill(0, from, from + 50_000);
          const parts = seal(data, { dataBlockBytes, hashBlockBytes, salt }, gap * 512);
          const image = sourceFromBytes(parts.image);
          expect(verifyVerity(image, parts.hashOffset, parts.rootHash).rootHash).toEqual(parts.rootHash);
        },
      ),
    );
  });

  test('without an expected root hash the own one is answered', () => {
    expect(verifyVerity(sourceFromBytes(sealed.image), sealed.hashOffset).rootHash).toEqual(sealed.rootHash);
  });
});

describe('what was changed does not', () => {
  test('names the first data block that differs', () => {
    const twice = sealed.image.slice();
    twice[200 * 512 + 3] = 0;
    twice[77 * 512] = (twice[77 * 512] ?? 0) ^ 1;
    const error = expectCvmError(
      () => verifyVerity(sourceFromBytes(twice), sealed.hashOffset, sealed.rootHash),
      'VERITY_DATA_BLOCK',
      'mismatch',
    );
    expect(facts(error)).toMatchObject({ 'data block': 77, at: 77 * 512 });
  });

  test('names the block of the tree that differs, though all data is right', () => {
    // Levels of 19, 2 and 1 blocks, from the top down: the 2 begin one block behind the superblock's and the top's.
    const at = sealed.hashOffset + 2 * 512 + 512;
    const error = expectCvmError(
      () => verifyVerity(flip(sealed.image, at), sealed.hashOffset, sealed.rootHash),
      'VERITY_HASH_BLOCK',
      'mismatch',
    );
    expect(facts(error)).toMatchObject({ level: 1, 'block of the level': 1, at });
  });

  test('refuses another root hash, though data and tree agree', () => {
    const other = sealed.rootHash.slice();
    other[31] = (other[31] ?? 0) ^ 1;
    expectCvmError(
      () => verifyVerity(sourceFromBytes(sealed.image), sealed.hashOffset, other),
      'VERITY_ROOT_HASH',
      'mismatch',
    );
  });

  test('refuses a root hash that is a prefix of the right one', () => {
    expectCvmError(
      () => verifyVerity(sourceFromBytes(sealed.image), sealed.hashOffset, sealed.rootHash.subarray(0, 31)),
      'VERITY_ROOT_HASH',
      'mismatch',
    );
  });

  test('every flipped byte of data, superblock and tree is refused, but for the UUID', () => {
    const { image, hashOffset, rootHash } = seal(counted(40 * 512));
    for (let at = 0; at < image.length; at++) {
      const isUuid = at >= hashOffset + 16 && at < hashOffset + 32;
      const verify = (): unknown => verifyVerity(flip(image, at), hashOffset, rootHash);
      if (isUuid) verify();
      else expect(verify, `byte ${at}`).toThrow(CvmError);
    }
  });

  test('a single data block is checked too', () => {
    const { image, hashOffset, rootHash } = seal(counted(512));
    expectCvmError(() => verifyVerity(flip(image, 5), hashOffset, rootHash), 'VERITY_ROOT_HASH', 'mismatch');
  });

  test('data in a tree block behind its last digest is refused, though its digest above is right', () => {
    const { image, hashOffset } = seal(counted(3 * 512));
    const top = hashOffset + 512;
    expectCvmError(() => verifyVerity(flip(image, top + 3 * 32), hashOffset), 'VERITY_SPARE', 'format');
  });

  test('any truncation is a format error', () => {
    const whole = sourceFromBytes(sealed.image);
    for (let length = 0; length < sealed.image.length; length += 509) {
      const cut = sliceSource(whole, 0, length);
      expect(() => verifyVerity(cut, sealed.hashOffset, sealed.rootHash)).toThrow(
        expect.objectContaining({ kind: 'format' }),
      );
    }
  });

  test('a tree over data that would reach into the superblock is refused', () => {
    const image = sealed.image.slice();
    image[sealed.hashOffset + 72] = 301 & 0xff;
    image[sealed.hashOffset + 73] = 301 >> 8;
    expectCvmError(() => verifyVerity(sourceFromBytes(image), sealed.hashOffset), 'VERITY_BOUNDS', 'format');
  });
});
