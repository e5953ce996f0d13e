import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { CvmError } from '../../../tools/errors.ts';
import { GOVERNANCE_CANISTER_ID } from '../../../tools/nns/networks.ts';
import { principalFromText, principalToText } from '../../../tools/nns/principal.ts';
import { expectRefusal } from '../../support/refusals.ts';

test.each([
  ['aaaaa-aa', ''],
  ['2vxsx-fae', '04'],
  ['rrkah-fqaaa-aaaaa-aaaaq-cai', '00000000000000010101'],
  ['suje7-zaaaa-aaaad-abnzq-cai', '0000000000600b730101'],
  ['em77e-bvlzu-aq', 'abcd01'],
])('%s is 0x%s', (text, hex) => {
  expect(bytesToHex(principalFromText(text))).toBe(hex);
  expect(principalToText(hexToBytes(hex))).toBe(text);
});

test('governance is the canister of that name', () => {
  expect(principalToText(GOVERNANCE_CANISTER_ID)).toBe('rrkah-fqaaa-aaaaa-aaaaq-cai');
});

test('the id of a subnet has 29 bytes', () => {
  const text = 'tdb26-jop6k-aogll-7ltgs-eruif-6kk7m-qpktf-gdiqx-mxtrf-vb5e6-eqe';
  expect(principalFromText(text)).toHaveLength(29);
  expect(principalToText(principalFromText(text))).toBe(text);
});

describe('refuses', () => {
  test.each([
    ['the empty text', '', 'PRINCIPAL_TEXT'],
    ['upper case', 'RRKAH-FQAAA-AAAAA-AAAAQ-CAI', 'PRINCIPAL_TEXT'],
    ['text without dashes', 'rrkahfqaaaaaaaaaaaaqcai', 'PRINCIPAL_TEXT'],
    ['dashes elsewhere', 'rrka-hfqaaa-aaaaa-aaaaq-cai', 'PRINCIPAL_TEXT'],
    ['a dash at the end', 'aaaaa-aa-', 'PRINCIPAL_TEXT'],
    ['a line break at the end', 'aaaaa-aa\n', 'PRINCIPAL_TEXT'],
    ['a character outside base32', 'rrkah-fqaaa-aaaaa-aaaaq-ca1', 'PRINCIPAL_TEXT'],
    ['fewer bytes than a checksum', 'aaaaa', 'PRINCIPAL_TEXT'],
    ['one character changed', 'rrkah-fqaaa-aaaaa-aaaaq-cbi', 'PRINCIPAL_CHECKSUM'],
    ['two characters swapped', 'rrkah-fqaaa-aaaaa-aaaqa-cai', 'PRINCIPAL_CHECKSUM'],
    ['bits that no byte uses', 'aaaaa-ab', 'PRINCIPAL_CHECKSUM'],
    ['more than 29 bytes', `${'aaaaa-'.repeat(11)}aaaaa`, 'PRINCIPAL_LENGTH'],
  ])('%s', (_, text, code) => {
    expectRefusal(() => principalFromText(text), code, 'format');
  });

  test('bytes longer than a principal', () => {
    expectRefusal(() => principalToText(new Uint8Array(30)), 'PRINCIPAL_LENGTH', 'format');
  });
});

test('text and bytes are two forms of one thing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 29 }), (bytes) => {
      expect(principalFromText(principalToText(bytes))).toEqual(bytes);
    }),
  );
});

test('any text is a principal whose text it is, or is refused by name', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'b', '2', '-', 'q'), maxLength: 20 }), (text) => {
      try {
        expect(principalToText(principalFromText(text))).toBe(text);
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
      }
    }),
  );
});
