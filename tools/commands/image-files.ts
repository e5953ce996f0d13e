/**
 * Images in the wrappings they travel in: raw, zstd, sparse tar, and zstd of sparse tar (`*.tzst`, `update-img.tar.zst`).
 * What a file is shows in its bytes; its name decides nothing.
 */
import { closeSync, ftruncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { readAll, sourceFromBytes, type ByteSource, type Extent } from '../bytes/source.ts';
import { showRaw, type RawText } from '../bytes/text.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import { formatError, usageError } from '../errors.ts';
import { BLOCK_BYTES, isTarHeader } from '../tar/header.ts';
import { readTar, type TarMember } from '../tar/reader.ts';
import { writeSparseTar } from '../tar/sparse.ts';
import { normalisePath } from '../tar/tree.ts';
import { baseName } from '../tree/entry.ts';
import { PARTITION_LEVEL } from '../zstd/compress.ts';
import { decompress } from '../zstd/decompress.ts';
import { isZstd } from '../zstd/frames.ts';
import { zstdSource } from '../zstd/source.ts';
import { openFile, sourceFromHandle, writeFileWhole, type Chunks, type OpenFile } from './files.ts';
import { compressInThreads } from './frame-stream.ts';
import { openUnlinked, writeFully } from './scratch-file.ts';

/** What an image is called inside its archive. */
export type ImageMember = 'boot.img' | 'root.img' | 'partition.img' | 'disk.img';

const IMAGE_MEMBERS: readonly ImageMember[] = ['boot.img', 'root.img', 'partition.img', 'disk.img'];

/** A partition that travels alone. */
const ONLY_MEMBER: ImageMember = 'partition.img';

/** What may come out of a compressed file: far above the largest disk image, far below an exhausted disk. */
const SPOOL_LIMIT_BYTES = 64 * 2 ** 30;

/** The grid on which a spool file leaves holes. */
const SPOOL_HOLE_BYTES = 4096;

/** Beyond this many pieces, holes count as data: the list of them would be what takes the memory. */
const SPOOL_EXTENTS_LIMIT = 1 << 20;

export interface ImageOptions {
  /** Where a file that cannot be read in any order is decompressed to; the system's folder for such things when absent. */
  readonly scratchFolder?: string;
  /** Whether the member was asked for by name, which a file that is an image itself cannot answer. */
  readonly memberGiven?: boolean;
}

/**
 * Opens an image for random access, whatever it is wrapped in.
 *
 * Memory and disk: zstd whose frames are small and sized (ours are) is decoded frame by frame when read. Any other is
 * decompressed once into a sparse file without a name, which is gone when the process is.
 *
 * @param member which image of an archive: a member of this base name, or else a lone `partition.img`. When absent,
 *   the only image there is.
 * @throws CvmError usage IMAGE_MEMBER_NEEDED | IMAGE_MEMBER_MEANINGLESS, those of `openFile`; format IMAGE_MEMBER_MISSING | IMAGE_MEMBER_TWICE |
 *   ZSTD_BOMB, those of zstd and tar
 */
export async function openImage(
  path: string,
  member?: ImageMember,
  options: ImageOptions = {},
): Promise<OpenFile> {
  const opened = await openDecompressed(path, options);
  try {
    if (!isTar(opened)) {
      if (member === undefined || options.memberGiven !== true) return opened;
      throw usageError(
        'IMAGE_MEMBER_MEANINGLESS',
        'a member was named, but the file is an image and no archive',
        {
          facts: [
            ['file', path],
            ['member', member],
          ],
          mend: 'leave --member out, or give the archive',
        },
      );
    }
    const { content } = chooseImage(imageMembers(opened), path, member);
    return {
      path,
      sizeBytes: content.sizeBytes,
      extents: content.extents,
      read: (offset, length) => content.read(offset, length),
      close: () => {
        opened.close();
      },
    };
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** Whether a file is an archive with an image of this name. @throws CvmError as {@link openImage} */
export async function hasMember(
  path: string,
  member: ImageMember,
  options: ImageOptions = {},
): Promise<boolean> {
  const opened = await openDecompressed(path, options);
  try {
    return isTar(opened) && imageMembers(opened).has(member);
  } finally {
    opened.close();
  }
}

/**
 * A small member of an image's archive that is no image itself, by its base name; undefined when the file is no archive or has none.
 * @throws CvmError format SOURCE_TOO_LARGE, those of zstd and tar
 */
export async function readSmallMember(
  path: string,
  name: string,
  limitBytes: number,
): Promise<Uint8Array | undefined> {
  const opened = await openDecompressed(path);
  try {
    if (!isTar(opened)) return undefined;
    for (const member of readTar(opened)) {
      if (member.type === 'file' && baseName(member.name) === name)
        return readAll(member.content, limitBytes, name).slice();
    }
    return undefined;
  } finally {
    opened.close();
  }
}

/**
 * Opens a file with its zstd wrapping taken off, when it has one.
 * @throws CvmError as {@link openImage}
 */
export async function openDecompressed(path: string, options: ImageOptions = {}): Promise<OpenFile> {
  const file = openFile(path);
  try {
    if (!isZstd(file)) return file;
    const decoded = zstdSource(file);
    if (decoded !== undefined) return { ...decoded, path, close: () => file.close() };
    const spooled = await spool(path, decompress(file), options.scratchFolder ?? tmpdir());
    file.close();
    return spooled;
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Writes a partition as it travels: zstd of a sparse tar with the one member `partition.img`.
 * @throws CvmError usage ZSTD_ENCODER, and those of `writeFileWhole`
 */
export async function writeTzst(path: string, source: ByteSource): Promise<void> {
  const archive = writeSparseTar([{ name: ONLY_MEMBER, source }], { reuseBuffer: true });
  await writeFileWhole(path, compressInThreads(archive, PARTITION_LEVEL));
}

/**
 * Compresses a stream into a file.
 * @param chunks each is used before the next one is asked for
 * @param check as for `writeFileWhole`
 * @throws CvmError usage ZSTD_ENCODER, and those of `writeFileWhole`
 */
export async function writeZstdFile(
  path: string,
  chunks: Chunks,
  check?: (writtenPath: string) => Promise<void> | void,
): Promise<void> {
  await writeFileWhole(path, compressInThreads(chunks), check);
}

function isTar(source: ByteSource): boolean {
  return source.sizeBytes >= BLOCK_BYTES && isTarHeader(source.read(0, BLOCK_BYTES));
}

/** By base name: older releases call a member `./boot.img`. Others are of no interest here. */
function imageMembers(archive: ByteSource): Map<ImageMember, TarMember> {
  const found = new Map<ImageMember, TarMember>();
  for (const member of readTar(archive)) {
    requireInside(member);
    const name = IMAGE_MEMBERS.find((image) => image === baseName(member.name));
    if (name === undefined || member.type !== 'file') continue;
    const earlier = found.get(name);
    if (earlier !== undefined) {
      throw formatError('IMAGE_MEMBER_TWICE', 'an archive has two images of one name', {
        facts: [
          ['first', showRaw(earlier.name)],
          ['second', showRaw(member.name)],
        ],
        mend: 'make the archive anew with one image of each name',
      });
    }
    found.set(name, member);
  }
  return found;
}

/** Nothing is extracted here by name; but whoever installs the image does, and a released one has no such member. */
function requireInside({ name, linkName, type, headerOffset }: TarMember): void {
  if (name.startsWith('/')) throw outside('an absolute name', name, headerOffset);
  const path = normalisePath(name, headerOffset);
  if (type !== 'symlink' && type !== 'hardlink') return;
  // A hard link names a member, a symbolic link goes from its own folder.
  const from = type === 'hardlink' ? [] : path.split('/').slice(0, -1);
  let depth = from.length;
  for (const part of linkName.split('/').filter((word) => word !== '' && word !== '.')) {
    depth += part === '..' ? -1 : 1;
    if (depth < 0) break;
  }
  if (linkName.startsWith('/') || depth < 0) throw outside('a link that leaves it', name, headerOffset);
}

function outside(problem: string, name: RawText, at: number): Error {
  return formatError('TAR_PATH', `the archive has ${problem}`, {
    facts: [
      ['member', showRaw(name)],
      ['at byte', at],
    ],
    mend: 'take the image from its release: no released one has such a member',
  });
}

function chooseImage(
  images: ReadonlyMap<ImageMember, TarMember>,
  path: string,
  wanted: ImageMember | undefined,
): TarMember {
  const [first, ...others] = images.keys();
  const lone = others.length === 0 ? first : undefined;
  const name = wanted !== undefined && images.has(wanted) ? wanted : lone;
  const chosen = name === undefined ? undefined : images.get(name);
  if (chosen !== undefined && (wanted === undefined || name === wanted || name === ONLY_MEMBER))
    return chosen;
  const facts = [
    ['file', path],
    ['images in it', [...images.keys()].join(', ') || 'none'],
    ...(wanted === undefined ? [] : [['wanted', wanted] as const]),
  ] as const;
  if (wanted === undefined && images.size > 1) {
    throw usageError('IMAGE_MEMBER_NEEDED', 'an archive has several images, and none was named', {
      facts,
      mend: 'name it with --member where the command has that option, or extract the image and give that file',
    });
  }
  throw formatError('IMAGE_MEMBER_MISSING', 'an archive does not hold the image', {
    facts,
    mend: `give a raw image, a .tzst, or an archive that holds ${wanted ?? ONLY_MEMBER}`,
  });
}

/**
 * Puts a stream into a file that is unlinked before the first byte is written: nothing stays behind, whatever ends
 * the process. Zeros become holes and stay known as such.
 */
export async function spool(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  folder: string,
  bombCode = 'ZSTD_BOMB',
): Promise<OpenFile> {
  const handle = openUnlinked(folder);
  try {
    const extents: Extent[] = [];
    let sizeBytes = 0;
    for await (const chunk of chunks) {
      for (const run of dataRuns(sourceFromBytes(chunk), SPOOL_HOLE_BYTES)) {
        writeFully(
          folder,
          handle,
          chunk.subarray(run.offset, run.offset + run.length),
          sizeBytes + run.offset,
        );
        addExtent(extents, sizeBytes + run.offset, run.length);
      }
      sizeBytes += chunk.length;
      if (sizeBytes > SPOOL_LIMIT_BYTES) {
        throw formatError(bombCode, 'a file decompresses to more than is taken', {
          facts: [
            ['file', path],
            ['limit', `${SPOOL_LIMIT_BYTES} bytes`],
          ],
          mend: 'decompress it yourself if you trust it, and give the result',
        });
      }
    }
    ftruncateSync(handle, sizeBytes);
    return sourceFromHandle(path, handle, sizeBytes, extents);
  } catch (error) {
    closeSync(handle);
    throw error;
  }
}

function addExtent(extents: Extent[], offset: number, length: number): void {
  const last = extents.at(-1);
  if (last === undefined || (last.offset + last.length < offset && extents.length < SPOOL_EXTENTS_LIMIT)) {
    extents.push({ offset, length });
  } else {
    extents[extents.length - 1] = { offset: last.offset, length: offset + length - last.offset };
  }
}
