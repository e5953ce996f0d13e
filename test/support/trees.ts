/** Trees and sources for tests of archives. */
import { sourceFromBytes, sparseSource, type ByteSource, type Piece } from '../../tools/bytes/source.ts';
import { concatBytes } from '../../tools/bytes/compare.ts';
import { rawFromUtf8, utf8Bytes } from '../../tools/bytes/text.ts';
import { NO_XATTRS, type EntryCommon, type FileEntry, type TreeEntry } from '../../tools/tree/entry.ts';

/** Everything a path is by default: 0644, root, epoch. */
export function common(path: string, fields: Partial<EntryCommon> = {}): EntryCommon {
  return {
    path: rawFromUtf8(path),
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSec: 0,
    mtimeNsec: 0,
    xattrs: NO_XATTRS,
    ...fields,
  };
}

export function fileEntry(
  path: string,
  content: string | Uint8Array,
  fields?: Partial<EntryCommon>,
): FileEntry {
  const bytes = typeof content === 'string' ? utf8Bytes(content) : content;
  return { ...common(path, fields), type: 'file', content: sourceFromBytes(bytes) };
}

export function folderEntry(path: string, fields?: Partial<EntryCommon>): TreeEntry {
  return { ...common(path, { mode: 0o755, ...fields }), type: 'dir' };
}

/** A source that is nothing but a hole. */
export function holeSource(sizeBytes: number): ByteSource {
  return sparseSource(sizeBytes, []);
}

/** A source of given pieces whose extents are exactly these pieces. */
export function piecesSource(
  sizeBytes: number,
  pieces: readonly (readonly [number, Uint8Array])[],
): ByteSource {
  const placed: Piece[] = pieces.map(([offset, bytes]) => ({ offset, source: sourceFromBytes(bytes) }));
  return sparseSource(sizeBytes, placed);
}

/** All bytes of a stream. */
export function collect(chunks: Iterable<Uint8Array>): Uint8Array {
  return concatBytes(...chunks);
}

export async function collectAsync(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return concatBytes(...parts);
}

/** What two equal trees have in common: sources are compared by content, xattrs by bytes. */
export function plainTree(entries: readonly TreeEntry[]): unknown[] {
  return entries.map((entry) => ({
    ...entry,
    xattrs: [...entry.xattrs].map(([name, value]) => [name, Buffer.from(value).toString('hex')]).sort(),
    ...('content' in entry
      ? { content: Buffer.from(entry.content.read(0, entry.content.sizeBytes)).toString('hex') }
      : {}),
  }));
}
