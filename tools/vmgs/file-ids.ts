/** The file ids of a store and their names. Source: openvmm, `vm/vmgs/vmgs_format`, `FileId`. */
import { usageError } from '../errors.ts';
import { nearestWord } from '../nearest.ts';
import { FILE_COUNT } from './layout.ts';

export const FILE_TABLE_ID = 0;
export const BIOS_NVRAM_ID = 1;
export const KEY_PROTECTOR_ID = 6;
export const VM_UNIQUE_ID_ID = 7;
export const GUEST_FIRMWARE_ID = 8;
export const PROVISIONING_MARKER_ID = 18;
export const EXTENDED_FILE_TABLE_ID = 63;

const NAMES: Readonly<Record<number, string>> = {
  [FILE_TABLE_ID]: 'FILE_TABLE',
  [BIOS_NVRAM_ID]: 'BIOS_NVRAM',
  2: 'TPM_PPI',
  3: 'TPM_NVRAM',
  4: 'RTC_SKEW',
  5: 'ATTEST',
  [KEY_PROTECTOR_ID]: 'KEY_PROTECTOR',
  [VM_UNIQUE_ID_ID]: 'VM_UNIQUE_ID',
  [GUEST_FIRMWARE_ID]: 'GUEST_FIRMWARE',
  9: 'CUSTOM_UEFI',
  10: 'GUEST_WATCHDOG',
  11: 'HW_KEY_PROTECTOR',
  13: 'GUEST_SECRET_KEY',
  14: 'HIBERNATION_TOKEN',
  15: 'PLATFORM_SEED',
  16: 'PROVENANCE_DOC',
  17: 'TPM_NVRAM_BACKUP',
  [PROVISIONING_MARKER_ID]: 'PROVISIONING_MARKER',
  19: 'TPM_185_NVRAM',
  [EXTENDED_FILE_TABLE_ID]: 'EXTENDED_FILE_TABLE',
};

/** The name of an id, undefined where none is assigned. */
export function fileName(id: number): string | undefined {
  return NAMES[id];
}

/** `18 PROVISIONING_MARKER`, or the number alone. */
export function showFileId(id: number): string {
  const name = fileName(id);
  return name === undefined ? `${id}` : `${id} ${name}`;
}

/** Whether an id is one of the two tables, which no command writes. */
export function isTableId(id: number): boolean {
  return id === FILE_TABLE_ID || id === EXTENDED_FILE_TABLE_ID;
}

/**
 * A file id as it is typed: a decimal number, or a name of any case.
 * @throws CvmError usage OPTION_FILE_ID
 */
export function parseFileId(text: string): number {
  const id = /^[0-9]{1,9}$/.test(text) ? Number(text) : namedId(text);
  if (id !== undefined && id < FILE_COUNT) return id;
  const nearest = nearestWord(text.toUpperCase(), Object.values(NAMES));
  throw usageError('OPTION_FILE_ID', 'this is no file id of a VMGS store', {
    facts: [
      ['found', text],
      ['ids', `0 to ${FILE_COUNT - 1}`],
      ['names', Object.values(NAMES).join(', ')],
    ],
    ...(nearest === undefined || id !== undefined ? {} : { nearest }),
  });
}

function namedId(text: string): number | undefined {
  const found = Object.entries(NAMES).find(([, name]) => name === text.toUpperCase());
  return found === undefined ? undefined : Number(found[0]);
}
