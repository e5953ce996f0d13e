import { formatError } from '../errors.ts';

/**
 * Strict hex decoding. `Buffer.from(text, 'hex')` stops silently at the first bad digit, so it is never used on
 * outside text.
 *
 * @param text an even number of hex digits, either case, nothing else
 * @param what the name of the value, for the error
 * @param lengthBytes the exact length demanded, in bytes
 * @throws CvmError format HEX_INVALID | HEX_LENGTH
 */
export function hexToBytes(text: string, what = 'value', lengthBytes?: number): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) {
    const bad = /[^0-9a-fA-F]/.exec(text);
    throw formatError('HEX_INVALID', `${what} is not hex text`, {
      facts: [
        ['length', `${text.length} characters`],
        ...(bad ? ([['first bad character', `${JSON.stringify(bad[0])} at ${bad.index}`]] as const) : []),
      ],
      mend: 'give an even number of the digits 0-9 a-f, without 0x, spaces or separators',
    });
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  if (lengthBytes !== undefined && bytes.length !== lengthBytes) {
    throw formatError('HEX_LENGTH', `${what} has the wrong length`, {
      facts: [
        ['expected', `${lengthBytes} bytes (${2 * lengthBytes} digits)`],
        ['found', `${bytes.length} bytes (${text.length} digits)`],
      ],
    });
  }
  return bytes;
}

const DIGITS = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

/** Lower-case hex of all bytes. */
export function bytesToHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += DIGITS[byte] as string;
  return text;
}
