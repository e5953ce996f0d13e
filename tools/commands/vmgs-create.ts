import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { guidToBytes, isGuid } from '../bytes/guid.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { usageError, type CvmError } from '../errors.ts';
import { createStore, derivedVhdId } from '../vmgs/create.ts';
import { parseFileId, PROVISIONING_MARKER_ID, showFileId } from '../vmgs/file-ids.ts';
import { STORE_DEFAULT_BYTES, STORE_MAX_BYTES, STORE_MIN_BYTES } from '../vmgs/layout.ts';
import { DEFAULT_MARKER, encodeMarker } from '../vmgs/marker.ts';
import { randomSecrets, seededSecrets } from '../vmgs/secrets.ts';
import { readVhdFooter, VHD_SECTOR_BYTES, wrapVhd } from '../vmgs/vhd.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, resolvePath, writeSourceWhole, type OpenFile } from './files.ts';
import { flagOption, textOption, textsOption } from './options.ts';
import { readKey, readSeed } from './vmgs-file.ts';
import { MARKER_DEFAULTS_TEXT, MARKER_OPTIONS, markerOptions } from './vmgs-marker-options.ts';
import {
  aliasedFlag,
  aliasedText,
  ALGORITHM_OPTIONS,
  checkAlgorithm,
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  filePathOf,
  KEY_OPTIONS,
  keyPathOf,
  print,
  rawSectorBytes,
  SEED_OPTION,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'make a VMGS file',
  description:
    'Makes a store of zeros, formats it, writes the provisioning marker, if one is asked for, then the files by id, ' +
    'encrypted when there is a key (file 18, the marker, never is), and puts a VHD footer behind it. The same inputs make ' +
    `the same bytes; with a key that takes --seed-path, too. ${MARKER_DEFAULTS_TEXT} ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    {
      flags: '-s, --file-size <bytes>',
      description: `size of the store without its footer, a multiple of 512 (${STORE_DEFAULT_BYTES} when absent)`,
    },
    { flags: '--filesize <bytes>', description: '--file-size' },
    ...KEY_OPTIONS,
    ...ALGORITHM_OPTIONS,
    {
      flags: '--force-create',
      description: 'replace a file that is there; its VHD id is kept when the size is the same',
    },
    { flags: '--forcecreate', description: '--force-create' },
    { flags: '--file <id=path>', description: 'a file to put into the store', repeatable: true },
    { flags: '--marker', description: 'write a provisioning marker; so does any of its fields' },
    ...MARKER_OPTIONS,
    {
      flags: '--vhd-id <guid>',
      description: 'unique id of the footer; derived from the content when absent',
    },
    SEED_OPTION,
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const path = resolvePath(io, filePathOf(args, options));
    const raw = rawSectorBytes(options);
    const storeBytes = storeBytesOf(options);
    const existing = existingFile(path, options);
    const vhdId = givenId(options, raw !== undefined) ?? keptId(existing, storeBytes, raw !== undefined);
    const seed = readSeed(io, options);
    const key = keyOf(io, options, seed);
    const marker = markerOf(io, options);
    const opened: OpenFile[] = [];
    try {
      const files = filesOf(io, options, marker !== undefined, opened);
      const geometry = { storeBytes, sectorBytes: raw ?? VHD_SECTOR_BYTES };
      const { image, store } = createStore({ geometry, files, ...marker, ...key });
      const id = raw === undefined ? (vhdId ?? derivedVhdId(image, seed)) : undefined;
      const file = id === undefined ? image : wrapVhd(image, id);
      await writeSourceWhole(path, file);
      const { guidFromBytes } = await import('../bytes/guid.ts');
      const result = {
        file: path,
        storeBytes,
        fileBytes: file.sizeBytes,
        vhdId: id === undefined ? null : guidFromBytes(id),
        sequence: store.header.sequence,
        encrypted: key.key !== undefined,
        files: store.files.flatMap((entry, fileId) =>
          entry === undefined
            ? []
            : [{ id: fileId, sizeBytes: entry.sizeBytes, firstBlock: entry.firstBlock }],
        ),
      };
      await print(io, options, result, '');
    } finally {
      for (const file of opened) file.close();
    }
    return 0;
  },
};

/** @throws CvmError usage VMGS_SIZE */
function storeBytesOf(options: OptionValues): number {
  const text = aliasedText(options, 'fileSize', 'filesize');
  if (text === undefined) return STORE_DEFAULT_BYTES;
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= STORE_MIN_BYTES && value <= STORE_MAX_BYTES && value % 512 === 0) return value;
  throw usageError('VMGS_SIZE', '--file-size is no size that a store can have', {
    facts: [
      ['found', text],
      ['range', `${STORE_MIN_BYTES} to ${STORE_MAX_BYTES}`],
      ['multiple of', 512],
    ],
  });
}

/** The path when a file is there that may be replaced. @throws CvmError usage VMGS_EXISTS */
function existingFile(path: string, options: OptionValues): string | undefined {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
  if (aliasedFlag(options, 'forceCreate', 'forcecreate')) return path;
  throw usageError('VMGS_EXISTS', 'the file exists already', {
    facts: [['path', path]],
    mend: 'add --force-create to replace it',
  });
}

/** @throws CvmError usage OPTION_GUID | OPTION_CONFLICT */
function givenId(options: OptionValues, isRaw: boolean): Uint8Array | undefined {
  const text = textOption(options, 'vhdId');
  if (text === undefined) return undefined;
  if (isRaw) {
    throw usageError('OPTION_CONFLICT', '--raw and --vhd-id do not go together', {
      mend: 'leave out --vhd-id: it stands in the footer, and a raw store has none',
    });
  }
  if (isGuid(text)) return guidToBytes(text);
  throw usageError('OPTION_GUID', '--vhd-id is no GUID', {
    facts: [['found', text]],
    mend: 'write 8-4-4-4-12 hex digits',
  });
}

/** The id of a footer that would be the same but for its id. */
function keptId(path: string | undefined, storeBytes: number, isRaw: boolean): Uint8Array | undefined {
  if (path === undefined || isRaw) return undefined;
  const file = openFile(path);
  try {
    const footer = readVhdFooter(file);
    return footer.currentBytes === storeBytes && file.sizeBytes === storeBytes + 512
      ? footer.idBytes
      : undefined;
  } catch (error) {
    // What is replaced need not be a VHD; a file that cannot be read is an error all the same.
    if ((error as CvmError).kind === 'format') return undefined;
    throw error;
  } finally {
    file.close();
  }
}

type Key = Pick<Parameters<typeof createStore>[0], 'key'>;

/** @throws CvmError usage OPTION_MISSING | OPTION_ALGORITHM | VMGS_KEY_LENGTH | VMGS_KEY_ZERO | VMGS_SEED */
function keyOf(io: Io, options: OptionValues, seed: Uint8Array | undefined): Key {
  checkAlgorithm(options);
  const datastoreKey = readKey(io, keyPathOf(options));
  if (datastoreKey === undefined) {
    if (aliasedText(options, 'encryptionAlgorithm', 'encryptionalgorithm') === undefined) return {};
    throw usageError('OPTION_MISSING', '--encryption-algorithm goes with --key-path');
  }
  const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));
  return { key: { datastoreKey, secrets: seed === undefined ? randomSecrets(random) : seededSecrets(seed) } };
}

function markerOf(io: Io, options: OptionValues): { readonly marker: Uint8Array } | undefined {
  const fields = markerOptions(io, options);
  if (!flagOption(options, 'marker') && Object.keys(fields).length === 0) return undefined;
  return { marker: encodeMarker({ ...DEFAULT_MARKER, ...fields }) };
}

/** @throws CvmError usage OPTION_FILE | OPTION_FILE_ID, and those of `openFile` */
function filesOf(
  io: Io,
  options: OptionValues,
  hasMarker: boolean,
  opened: OpenFile[],
): { id: number; content: ByteSource }[] {
  const seen = new Set<number>(hasMarker ? [PROVISIONING_MARKER_ID] : []);
  return textsOption(options, 'file').map((text) => {
    const [, idText = '', path = ''] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
    if (path === '') {
      throw usageError('OPTION_FILE', '--file is an id and a path', {
        facts: [['found', text]],
        mend: 'write 3=tpm.bin',
      });
    }
    const id = parseFileId(idText);
    if (seen.has(id)) {
      throw usageError('OPTION_FILE', 'a file id is given twice', { facts: [['file id', showFileId(id)]] });
    }
    seen.add(id);
    const file = openFile(resolvePath(io, path));
    opened.push(file);
    return { id, content: asSource(file) };
  });
}
