import { showText } from '../bytes/text.ts';
import type { CvmError } from '../errors.ts';

/**
 * First lines of errors as sev-snp-measure 0.0.13 prints them, for scripts that look for them. Where it stops with a
 * traceback, the house's own words stand.
 */
const PEER_TEXTS: Readonly<Record<string, string>> = {
  OVMF_NO_KERNEL_HASHES: "Kernel specified but OVMF metadata doesn't include SNP_KERNEL_HASHES section",
  OVMF_NO_RESET_BLOCK: "Can't find SEV_ES_RESET_BLOCK_GUID entry in OVMF table",
  OVMF_NO_SVSM_INFO: "Can't find SVSM_INFO_GUID entry in SVSM table",
  OVMF_ENTRY_SIZE: 'Invalid entry size',
  OVMF_METADATA_SIGNATURE: 'Wrong SEV metadata signature',
  OVMF_METADATA_VERSION: 'Wrong SEV metadata version',
};

const NO_HASH_TABLE_SNP = "Can't find SEV_HASH_TABLE_RV_GUID entry in OVMF table";
const NO_HASH_TABLE_SEV = "Kernel specified but OVMF doesn't support kernel/initrd/cmdline measurement";

/** The peer's exit code: 2 for a call that is wrong, 1 for files that cannot be measured. */
export function peerExitCode(error: CvmError): number {
  return error.kind === 'usage' && !error.code.startsWith('FILE_') ? 2 : 1;
}

/**
 * An error as the peer begins it, with the house's facts below.
 * @param program what a wrong call names as the program
 */
export function showPeerError(error: CvmError, mode: string | undefined, program: string): string {
  const peerText =
    error.code === 'OVMF_NO_HASH_TABLE'
      ? mode === 'snp'
        ? NO_HASH_TABLE_SNP
        : NO_HASH_TABLE_SEV
      : PEER_TEXTS[error.code];
  const lead = peerExitCode(error) === 2 ? `${program}: error: ` : 'Error: ';
  const rows: (readonly [string, string])[] = [
    ['code', error.code],
    ...(peerText === undefined ? [] : [['meaning', error.message] as const]),
    ...error.facts.map(([name, value]) => [name, String(value)] as const),
    ...(error.nearest === undefined ? [] : [['nearest', error.nearest] as const]),
    ...(error.mend === undefined ? [] : [['mend', error.mend] as const]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `  ${showText(name).padEnd(width)}  ${showText(value)}\n`);
  return `${lead}${showText(peerText ?? error.message)}\n${lines.join('')}`;
}
