/** Tar archives by hand, for what no honest writer makes. */
import { concatBytes } from '../../tools/bytes/compare.ts';
import { sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { paddingAfter, sealHeader, writeHeader, type HeaderFields } from '../../tools/tar/header.ts';
import { readTar, type TarMember } from '../../tools/tar/reader.ts';

export const END = new Uint8Array(1024);

const DEFAULTS: HeaderFields = {
  dialect: 'posix',
  typeFlag: '0',
  name: 'f',
  mode: 0o644,
  uid: 0,
  gid: 0,
  sizeBytes: 0,
  mtimeSec: 0,
};

/** A header; `patch` writes over its bytes before the checksum is made. */
export function header(
  fields: Partial<HeaderFields> = {},
  patch: (block: Uint8Array) => void = () => undefined,
): Uint8Array {
  const block = writeHeader({ ...DEFAULTS, ...fields });
  patch(block);
  return sealHeader(block);
}

/** Content padded to a block. */
export function padded(content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === 'string' ? utf8Bytes(content) : content;
  return concatBytes(bytes, new Uint8Array(paddingAfter(bytes.length)));
}

/** A header and its content; the size field fits. */
export function member(
  fields: Partial<HeaderFields>,
  content: string | Uint8Array = '',
  patch?: (block: Uint8Array) => void,
): Uint8Array {
  const bytes = typeof content === 'string' ? utf8Bytes(content) : content;
  return concatBytes(header({ sizeBytes: bytes.length, ...fields }, patch), padded(bytes));
}

/** A record with a right length. */
export function record(key: string, value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === 'string' ? utf8Bytes(value) : value;
  const rest = utf8Bytes(key).length + bytes.length + 3;
  let length = rest + 1;
  while (`${length}`.length + rest !== length) length++;
  return concatBytes(utf8Bytes(`${length} ${key}=`), bytes, utf8Bytes('\n'));
}

/** An extended header with its records. */
export function pax(...records: readonly Uint8Array[]): Uint8Array {
  return member({ typeFlag: 'x', name: 'PaxHeaders/f' }, concatBytes(...records));
}

export function archive(...parts: readonly Uint8Array[]): ByteSource {
  return sourceFromBytes(concatBytes(...parts, END));
}

export function membersOf(...parts: readonly Uint8Array[]): TarMember[] {
  return [...readTar(archive(...parts))];
}

export function text(source: ByteSource): string {
  return Buffer.from(source.read(0, source.sizeBytes)).toString('latin1');
}
