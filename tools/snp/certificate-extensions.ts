import { bytesToHex } from '../bytes/hex.ts';
import { formatError } from '../errors.ts';

interface Element {
  readonly tag: number;
  readonly body: Uint8Array;
  readonly end: number;
}

const SEQUENCE = 0x30;
const OBJECT_IDENTIFIER = 0x06;
const OCTET_STRING = 0x04;
/** [3] EXPLICIT of TBSCertificate. */
const EXTENSIONS = 0xa3;

/**
 * The extensions of an X.509 certificate: the hex of each object identifier's content with the extension's bytes. Node.js shows
 * a few of them only. Source: RFC 5280, 4.1; X.690.
 *
 * @param der a certificate
 * @throws CvmError format CERTIFICATE_DER
 */
export function certificateExtensions(der: Uint8Array): Map<string, Uint8Array> {
  const certificate = element(der, 0, SEQUENCE);
  const toBeSigned = element(certificate.body, 0, SEQUENCE);
  const found = new Map<string, Uint8Array>();
  const list = children(toBeSigned.body).find(({ tag }) => tag === EXTENSIONS);
  if (list === undefined) return found;
  for (const extension of children(element(list.body, 0, SEQUENCE).body)) {
    const parts = children(extension.body);
    const name = parts[0];
    const value = parts.at(-1);
    if (name?.tag !== OBJECT_IDENTIFIER || value?.tag !== OCTET_STRING) throw malformed();
    const key = bytesToHex(name.body);
    if (found.has(key)) throw malformed();
    found.set(key, value.body);
  }
  return found;
}

/** A small DER INTEGER, 0 to 255; undefined when it is something else. */
export function smallInteger(der: Uint8Array): number | undefined {
  const [tag, length, first = 0, second = 0] = der;
  if (tag !== 2 || length !== der.length - 2) return undefined;
  if (length === 1 && first < 0x80) return first;
  return length === 2 && first === 0 && second >= 0x80 ? second : undefined;
}

function children(bytes: Uint8Array): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const next = element(bytes, at);
    elements.push(next);
    at = next.end;
  }
  return elements;
}

function element(bytes: Uint8Array, at: number, expected?: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined || (expected !== undefined && tag !== expected))
    throw malformed();
  let [length, start] = [first, at + 2];
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count < 1 || count > 3 || start + count > bytes.length) throw malformed();
    length = bytes.subarray(start, start + count).reduce((value, byte) => value * 256 + byte, 0);
    start += count;
  }
  if (start + length > bytes.length) throw malformed();
  return { tag, body: bytes.subarray(start, start + length), end: start + length };
}

function malformed(): Error {
  return formatError('CERTIFICATE_DER', 'the certificate is malformed', {
    mend: 'fetch it again from the key distribution service',
  });
}
