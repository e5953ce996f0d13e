import { crc32 } from 'node:zlib';
import { concatBytes } from '../bytes/compare.ts';
import { formatError } from '../errors.ts';
import type { CvmError, Fact } from '../errors.ts';

/** A principal is 0 to 29 bytes; the empty one is the management canister. */
export const PRINCIPAL_MAX_BYTES = 29;

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const CHECKSUM_BYTES = 4;
const GROUP = 5;

/**
 * The text of a principal: base32 (RFC 4648, lower case, no padding) of CRC-32 (big-endian) and bytes, a dash after
 * every fifth character. Source: Internet Computer interface specification, "Textual representation of principals".
 * @throws CvmError format PRINCIPAL_LENGTH
 */
export function principalToText(bytes: Uint8Array): string {
  checkLength(bytes.length);
  const checksum = new DataView(new ArrayBuffer(CHECKSUM_BYTES));
  checksum.setUint32(0, crc32(bytes));
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of concatBytes(new Uint8Array(checksum.buffer), bytes)) {
    value = (value << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += ALPHABET.charAt((value >>> (bits - 5)) & 31);
    value &= (1 << bits) - 1;
  }
  if (bits > 0) text += ALPHABET.charAt((value << (5 - bits)) & 31);
  return (text.match(new RegExp(`.{1,${GROUP}}`, 'g')) ?? []).join('-');
}

/**
 * The bytes of a principal's text. Only the one canonical text of a principal is taken.
 * @throws CvmError format PRINCIPAL_TEXT | PRINCIPAL_CHECKSUM | PRINCIPAL_LENGTH
 */
export function principalFromText(text: string): Uint8Array {
  if (!/^[a-z2-7]{5}(-[a-z2-7]{5})*(-[a-z2-7]{1,4})?$/.test(text)) throw badText(text, 'PRINCIPAL_TEXT');
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const character of text.replaceAll('-', '')) {
    value = (value << 5) | ALPHABET.indexOf(character);
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push(value >>> bits);
    value &= (1 << bits) - 1;
  }
  if (bytes.length < CHECKSUM_BYTES) throw badText(text, 'PRINCIPAL_TEXT');
  const principal = Uint8Array.from(bytes.slice(CHECKSUM_BYTES));
  checkLength(principal.length);
  const canonical = principalToText(principal);
  if (canonical !== text) throw badText(text, 'PRINCIPAL_CHECKSUM', [['these bytes would read', canonical]]);
  return principal;
}

function checkLength(length: number): void {
  if (length > PRINCIPAL_MAX_BYTES) {
    throw formatError('PRINCIPAL_LENGTH', 'a principal is longer than it may be', {
      facts: [
        ['length', `${length} bytes`],
        ['limit', `${PRINCIPAL_MAX_BYTES} bytes`],
      ],
      mend: 'check that the bytes are those of a principal',
    });
  }
}

function badText(text: string, code: string, facts: readonly Fact[] = []): CvmError {
  return formatError(code, 'this is not the text of a principal', {
    facts: [
      ['text', text.length > 100 ? `${text.slice(0, 100)}… (${text.length} characters)` : text],
      ...facts,
    ],
    mend: 'give the id as shown by its owner: lower case, groups of five, for example rrkah-fqaaa-aaaaa-aaaaq-cai',
  });
}
