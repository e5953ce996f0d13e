import { bls12_381 } from '@noble/curves/bls12-381';
import { describe, expect, test } from 'vitest';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { verifyBls } from '../../../tools/nns/bls.ts';
import { keyFromDer } from '../../../tools/nns/root-key.ts';
import { DEV_SECRET, STRANGER_SECRET, derKeyOf, secretOf } from '../../nns/signer.ts';
import { expectRefusal } from '../../support/refusals.ts';
import { ROOT_KEY } from './dev-certificates.ts';

describe('BLS points', () => {
  const { G1, G2, fields } = bls12_381;
  const message = utf8Bytes('message');
  const key = keyFromDer(ROOT_KEY, 'key');
  const { shortSignatures } = bls12_381;
  const signature = shortSignatures.Signature.toBytes(
    shortSignatures.sign(shortSignatures.hash(message), DEV_SECRET),
  );
  const infinity = (length: number): Uint8Array => Uint8Array.of(0xc0, ...new Uint8Array(length - 1));

  /** A point of the curve outside the prime-order subgroup: the first x with a root, which has the full order. */
  function strayG1(): Uint8Array {
    for (let x = 1; ; x++) {
      const bytes = new Uint8Array(48);
      bytes[0] = 0x80;
      bytes[47] = x;
      const y2 = fields.Fp.add(fields.Fp.pow(BigInt(x), 3n), 4n);
      if (fields.Fp.eql(fields.Fp.pow(y2, (fields.Fp.ORDER - 1n) / 2n), 1n)) return bytes;
    }
  }

  test('the good signature verifies, also from views of a larger buffer', () => {
    expect(verifyBls(key, signature, message)).toBe(true);
    const pool = Buffer.concat([Buffer.from('xx'), signature, message, key]);
    expect(verifyBls(pool.subarray(57), pool.subarray(2, 50), pool.subarray(50, 57))).toBe(true);
  });

  test('over another message or by another key it does not', () => {
    expect(verifyBls(key, signature, utf8Bytes('messagf'))).toBe(false);
    expect(verifyBls(keyFromDer(derKeyOf(STRANGER_SECRET), 'key'), signature, message)).toBe(false);
  });

  test('says what the library says, of many keys and messages, right and wrong', () => {
    for (let scalar = 2; scalar < 8; scalar++) {
      const secret = secretOf(scalar);
      const publicKey = keyFromDer(derKeyOf(secret), 'key');
      for (const [signer, text] of [
        [secret, 'message'],
        [secret, `message ${scalar}`],
        [secretOf(scalar + 1), 'message'],
      ] as const) {
        const point = shortSignatures.sign(shortSignatures.hash(utf8Bytes(text)), signer);
        const library = shortSignatures.verify(
          point,
          shortSignatures.hash(message),
          G2.Point.fromBytes(publicKey),
        );
        expect(verifyBls(publicKey, point.toBytes(true), message)).toBe(library);
        expect(library).toBe(signer === secret && text === 'message');
      }
    }
  });

  test('the negated signature does not verify', () => {
    const negated = G1.Point.fromBytes(signature).negate().toBytes(true);
    expect(verifyBls(key, negated, message)).toBe(false);
  });

  test.each<[string, Uint8Array]>([
    ['infinity', infinity(48)],
    ['infinity with the sign bit', Uint8Array.of(0xe0, ...infinity(48).subarray(1))],
    ['infinity with rubbish behind', Uint8Array.of(...infinity(48).subarray(0, 47), 1)],
    ['zeros', new Uint8Array(48)],
    ['all ones', new Uint8Array(48).fill(0xff)],
    ['a point outside the subgroup', strayG1()],
    [
      'the signature without its compression bit',
      Uint8Array.of((signature[0] as number) & 0x7f, ...signature.subarray(1)),
    ],
    ['the point uncompressed', G1.Point.fromBytes(signature).toBytes(false)],
    ['47 bytes', signature.subarray(0, 47)],
    ['no bytes', new Uint8Array()],
  ])('a signature that is %s is refused', (_, bad) => {
    expectRefusal(() => verifyBls(key, bad, message), 'BLS_SIGNATURE_POINT', 'trust');
  });

  test('a second encoding of a good signature, x plus the field prime, is refused', () => {
    // Found by search: a message whose signature has an x small enough for x + p to fit 381 bits.
    for (let i = 0; i < 64; i++) {
      const text = utf8Bytes(`message ${i}`);
      const point = shortSignatures.sign(shortSignatures.hash(text), DEV_SECRET);
      const { x } = point.toAffine();
      if (x + fields.Fp.ORDER >= 1n << 381n) continue;
      const good = point.toBytes(true);
      const flags = (good[0] as number) & 0xe0;
      const twin = hexToBytes((x + fields.Fp.ORDER).toString(16).padStart(96, '0'));
      twin[0] = (twin[0] as number) | flags;
      expect(verifyBls(key, good, text)).toBe(true);
      // The library alone takes both: that is why canonical form is demanded here.
      const lax = shortSignatures.verify(
        G1.Point.fromBytes(twin),
        shortSignatures.hash(text),
        G2.Point.fromBytes(key),
      );
      expect(lax).toBe(true);
      expectRefusal(() => verifyBls(key, twin, text), 'BLS_SIGNATURE_POINT', 'trust');
      return;
    }
    expect.unreachable('one signature in six has a small x');
  });

  test.each<[string, Uint8Array]>([
    ['infinity', infinity(96)],
    ['zeros', new Uint8Array(96)],
    ['all ones', new Uint8Array(96).fill(0xff)],
    ['a G1 point', signature],
    ['uncompressed', G2.Point.fromBytes(key).toBytes(false)],
    ['95 bytes', key.subarray(0, 95)],
  ])('a key that is %s is refused', (_, bad) => {
    expectRefusal(() => verifyBls(bad, signature, message), 'BLS_KEY_POINT', 'trust');
  });

  test('infinity as key and infinity as signature do not vouch for each other', () => {
    expectRefusal(() => verifyBls(infinity(96), infinity(48), message), 'BLS_KEY_POINT', 'trust');
  });
});
