import { sourceFromBytes } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
import { isTableId, PROVISIONING_MARKER_ID, showFileId } from '../vmgs/file-ids.ts';
import { DEFAULT_MARKER, encodeMarker, markerFields } from '../vmgs/marker.ts';
import { isEncryptedFile, isEncryptedStore, type Store } from '../vmgs/store.ts';
import { writeFile } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { flagOption } from './options.ts';
import { applyChange, withStore } from './vmgs-file.ts';
import { MARKER_DEFAULTS_TEXT, MARKER_OPTIONS, markerOptions } from './vmgs-marker-options.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  print,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'write the provisioning marker of a new VMGS store',
  description:
    'Writes file 18: who formatted the store, and why. Once, and while the store is provisioned: a store that has a ' +
    `marker, other files or a key is refused without --force. The marker is always plain. ${MARKER_DEFAULTS_TEXT} ` +
    EXIT_CODES_TEXT,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...MARKER_OPTIONS,
    { flags: '--force', description: 'replace a marker, or write one into a store that is in use' },
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const marker = { ...DEFAULT_MARKER, ...markerOptions(io, options) };
    const bytes = encodeMarker(marker);
    await withStore(io, args, options, async (store, vmgs) => {
      if (!flagOption(options, 'force')) requireNew(store);
      if (isEncryptedFile(store, PROVISIONING_MARKER_ID)) throw encryptedMarker();
      const content = sourceFromBytes(bytes);
      const change = writeFile(store, { id: PROVISIONING_MARKER_ID, content, encrypt: false });
      applyChange(vmgs, change);
      const json = { file: vmgs.path, sequence: change.store.header.sequence, marker: markerFields(marker) };
      await print(io, options, json, '');
    });
    return 0;
  },
};

/** @throws CvmError usage MARKER_EXISTS | MARKER_LATE */
function requireNew(store: Store): void {
  if (store.files[PROVISIONING_MARKER_ID] !== undefined) {
    throw usageError('MARKER_EXISTS', 'the store has a provisioning marker, and it is written once', {
      facts: [['file id', showFileId(PROVISIONING_MARKER_ID)]],
      mend: 'see it with cvm vmgs marker show; --force replaces it',
    });
  }
  const others = store.files.flatMap((entry, id) =>
    entry === undefined || isTableId(id) ? [] : [showFileId(id)],
  );
  if (others.length === 0 && !isEncryptedStore(store)) return;
  throw usageError('MARKER_LATE', 'the store is in use: a marker is written when a store is provisioned', {
    facts: [['found', others.length > 0 ? `files ${others.join(', ')}` : 'an encrypted store']],
    mend: 'write the marker before anything else, or make all at once with cvm vmgs create --marker; --force writes it now',
  });
}

/** What openvmm answers to a plain write over an encrypted file. */
function encryptedMarker(): Error {
  return usageError('VMGS_LOCKED', 'the marker that is there is encrypted, and a marker is always plain', {
    facts: [['file id', showFileId(PROVISIONING_MARKER_ID)]],
    mend: 'delete file 18 with the key first: cvm vmgs delete',
  });
}
