import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chunks, type ByteSource } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
import { fileName, isTableId } from '../vmgs/file-ids.ts';
import { isEncryptedFile, readFile, readRawFile, type Store } from '../vmgs/store.ts';
import { requireFileId } from '../vmgs/update.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { fileError, resolvePath, writeFileWhole } from './files.ts';
import { flagOption } from './options.ts';
import { requireOtherFile, withStore, type VmgsFile } from './vmgs-file.ts';
import {
  aliasedText,
  COMMON_OPTIONS,
  DATA_PATH_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_ID_OPTIONS,
  FILE_OPTIONS,
  fileIdOf,
  KEY_OPTIONS,
  print,
  required,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'read a file of a VMGS store',
  description:
    'Writes the content of a file to --data-path, or shows it as hex. Without the key an encrypted file comes out as it ' +
    `lies there, with a warning. With --all every file goes into a folder. Never writes to the store. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...FILE_ID_OPTIONS,
    ...DATA_PATH_OPTIONS('file to write; with --all the folder'),
    ...KEY_OPTIONS,
    { flags: '--all', description: 'all files but the tables, as <id>-<name>.bin' },
    { flags: '--raw-stdout', description: 'the bytes on standard output instead of hex' },
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  run: async (args, options, io) => {
    const output = aliasedText(options, 'dataPath', 'datapath');
    const isAll = flagOption(options, 'all');
    if (isAll && aliasedText(options, 'fileId', 'fileid') !== undefined)
      throw conflict('--all and --file-id');
    if (flagOption(options, 'rawStdout') && (output !== undefined || isAll || flagOption(options, 'json')))
      throw conflict('--raw-stdout and --data-path, --all or --json');
    const id = isAll ? undefined : fileIdOf(options);
    return withStore(io, args, options, async (store, vmgs) => {
      if (id === undefined) await dumpAll(store, vmgs, required(output, '--data-path'), options, io);
      else await dumpOne(store, vmgs, id, output, options, io);
      return 0;
    });
  },
};

async function dumpOne(
  store: Store,
  vmgs: VmgsFile,
  id: number,
  output: string | undefined,
  options: OptionValues,
  io: Io,
): Promise<void> {
  requireFileId(id);
  const content = contentOf(store, vmgs, id, io);
  const isCiphertext = isEncryptedFile(store, id) && store.unlocked === undefined;
  const json = { id, name: fileName(id) ?? null, sizeBytes: content.sizeBytes, ciphertext: isCiphertext };
  if (output !== undefined) {
    const path = resolvePath(io, output);
    requireOtherFile(vmgs, path);
    await writeFileWhole(path, chunks(content));
    await print(io, options, { ...json, output: path }, '');
  } else if (flagOption(options, 'rawStdout')) {
    for (const chunk of chunks(content)) io.out(chunk);
  } else if (flagOption(options, 'json')) {
    const { bytesToHex } = await import('../bytes/hex.ts');
    let hex = '';
    for (const chunk of chunks(content)) hex += bytesToHex(chunk);
    await print(io, options, { ...json, hex }, '');
  } else {
    for (const chunk of chunks(content)) io.out(hexLines(chunk));
  }
}

async function dumpAll(
  store: Store,
  vmgs: VmgsFile,
  folder: string,
  options: OptionValues,
  io: Io,
): Promise<void> {
  const path = resolvePath(io, folder);
  const ids = store.files.flatMap((entry, id) => (entry === undefined || isTableId(id) ? [] : [id]));
  // All that can be refused is refused before the first file is written.
  const contents = ids.map((id) => ({ id, content: contentOf(store, vmgs, id, io) }));
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw fileError(path, 'write', cause);
  }
  const written: { id: number; file: string; sizeBytes: number }[] = [];
  for (const { id, content } of contents) {
    const name = fileName(id);
    const file = join(path, `${id}${name === undefined ? '' : `-${name}`}.bin`);
    await writeFileWhole(file, chunks(content));
    written.push({ id, file, sizeBytes: content.sizeBytes });
  }
  await print(io, options, { files: written }, '');
}

function contentOf(store: Store, vmgs: VmgsFile, id: number, io: Io): ByteSource {
  if (store.unlocked !== undefined || !isEncryptedFile(store, id)) return readFile(vmgs.source, store, id);
  const content = readRawFile(vmgs.source, store, id);
  io.err(`warning: file ${id} is encrypted and no key is given: this is ciphertext\n`);
  return content;
}

/** 16 bytes a line: `0x..,` and what of them is ASCII. */
function hexLines(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 16) {
    const line = [...bytes.subarray(at, at + 16)];
    const hex = line.map((byte) => `0x${byte.toString(16).padStart(2, '0')},`).join('');
    const ascii = line
      .map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'))
      .join('');
    text += `${hex.padEnd(80)}  ${ascii}\n`;
  }
  return text;
}

function conflict(flags: string): Error {
  return usageError('OPTION_CONFLICT', `${flags} cannot be given together`);
}
