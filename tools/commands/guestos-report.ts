import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { bytesToHex } from '../bytes/hex.ts';
import { digestSource } from '../bytes/digest.ts';
import type { ByteSource } from '../bytes/source.ts';
import { utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { UPDATE_IMAGE_MEMBERS } from '../guestos/layout.ts';
import { archiveVersion, updateImageMembers } from '../guestos/packing.ts';
import { examine } from '../report/examine.ts';
import type { FileFact } from '../report/model.ts';
import { writeReport } from '../report/page.ts';
import { writeSparseTar } from '../tar/sparse.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, resolvePath, writeFileWhole, type OpenFile } from './files.ts';
import { compressInThreads } from './frame-stream.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  NETWORK_OPTION,
  networkOption,
  optionalFile,
  PLAN_OPTIONS,
  planOption,
  readSmallFile,
  readSmallText,
} from './guestos-options.ts';
import { openImage, readSmallMember } from './image-files.ts';
import { requiredText, textOption } from './options.ts';

/** What an image is called when nothing says otherwise. */
const IMAGE_NAME = 'update-img.tar.zst';

const VERSION_LIMIT_BYTES = 4096;

export const command: Command = {
  summary: 'write a page that says what an image is, and what was verified of it',
  description:
    'Writes one HTML file that needs nothing else: verdict, chain of trust, measured components, launch digests blessed and computed, the boot ' +
    "partition against its base's, the proposal, how to reproduce it, and what is not proven. Everything is computed from the bytes given, " +
    'as when an image is packed. The image is given as it is (--image), or as its partitions (--boot, --root and --version-file), which are packed again for ' +
    'its sha256; before the vote --base and --root are enough. The page is a record: a refusal is written down, and the exit code is 0.',
  options: [
    { flags: '--image <file>', description: 'update-img.tar.zst' },
    { flags: '--boot <image>', description: 'boot partition (.tzst or raw ext4); absent before the vote' },
    { flags: '--root <image>', description: 'root partition (.tzst or raw, with its hash tree)' },
    { flags: '--version-file <file>', description: 'version of this build, one line; with --boot' },
    {
      flags: '--base <image>',
      description: "base release: what a recovery image's boot partition was made from",
    },
    NETWORK_OPTION,
    {
      flags: '--request <file>',
      description: "request of the boot partition's proposal; mainnet demands it",
    },
    ...PLAN_OPTIONS,
    CHIP_ID_OPTION,
    {
      flags: '--lock <file>',
      description: 'pins.lock.json, whose values are compared and whose text is shown',
    },
    { flags: '--label <label>', description: 'Bazel label of the image, //package:update-img.tar.zst' },
    { flags: '--output <file>', description: 'update-img.report.html', required: true },
  ],
  async run(_args, options, io) {
    const opened: OpenFile[] = [];
    try {
      const page = await report(options, io, opened);
      await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [utf8Bytes(page)]);
    } finally {
      for (const file of opened) file.close();
    }
    return 0;
  },
};

async function report(options: OptionValues, io: Io, opened: OpenFile[]): Promise<string> {
  const network = networkOption(options);
  const label = labelOption(options);
  const sources = await openSources(options, io, opened);
  const lock = textOption(options, 'lock');
  const examined = examine({
    ...planOption(options),
    label,
    network,
    boot: sources.boot,
    root: sources.root,
    base: await openBase(options, io, opened),
    request: optionalFile(io, options, 'request', 'the request'),
    lock:
      lock === undefined ? undefined : { name: basename(lock), text: readSmallText(io, lock, 'the lock') },
    chipIds: chipIdsOption(options),
    version: sources.version,
  });
  const isImage = examined.outcome.kind === 'blessed' || examined.outcome.kind === 'release';
  const image = sources.file ?? (isImage ? await packedImage(sources, label) : null);
  return writeReport({ ...examined, image });
}

interface Sources {
  /** Undefined before the vote. */
  readonly boot: ByteSource | undefined;
  readonly root: ByteSource;
  /** VERSION.TXT without its line feed. */
  readonly version: string | null;
  /** The image itself, when it was given. */
  readonly file: FileFact | null;
}

/** @throws CvmError usage OPTION_CONFLICT | OPTION_MISSING, and those of the files */
async function openSources(options: OptionValues, io: Io, opened: OpenFile[]): Promise<Sources> {
  const open = async (path: string, member: 'boot.img' | 'root.img'): Promise<OpenFile> => {
    const image = await openImage(resolvePath(io, path), member);
    opened.push(image);
    return image;
  };
  const image = textOption(options, 'image');
  const boot = textOption(options, 'boot');
  const versionFile = textOption(options, 'versionFile');
  if (image !== undefined) {
    const other = ['boot', 'root', 'versionFile'].find((name) => textOption(options, name) !== undefined);
    if (other !== undefined) {
      throw usageError('OPTION_CONFLICT', '--image holds both partitions and the version', {
        mend: 'give --image, or --boot, --root and --version-file',
      });
    }
    const path = resolvePath(io, image);
    const version = await readSmallMember(path, UPDATE_IMAGE_MEMBERS[2], VERSION_LIMIT_BYTES);
    return {
      boot: await open(image, 'boot.img'),
      root: await open(image, 'root.img'),
      version: version === undefined ? null : utf8FromBytes(version, 'VERSION.TXT').replace(/\n$/, ''),
      file: fileFact(path),
    };
  }
  if ((boot === undefined) !== (versionFile === undefined)) {
    throw usageError('OPTION_CONFLICT', '--boot and --version-file go together', {
      mend: 'before the vote there is neither; an image has both',
    });
  }
  const root = await open(requiredText(options, 'root'), 'root.img');
  if (boot === undefined || versionFile === undefined)
    return { boot: undefined, root, version: null, file: null };
  const version = archiveVersion(readSmallFile(io, versionFile, 'the version file'), networkOption(options));
  return { boot: await open(boot, 'boot.img'), root, version: version.replace(/\n$/, ''), file: null };
}

async function openBase(
  options: OptionValues,
  io: Io,
  opened: OpenFile[],
): Promise<{ readonly boot: ByteSource; readonly file: FileFact } | undefined> {
  const base = textOption(options, 'base');
  if (base === undefined) return undefined;
  const path = resolvePath(io, base);
  const boot = await openImage(path, 'boot.img');
  opened.push(boot);
  return { boot, file: fileFact(path) };
}

function fileFact(path: string): FileFact {
  const file = openFile(path);
  try {
    return {
      name: basename(path),
      sizeBytes: file.sizeBytes,
      sha256: bytesToHex(digestSource('sha256', file)),
    };
  } finally {
    file.close();
  }
}

/** What `update-image` writes for these partitions, hashed and not kept. */
async function packedImage({ boot, root, version }: Sources, label: string | null): Promise<FileFact | null> {
  if (boot === undefined || version === null) return null;
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const archive = writeSparseTar(updateImageMembers(boot, root, `${version}\n`), { reuseBuffer: true });
  for await (const frame of compressInThreads(archive)) {
    hash.update(frame);
    sizeBytes += frame.length;
  }
  return { name: label?.split(':').at(-1) ?? IMAGE_NAME, sizeBytes, sha256: hash.digest('hex') };
}

/** @throws CvmError usage OPTION_LABEL: it stands in commands that people copy */
function labelOption(options: OptionValues): string | null {
  const label = textOption(options, 'label');
  if (label === undefined) return null;
  if (/^\/\/[A-Za-z0-9/._+-]*:[A-Za-z0-9][A-Za-z0-9/._+-]*$/.test(label)) return label;
  throw usageError('OPTION_LABEL', '--label takes a label of this workspace', {
    facts: [['found', label]],
    mend: 'write it like //package:update-img.tar.zst',
  });
}
