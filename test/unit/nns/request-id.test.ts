import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { decodeLeb128, encodeLeb128 } from '../../../tools/nns/leb128.ts';
import { requestId } from '../../../tools/nns/request-id.ts';
import type { RequestValue } from '../../../tools/nns/request-id.ts';
import { expectRefusal } from '../../support/refusals.ts';

const CALL: readonly (readonly [string, RequestValue])[] = [
  ['request_type', 'call'],
  ['canister_id', hexToBytes('00000000000000010101')],
  ['method_name', 'get_proposal_info'],
  ['arg', hexToBytes('4449444c000178f91e020000000000')],
  ['sender', Uint8Array.of(4)],
  ['ingress_expiry', 1_770_000_000_000_000_000n],
  ['nonce', hexToBytes('000102030405060708090a0b0c0d0e0f')],
];

test('the call for proposal 139001 has the id that two other programs computed', () => {
  expect(bytesToHex(requestId(new Map(CALL)))).toBe(
    '55f593c6a7f55e437f4b039cc52dd6f7fee3f04d4b8f479377901c7d51962716',
  );
});

test('the example of the interface specification', () => {
  const fields = new Map<string, RequestValue>([
    ['request_type', 'call'],
    ['sender', Uint8Array.of(4)],
    ['ingress_expiry', 1_685_570_400_000_000_000n],
    ['canister_id', hexToBytes('00000000000004d2')],
    ['method_name', 'hello'],
    ['arg', hexToBytes('4449444c00fd2a')],
  ]);
  expect(bytesToHex(requestId(fields))).toBe(
    '1d1091364d6bb8a6c16b203ee75467d59ead468f523eb058880ae8ec80e2b101',
  );
});

test('the order of the fields does not count', () => {
  expect(requestId(new Map([...CALL].reverse()))).toEqual(requestId(new Map(CALL)));
});

test.each(CALL.map(([name]) => name))('another %s gives another id', (changed) => {
  const other = CALL.map(([name, value]) => [name, name === changed ? 'other' : value] as const);
  expect(requestId(new Map(other))).not.toEqual(requestId(new Map(CALL)));
});

describe('LEB128', () => {
  test.each([
    [0n, '00'],
    [127n, '7f'],
    [128n, '8001'],
    [624485n, 'e58e26'],
    [2n ** 64n - 1n, 'ffffffffffffffffff01'],
  ])('%s is 0x%s', (value, hex) => {
    expect(bytesToHex(encodeLeb128(value))).toBe(hex);
    expect(decodeLeb128(hexToBytes(hex), 'time')).toBe(value);
  });

  test.each([
    ['nothing', ''],
    ['a number cut short', '80'],
    ['a longer form than needed', '8000'],
    ['bytes after the number', '0000'],
    ['more than 64 bits', 'ffffffffffffffffff02'],
    ['eleven bytes', '8080808080808080808001'],
  ])('refuses %s', (_, hex) => {
    expectRefusal(() => decodeLeb128(hexToBytes(hex), 'time'), 'LEB128', 'format');
  });
});
