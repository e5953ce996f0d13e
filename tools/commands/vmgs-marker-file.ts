/** Reading the marker of a store. */
import { trustError } from '../errors.ts';
import { PROVISIONING_MARKER_ID } from '../vmgs/file-ids.ts';
import { MARKER_LIMIT_BYTES, parseMarker, type ParsedMarker } from '../vmgs/marker.ts';
import { fileEntry, isEncryptedFile, readFile, type Store } from '../vmgs/store.ts';
import type { VmgsFile } from './vmgs-file.ts';

/** @throws CvmError usage VMGS_NOT_FOUND; trust VMGS_MARKER_ENCRYPTED; format MARKER_… */
export function readMarker(store: Store, vmgs: VmgsFile): ParsedMarker {
  const { sizeBytes } = fileEntry(store, PROVISIONING_MARKER_ID);
  if (isEncryptedFile(store, PROVISIONING_MARKER_ID)) {
    throw trustError('VMGS_MARKER_ENCRYPTED', 'file 18 is encrypted, and a provisioning marker never is', {
      mend: 'read it with cvm vmgs dump -i 18 -k KEY',
    });
  }
  const content = readFile(vmgs.source, store, PROVISIONING_MARKER_ID);
  return parseMarker(content.read(0, Math.min(sizeBytes, MARKER_LIMIT_BYTES + 1)));
}
