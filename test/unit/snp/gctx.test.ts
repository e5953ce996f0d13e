import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { LaunchContext, writePageInfo } from '../../../tools/snp/gctx.ts';

const GPA = 0x1000;

function digestAfter(act: (context: LaunchContext) => void): string {
  const context = new LaunchContext();
  act(context);
  return bytesToHex(context.digest);
}

describe('launch context', () => {
  test('starts at 48 zero bytes', () => {
    expect(digestAfter(() => undefined)).toBe('00'.repeat(48));
  });

  const zeros = new Uint8Array(4096);
  test.each<[string, (context: LaunchContext) => void, string]>([
    [
      'a normal page of zeros by its hash',
      (c) => c.normalPages(GPA, sourceFromBytes(zeros)),
      'e6e4d78904d9d6b33c0cbfd121998fd2d11744dae606b3aee35e2a45d6869b60b35c63928a9232bef72d6be386f48ec6',
    ],
    [
      'a VMSA page by its hash, at its own address',
      (c) => c.vmsaPage(digestBytes('sha384', zeros)),
      'f4577da9b848673216afc3909e5ea7aa80150dda441526874cd2b0282894709b46484c13a07221aefbedfff667199259',
    ],
    [
      'a zero page without contents',
      (c) => c.emptyPages('zero', GPA, 4096),
      '4bd4147976a1e7554c1c778a781affc1c672f1965a727ba16084989b7e356044a28bbe585a2f75dac9356fa5ab78f061',
    ],
    [
      'two zero pages as two updates',
      (c) => c.emptyPages('zero', GPA, 8192),
      'ea37b63d953f133bc2700172e723bceb5066ec1d3126e8f2f67f70f742fd3b17f4c4150c1733bf53638b2c90a14075c9',
    ],
    [
      'an unmeasured page, whose address still counts',
      (c) => c.emptyPages('unmeasured', GPA, 4096),
      '81475a112c0223cebe1ccb31a0aa2567772871200b33515a3cbbd5ed6a68a8e630902dd83469ea6553554bfb67111fad',
    ],
    [
      'a secrets page',
      (c) => c.update('secrets', GPA),
      'ede71fa5ddc72c3de70c6ff1149b8ecb6ef08b74b1d3a72c2cece10bd140c06a6181343d33def7db6cc0da1ff9ba4805',
    ],
    [
      'a CPUID page',
      (c) => c.update('cpuid', GPA),
      'af3c8d305f882f039a48318a961572ddc7ebf40b3d1eae828f4fa6e27a7b3078cf2d84b459e002fb58b4ae83efd7f29c',
    ],
  ])('measures %s', (_, act, expected) => {
    expect(digestAfter(act)).toBe(expected);
  });

  test('forks share the pages so far and nothing after', () => {
    const context = new LaunchContext();
    context.update('cpuid', GPA);
    const fork = context.fork();
    fork.update('secrets', GPA);
    expect(context.digest).not.toEqual(fork.digest);
    context.update('secrets', GPA);
    expect(context.digest).toEqual(fork.digest);
  });

  test('a digest handed out is not changed by later pages', () => {
    const context = new LaunchContext();
    const before = context.digest;
    before.fill(0xff);
    context.update('cpuid', GPA);
    expect(bytesToHex(context.digest)).toMatch(/^af3c8d30/);
  });
});

describe('PAGE_INFO', () => {
  test('holds the fields at their offsets, the address in 64 bits', () => {
    const record = writePageInfo(
      new Uint8Array(48).fill(0xaa),
      'vmsa',
      0xffff_ffff_f000,
      new Uint8Array(48).fill(0xbb),
    );
    expect(bytesToHex(record)).toBe(`${'aa'.repeat(48)}${'bb'.repeat(48)}700002000000000000f0ffffffff0000`);
  });
});
