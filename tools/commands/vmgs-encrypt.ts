import { statSync } from 'node:fs';
import { usageError } from '../errors.ts';
import { createStore, derivedVhdId } from '../vmgs/create.ts';
import { isTableId, parseFileId, PROVISIONING_MARKER_ID, showFileId } from '../vmgs/file-ids.ts';
import type { Secrets } from '../vmgs/secrets.ts';
import { fileEntry, isEncryptedFile, isEncryptedStore, readFile, unlock, type Store } from '../vmgs/store.ts';
import { addFirstKey, requireFileId, writeFile, type Change } from '../vmgs/update.ts';
import { wrapVhd } from '../vmgs/vhd.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { resolvePath, writeSourceWhole } from './files.ts';
import { flagOption, textOption, textsOption } from './options.ts';
import { openStore } from '../vmgs/store.ts';
import { applyChange, readKey, readSeed, secretsOf, withVmgsFile, type VmgsFile } from './vmgs-file.ts';
import {
  ALGORITHM_OPTIONS,
  changeOptions,
  checkAlgorithm,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  KEY_OPTIONS,
  keyPathOf,
  print,
  required,
  vmgsExitCode,
} from './vmgs-options.ts';
import { requireNoMarker } from './vmgs-write.ts';

export const command: Command = {
  summary: 'encrypt a VMGS store',
  description:
    'Gives a plain store its key. Files that are there stay plain, as with vmgstool, until they are written anew: ' +
    '--rewrite does that, also later, in a store that is encrypted already. Their old plaintext stays in free blocks; ' +
    `--rebuild writes a new file without it. The provisioning marker is always plain. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: changeOptions(
    ...KEY_OPTIONS,
    ...ALGORITHM_OPTIONS,
    { flags: '--rewrite <id>', description: 'encrypt this plain file, too', repeatable: true },
    { flags: '--rewrite-all', description: 'encrypt all plain files but the marker' },
    {
      flags: '--rebuild <path>',
      description: 'write a new, encrypted file instead, every file in it encrypted',
    },
  ),
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    checkAlgorithm(options);
    const key = readKey(io, required(keyPathOf(options), '--key-path'));
    if (key === undefined) return 0;
    await withVmgsFile(io, args, options, async (vmgs) => {
      const store = openStore(vmgs.source, vmgs.geometry);
      const output = textOption(options, 'rebuild');
      if (output === undefined) await encryptInPlace(store, vmgs, key, options, io);
      else await rebuild(store, vmgs, key, resolvePath(io, output), options, io);
    });
    return 0;
  },
};

async function encryptInPlace(
  plain: Store,
  vmgs: VmgsFile,
  key: Uint8Array,
  options: OptionValues,
  io: Io,
): Promise<void> {
  const ids = rewriteIds(plain, options);
  const secrets = secretsOf(io, options);
  const changes: Change[] = [];
  const apply = (change: Change): Store => {
    changes.push(change);
    return change.store;
  };
  let store = plain;
  if (!isEncryptedStore(plain)) store = apply(addFirstKey(plain, key, secrets));
  else if (ids === undefined) throw alreadyEncrypted();
  else store = unlock(vmgs.source, plain, key);
  const rewritten: number[] = [];
  for (const id of ids ?? []) {
    if (isEncryptedFile(store, id)) continue;
    // What was there before stays in place until its own turn, so it can be read from the file as it is now.
    const content = readFile(vmgs.source, store, id);
    if (content.sizeBytes === 0) continue;
    store = apply(writeFile(store, { id, content, encrypt: true }, secrets));
    rewritten.push(id);
  }
  applyChange(vmgs, ...changes);
  if (rewritten.length > 0)
    io.err('note: the old plaintext is still in free blocks; --rebuild writes a new file without it\n');
  const left = store.files.flatMap((entry, id) =>
    entry === undefined || isTableId(id) || isEncryptedFile(store, id) || entry.sizeBytes === 0 ? [] : [id],
  );
  const json = { file: vmgs.path, rewritten, plain: left, sequence: store.header.sequence };
  await print(io, options, json, left.length === 0 ? '' : `plain: ${left.map(showFileId).join(', ')}\n`);
}

/** Undefined when no file is to be rewritten. @throws CvmError usage OPTION_FILE_ID | VMGS_NOT_FOUND | VMGS_TABLE_ID | VMGS_MARKER_PLAIN */
function rewriteIds(store: Store, options: OptionValues): number[] | undefined {
  const texts = textsOption(options, 'rewrite');
  if (flagOption(options, 'rewriteAll')) {
    return store.files.flatMap((entry, id) =>
      entry === undefined || isTableId(id) || id === PROVISIONING_MARKER_ID ? [] : [id],
    );
  }
  if (texts.length === 0) return undefined;
  return texts.map((text) => {
    const id = parseFileId(text);
    requireFileId(id);
    requireNoMarker(id);
    fileEntry(store, id);
    return id;
  });
}

/** A new file of the same size and id, in which nothing but the marker is plain. */
async function rebuild(
  store: Store,
  vmgs: VmgsFile,
  key: Uint8Array,
  path: string,
  options: OptionValues,
  io: Io,
): Promise<void> {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) {
    throw usageError('VMGS_EXISTS', 'the file of --rebuild exists already', { facts: [['path', path]] });
  }
  const open = isEncryptedStore(store) ? unlock(vmgs.source, store, key) : store;
  const ids = open.files.flatMap((entry, id) => (entry === undefined || isTableId(id) ? [] : [id]));
  const contents = ids.map((id) => ({ id, content: readFile(vmgs.source, open, id) }));
  const marker = contents.find(({ id }) => id === PROVISIONING_MARKER_ID)?.content;
  const secrets: Secrets = secretsOf(io, options);
  const { image, store: created } = createStore({
    geometry: vmgs.geometry,
    ...(marker === undefined ? {} : { marker: marker.read(0, marker.sizeBytes) }),
    files: contents.filter(({ id }) => id !== PROVISIONING_MARKER_ID),
    key: { datastoreKey: key, secrets },
  });
  const id = vmgs.footer?.idBytes ?? derivedVhdId(image, readSeed(io, options));
  await writeSourceWhole(path, vmgs.footer === undefined ? image : wrapVhd(image, id));
  await print(io, options, { file: path, rewritten: ids, sequence: created.header.sequence }, '');
}

function alreadyEncrypted(): Error {
  return usageError('VMGS_ENCRYPTED', 'the store is encrypted already', {
    mend: 'cvm vmgs update-key exchanges its key; --rewrite encrypts files that are still plain',
  });
}
