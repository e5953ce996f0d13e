/**
 * UEFI variables as file 1 holds them: entries one after the other, without padding. Source: openvmm,
 * `vm/devices/firmware/hcl_compat_uefi_nvram_storage`.
 *
 * | offset | size | field                                      |
 * | ------ | ---- | ------------------------------------------ |
 * | 0      | 4    | type, 0: a variable                        |
 * | 4      | 4    | length of the entry, this header included  |
 * | 8      | 4    | attributes                                 |
 * | 12     | 16   | time stamp, EFI_TIME                       |
 * | 28     | 16   | vendor GUID                                |
 * | 44     | 2    | bytes of the name, at most 2 KiB           |
 * | 46     | 2    | bytes of the data, at most 32 KiB          |
 * | 48     |      | name, UCS-2 with a NUL at its end; data    |
 */
import { concatBytes } from '../bytes/compare.ts';
import { GUID_BYTES, guidFromBytes, guidToBytes } from '../bytes/guid.ts';
import { readU16, readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import { formatError, type CvmError } from '../errors.ts';

const ENTRY_BYTES = 48;
const NAME_LIMIT_BYTES = 2048;
const DATA_LIMIT_BYTES = 32_768;

/** openvmm reads no more. */
export const NVRAM_LIMIT_BYTES = 131_072;

export interface NvramVariable {
  /** GUID as text, lower case. */
  readonly vendor: string;
  readonly name: string;
  readonly attributes: number;
  /** 16 bytes of EFI_TIME. */
  readonly time: Uint8Array;
  readonly data: Uint8Array;
}

/** @throws CvmError format NVRAM_SIZE | NVRAM_ENTRY */
export function parseNvram(bytes: Uint8Array): NvramVariable[] {
  if (bytes.length > NVRAM_LIMIT_BYTES) {
    throw formatError('NVRAM_SIZE', 'there is more UEFI NVRAM than openvmm reads', {
      facts: [
        ['found', `${bytes.length} bytes`],
        ['limit', `${NVRAM_LIMIT_BYTES} bytes`],
      ],
    });
  }
  const variables: NvramVariable[] = [];
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < ENTRY_BYTES) throw entryError(at, `${bytes.length - at} bytes are no entry`);
    const length = readU32(bytes, at + 4);
    if (readU32(bytes, at) !== 0) throw entryError(at, `type ${readU32(bytes, at)} is unknown`);
    if (length < ENTRY_BYTES || length > bytes.length - at)
      throw entryError(at, `its length of ${length} bytes is impossible`);
    variables.push(parseEntry(bytes.slice(at, at + length), at));
    at += length;
  }
  return variables;
}

function parseEntry(entry: Uint8Array, at: number): NvramVariable {
  const nameBytes = readU16(entry, 44);
  const dataBytes = readU16(entry, 46);
  if (ENTRY_BYTES + nameBytes + dataBytes !== entry.length)
    throw entryError(at, `name of ${nameBytes} and data of ${dataBytes} bytes in ${entry.length}`);
  if (nameBytes > NAME_LIMIT_BYTES || dataBytes > DATA_LIMIT_BYTES)
    throw entryError(at, 'name or data is too long');
  const name = parseUcs2(entry.subarray(ENTRY_BYTES, ENTRY_BYTES + nameBytes));
  if (name?.bytes !== nameBytes) throw entryError(at, 'its name does not end in one NUL');
  return {
    vendor: guidFromBytes(entry, 28),
    name: name.text,
    attributes: readU32(entry, 8),
    time: entry.slice(12, 28),
    data: entry.slice(ENTRY_BYTES + nameBytes),
  };
}

/** A text of 16-bit units up to a NUL and the bytes it takes, that NUL included; undefined without a NUL. */
export function parseUcs2(bytes: Uint8Array): { readonly text: string; readonly bytes: number } | undefined {
  let text = '';
  for (let at = 0; at + 2 <= bytes.length; at += 2) {
    const unit = readU16(bytes, at);
    if (unit === 0) return { text, bytes: at + 2 };
    text += String.fromCharCode(unit);
  }
  return undefined;
}

function entryError(at: number, what: string): CvmError {
  return formatError('NVRAM_ENTRY', 'the UEFI NVRAM is malformed', {
    facts: [
      ['at', `byte ${at} of file 1`],
      ['seen', what],
    ],
    mend: 'delete file 1 to start with empty variables: cvm vmgs delete -i BIOS_NVRAM',
  });
}

/** The bytes of file 1; what {@link parseNvram} read comes out as it was. */
export function encodeNvram(variables: readonly NvramVariable[]): Uint8Array {
  return concatBytes(...variables.map(encodeEntry));
}

function encodeEntry({ vendor, name, attributes, time, data }: NvramVariable): Uint8Array {
  const nameBytes = 2 * (name.length + 1);
  const bytes = new Uint8Array(ENTRY_BYTES + nameBytes + data.length);
  writeU32(bytes, 4, bytes.length);
  writeU32(bytes, 8, attributes);
  bytes.set(time, 12);
  bytes.set(guidToBytes(vendor), 28);
  writeU16(bytes, 28 + GUID_BYTES, nameBytes);
  writeU16(bytes, 46, data.length);
  for (let i = 0; i < name.length; i++) writeU16(bytes, ENTRY_BYTES + 2 * i, name.charCodeAt(i));
  bytes.set(data, ENTRY_BYTES + nameBytes);
  return bytes;
}
