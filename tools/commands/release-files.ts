/** A release as it lies in a folder: what is there, hashed, and its images opened. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { identityOf, type FileIdentity } from '../bytes/digest.ts';
import { readAll } from '../bytes/source.ts';
import { showRaw } from '../bytes/text.ts';
import { CvmError, formatError, usageError } from '../errors.ts';
import { UPDATE_IMAGE_MEMBERS } from '../guestos/layout.ts';
import type { ReleaseImage } from '../release/judge-images.ts';
import { CAS_FOLDER, RELEASE_FILES } from '../release/layout.ts';
import type { ReleaseContents } from '../release/contents.ts';
import { readTar, type TarMember } from '../tar/reader.ts';
import { fileError, openFile, type OpenFile } from './files.ts';
import { openDecompressed, openImage } from './image-files.ts';

/** A release has some ten files. */
const FILES_LIMIT = 1000;
/** All but the images are far smaller. */
const SMALL_FILE_LIMIT_BYTES = 16 << 20;

export interface OpenRelease extends ReleaseContents {
  close(): void;
}

/**
 * Opens a release. Every file is read once to be hashed; the images stay open for more.
 * @throws CvmError usage FILE_NOT_FOUND | FILE_ACCESS | RELEASE_FOLDER
 */
export async function openRelease(folder: string): Promise<OpenRelease> {
  const top = list(folder);
  const cas = top.folders.includes(CAS_FOLDER) ? list(join(folder, CAS_FOLDER)) : undefined;
  const opened: OpenFile[] = [];
  const close = (): void => {
    for (const file of opened) file.close();
  };
  try {
    const update = await openUpdateImage(join(folder, RELEASE_FILES.updateImage), top.files, opened);
    const disk = await attempt(async () => {
      if (!top.files.includes(RELEASE_FILES.diskImage)) return undefined;
      const image = await openImage(join(folder, RELEASE_FILES.diskImage), 'disk.img');
      opened.push(image);
      return image;
    });
    return {
      files: identities(folder, top.files),
      cas: cas === undefined ? new Map() : identities(join(folder, CAS_FOLDER), cas.files),
      others: [
        ...top.folders.filter((name) => name !== CAS_FOLDER),
        ...(cas?.folders.map((name) => `${CAS_FOLDER}/${name}`) ?? []),
      ],
      read: (name) => {
        const file = openFile(join(folder, name));
        try {
          return readAll(file, SMALL_FILE_LIMIT_BYTES, name).slice();
        } finally {
          file.close();
        }
      },
      update,
      disk,
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function identities(folder: string, names: readonly string[]): Map<string, FileIdentity> {
  return new Map(
    names.map((name) => {
      const file = openFile(join(folder, name));
      try {
        return [name, identityOf(file)];
      } finally {
        file.close();
      }
    }),
  );
}

/** Sorted names: files, and all that is none. */
function list(folder: string): { readonly files: string[]; readonly folders: string[] } {
  const files: string[] = [];
  const folders: string[] = [];
  try {
    const names = readdirSync(folder).toSorted((a, b) => (a < b ? -1 : 1));
    if (names.length > FILES_LIMIT) {
      throw usageError('RELEASE_FOLDER', 'a folder holds more files than any release', {
        facts: [
          ['folder', folder],
          ['entries', names.length],
          ['limit', FILES_LIMIT],
        ],
        mend: 'give the folder of one release',
      });
    }
    for (const name of names) {
      const isFile = statSync(join(folder, name), { throwIfNoEntry: false })?.isFile() ?? false;
      (isFile ? files : folders).push(name);
    }
  } catch (cause) {
    throw fileError(folder, 'read', cause);
  }
  return { files, folders };
}

/** What cannot be opened is a finding; what the tool itself got wrong is not. */
async function attempt<T>(step: () => Promise<T>): Promise<T | CvmError> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof CvmError && error.kind !== 'bug') return error;
    throw error;
  }
}

async function openUpdateImage(
  path: string,
  names: readonly string[],
  opened: OpenFile[],
): Promise<ReleaseImage | CvmError> {
  return await attempt(async () => {
    if (!names.includes(RELEASE_FILES.updateImage)) {
      throw formatError('RELEASE_FILE_MISSING', 'the release lacks a file', {
        facts: [['file', RELEASE_FILES.updateImage]],
        mend: 'fetch the whole release',
      });
    }
    const archive = await openDecompressed(path);
    opened.push(archive);
    const [boot, root, version] = exactMembers([...readTar(archive)]);
    return { boot: boot.content, root: root.content, version: version.content };
  });
}

/** Whoever installs the image takes members by name: a further one, or one of them twice, is read by nobody here. */
function exactMembers(members: readonly TarMember[]): readonly [TarMember, TarMember, TarMember] {
  const [boot, root, version] = members;
  const isExact =
    members.length === UPDATE_IMAGE_MEMBERS.length &&
    members.every(({ name, type }, i) => name === UPDATE_IMAGE_MEMBERS[i] && type === 'file');
  if (isExact && boot !== undefined && root !== undefined && version !== undefined)
    return [boot, root, version];
  throw formatError(
    'UPDATE_IMAGE_MEMBERS',
    'the update image does not hold its three members and nothing else',
    {
      facts: [
        ['expected', UPDATE_IMAGE_MEMBERS.join(', ')],
        [
          'found',
          members
            .slice(0, 10)
            .map(({ name }) => showRaw(name))
            .join(', ') || 'nothing',
        ],
      ],
      mend: 'do not use the image: no build of this repository makes such an archive',
    },
  );
}
