import { concatBytes } from '../bytes/compare.ts';
import { digestBytes, digestSource } from '../bytes/digest.ts';
import { guidToBytes } from '../bytes/guid.ts';
import { sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { PAGE_BYTES } from './gctx.ts';

/** What the table holds of each part: a SHA-256 (32 bytes). */
export interface KernelHashes {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly cmdline: Uint8Array;
}

const TABLE_GUID = guidToBytes('9438d606-4f22-4cc9-b479-a793d411fd21');
const CMDLINE_GUID = guidToBytes('97d02dd8-bd20-4c94-aa78-e7714d36ab2a');
const INITRD_GUID = guidToBytes('44baf731-3a2f-4bd7-9af1-41e29169781d');
const KERNEL_GUID = guidToBytes('4de79437-abd2-427f-b835-d5b172d2045b');

const TABLE_BYTES = 168;
const ENTRY_BYTES = 50;

/** The table padded to a multiple of 16, as QEMU lays it out. */
export const KERNEL_HASH_TABLE_BYTES = 176;

/** The file exactly as it is: with SEV on, QEMU rewrites no boot header. */
export function kernelFileHash(file: ByteSource): Uint8Array {
  return digestSource('sha256', file);
}

/** Of an absent initrd: the hash of no bytes. */
export function initrdFileHash(file: ByteSource | undefined): Uint8Array {
  return digestSource('sha256', file ?? sourceFromBytes(new Uint8Array()));
}

/** UTF-8 bytes and one NUL, nothing trimmed; an absent command line counts as an empty one. */
export function cmdlineHash(cmdline: string | undefined): Uint8Array {
  return digestBytes('sha256', concatBytes(utf8Bytes(cmdline ?? ''), Uint8Array.of(0)));
}

/**
 * The hashes table by which firmware checks what QEMU loads for it. 176 bytes; lengths are little-endian u16 that
 * count the whole structure:
 *
 *   off  size     content
 *     0  16 + 2   table GUID 9438d606-4f22-4cc9-b479-a793d411fd21, 168
 *    18  50       command line: GUID, 50, SHA-256
 *    68  50       initrd: GUID, 50, SHA-256
 *   118  50       kernel: GUID, 50, SHA-256
 *   168  8        zero
 *
 * Source: QEMU target/i386/sev.c, SevHashTable; edk2 OvmfPkg/Library/BlobVerifierLibSevHashes.
 */
export function writeKernelHashTable(hashes: KernelHashes): Uint8Array {
  const table = new Uint8Array(KERNEL_HASH_TABLE_BYTES);
  const view = new DataView(table.buffer);
  table.set(TABLE_GUID, 0);
  view.setUint16(16, TABLE_BYTES, true);
  let at = 18;
  for (const [guid, hash] of [
    [CMDLINE_GUID, hashes.cmdline],
    [INITRD_GUID, hashes.initrd],
    [KERNEL_GUID, hashes.kernel],
  ] as const) {
    table.set(guid, at);
    view.setUint16(at + 16, ENTRY_BYTES, true);
    table.set(hash, at + 18);
    at += ENTRY_BYTES;
  }
  return table;
}

/**
 * The page that holds the table under SNP: zeros, the table at the low 12 bits of its address.
 * @param tableGpa the base in the firmware's SEV hash table entry
 * @throws CvmError format OVMF_HASH_TABLE_OFFSET when the table would run past the page
 */
export function kernelHashesPage(hashes: KernelHashes, tableGpa: number): Uint8Array {
  const offset = tableGpa % PAGE_BYTES;
  if (offset + KERNEL_HASH_TABLE_BYTES > PAGE_BYTES) {
    throw formatError('OVMF_HASH_TABLE_OFFSET', 'the kernel-hashes table does not fit the rest of its page', {
      facts: [
        ['hash table base', `0x${tableGpa.toString(16)}`],
        ['room', `${PAGE_BYTES - offset} bytes`],
        ['needed', `${KERNEL_HASH_TABLE_BYTES} bytes`],
      ],
      mend: 'use an unmodified OvmfPkg/AmdSev firmware build',
    });
  }
  const page = new Uint8Array(PAGE_BYTES);
  page.set(writeKernelHashTable(hashes), offset);
  return page;
}
