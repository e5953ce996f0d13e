import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { buildBundle, type Bundle } from '../../../tools/dstack/bundle.ts';
import { parameters, textParts, wholeParts } from '../../support/dstack.ts';

function content(bundle: Bundle, name: string): Uint8Array {
  const source = bundle.files.get(name);
  if (source === undefined) throw new Error(`no ${name}`);
  return source.read(0, source.sizeBytes);
}
const text = (bundle: Bundle, name: string): string => Buffer.from(content(bundle, name)).toString('utf8');
const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

describe('the reference vectors', () => {
  test('four files with a SEV firmware', () => {
    const bundle = buildBundle(textParts(true), parameters('0.5.11'), 'four');
    const metadata = content(bundle, 'metadata.json');
    expect(metadata.length).toBe(626);
    expect(sha256(metadata)).toBe('7fd77731d539de0dbb8ab40ecb0ebfdfaa75ef8eff63f2c67b7700e2bce54b2f');
    expect(bundle.digest).toBe('6f9f9d984833792a36fb64bb8787e04d8b7cbb96333b2b6f20b89108e9f4d90a');
    expect(text(bundle, 'digest.txt')).toBe(`${bundle.digest}\n`);
  });

  test('a whole bundle', () => {
    const bundle = buildBundle(wholeParts(), parameters('0.6.0'), 'cbor');
    const sums = text(bundle, 'sha256sum.txt').split('\n').slice(0, -1);
    expect(sums.map((line) => line.slice(66))).toEqual([
      'ovmf.fd',
      'bzImage',
      'initramfs.cpio.gz',
      'metadata.json',
      'measurement.tdx.cbor',
      'measurement.snp.cbor',
    ]);
    expect(sha256(content(bundle, 'metadata.json'))).toBe(
      'f1fc551d47dc7cbe77aa16c8f8031a6b9cbfc6299dfcd474ae23273cb4fa3b91',
    );
    expect(content(bundle, 'measurement.tdx.cbor').length).toBe(380);
    expect(sha256(content(bundle, 'measurement.tdx.cbor'))).toBe(
      'a26998ebac10d29536d7596281a1ae8101763166f9b166e0e5e04a775e61e61e',
    );
    expect(content(bundle, 'measurement.snp.cbor').length).toBe(593);
    expect(sha256(content(bundle, 'measurement.snp.cbor'))).toBe(
      '739ceab95f5f0d0fa7c26e5d68c32233c6b1cfb0aff78f67d90b21778c4c07be',
    );
    expect(bundle.digest).toBe('55bee8e2a377a876af65382b842c4637cc7b3b7b94584a6e19df99b1270cdf91');
  });
});
