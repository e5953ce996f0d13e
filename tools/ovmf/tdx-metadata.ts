import { equalBytes } from '../bytes/compare.ts';
import { joinU32, readU32 } from '../bytes/little-endian.ts';
import type { ByteSource } from '../bytes/source.ts';
import { formatError, type Fact } from '../errors.ts';

/** A range of guest memory that a TDX VMM fills before launch. */
export interface TdxSection {
  /** Where its content lies in the image, bytes; nothing when `rawSizeBytes` is 0. */
  readonly dataOffset: number;
  readonly rawSizeBytes: number;
  readonly gpa: number;
  readonly memorySizeBytes: number;
  readonly type: number;
  /** Bit 0 MR.EXTEND: the content is measured; bit 1 PAGE.AUG: the pages are added when the guest runs. */
  readonly attributes: number;
}

export const TDX_METADATA_GUID = 'e47a6535-984a-4798-865e-4685a7bf8ec2';

const SECTION_NAMES = ['BFV', 'CFV', 'TD_HOB', 'TEMP_MEM', 'PERM_MEM', 'PAYLOAD', 'PAYLOAD_PARAM'];

const DESCRIPTOR_BYTES = 16;
const SECTION_BYTES = 32;
const SIGNATURE = Uint8Array.from([0x54, 0x44, 0x56, 0x46]); // "TDVF"
/** Above this a double loses bits; guest memory ends far below. */
const ADDRESS_LIMIT = 2 ** 52;

export function tdxSectionName(type: number): string {
  return SECTION_NAMES[type] ?? `type 0x${type.toString(16)}`;
}

/**
 * The TDX metadata of an OVMF image: "TDVF", u32 length, u32 version 1, u32 count, then count × { u32 data offset, u32 raw
 * size, u64 memory address, u64 memory size, u32 type, u32 attributes }. Little-endian. Source: Intel TDX Virtual Firmware
 * Design Guide, "TDVF Metadata".
 *
 * @param distance of the descriptor from the end of the file, from the footer table's entry
 * @throws CvmError format OVMF_TDX_METADATA
 */
export function readTdxMetadata(image: ByteSource, distance: number): TdxSection[] {
  const at = image.sizeBytes - distance;
  const wrong = (why: string, ...facts: readonly Fact[]): Error =>
    formatError('OVMF_TDX_METADATA', `the TDX metadata is malformed: ${why}`, {
      facts: [['at', at], ...facts],
    });
  if (at < 0 || distance < DESCRIPTOR_BYTES) throw wrong('it lies outside the image');
  const header = image.read(at, DESCRIPTOR_BYTES);
  if (!equalBytes(header.subarray(0, 4), SIGNATURE)) throw wrong('it does not start with "TDVF"');
  const [length, version, count] = [readU32(header, 4), readU32(header, 8), readU32(header, 12)];
  if (version !== 1) throw wrong('its version is unknown', ['found', version]);
  if (length !== DESCRIPTOR_BYTES + SECTION_BYTES * count || length > distance)
    throw wrong('its length does not fit its sections', ['length', length], ['sections', count]);
  const bytes = image.read(at + DESCRIPTOR_BYTES, SECTION_BYTES * count);
  return Array.from({ length: count }, (_, index): TdxSection => {
    const from = SECTION_BYTES * index;
    const wide = (offset: number): number =>
      joinU32(readU32(bytes, from + offset), readU32(bytes, from + offset + 4));
    const section = {
      dataOffset: readU32(bytes, from),
      rawSizeBytes: readU32(bytes, from + 4),
      gpa: wide(8),
      memorySizeBytes: wide(16),
      type: readU32(bytes, from + 24),
      attributes: readU32(bytes, from + 28),
    };
    const facts: Fact[] = [
      ['section', index],
      ['type', tdxSectionName(section.type)],
    ];
    if (section.gpa + section.memorySizeBytes > ADDRESS_LIMIT)
      throw wrong('a section lies beyond guest memory', ...facts);
    if (section.gpa % 4096 !== 0 || section.memorySizeBytes % 4096 !== 0)
      throw wrong('a section is not whole pages', ...facts);
    if (section.memorySizeBytes < section.rawSizeBytes)
      throw wrong('a section holds more than its memory', ...facts);
    if (section.dataOffset + section.rawSizeBytes > image.sizeBytes)
      throw wrong('the content of a section lies outside the image', ...facts);
    return section;
  });
}
