import { crc32 } from 'node:zlib';
import { bug, formatError, type CvmError } from '../errors.ts';

const SECTOR_BYTES = 512;

/** The setup header inside the first two sectors; its end for protocol 2.12 is where the real-mode code starts. */
export const SETUP_HEADER_OFFSET = 0x1f1;
export const SETUP_CODE_OFFSET = 0x268;

/** Where a bzImage's protected-mode code is loaded and entered. */
export const KERNEL_ADDRESS = 0x10_0000;

/** Field offsets that the kernel also uses in the zero page, where the header stands at the same place. */
export const FIELDS = {
  setupSects: 0x1f1,
  sysSize: 0x1f4,
  vidMode: 0x1fa,
  bootFlag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  kernelVersion: 0x20e,
  loadFlags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatableKernel: 0x234,
  minAlignment: 0x235,
  cmdlineSize: 0x238,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;

const BOOT_FLAG = 0xaa55;
const MAGIC = 0x5372_6448; // "HdrS"
const PROTOCOL = 0x020c;
const LOADED_HIGH = 0x01;
const VID_MODE_NORMAL = 0xffff;
const PARAGRAPH_BYTES = 16;
const PAGE_BYTES = 4096;
const PAGE_SHIFT = 12;

/** As Linux: everything below 2 GiB. */
const INITRD_ADDR_MAX = 0x7fff_ffff;

/** Loaders of the first bzImages read four setup sectors whatever the header said. */
const LEAST_SETUP_SECTORS = 4;

/** The real-mode part has 32 KiB. */
const MOST_SETUP_SECTORS = 63;

export interface BzImageParts {
  /** Real-mode code, entered at {@link SETUP_CODE_OFFSET} of the real-mode segment with cs 0x20 paragraphs above it. */
  readonly setupCode: Uint8Array;
  /** 32-bit code, entered at its first byte at {@link KERNEL_ADDRESS}, as the 32-bit boot protocol has it. */
  readonly kernelCode: Uint8Array;
  /** What file(1) and boot menus show. Latin-1 without NUL. */
  readonly version: string;
  /** Longest command line in bytes, without its NUL. */
  readonly cmdlineSize: number;
  /** Memory needed from {@link KERNEL_ADDRESS} on, in bytes: code, data and stack. */
  readonly initSize: number;
}

/**
 * Puts a Linux/x86 bzImage together, boot protocol 2.12, not relocatable, no EFI stub, no 64-bit entry.
 *
 *   off    size  content
 *   0      1f1   zero (the boot sector of old)
 *   1f1    77    setup header; offsets in {@link FIELDS}; what a loader writes is zero
 *   268          real-mode code, version text and NUL, zero up to a sector, at least five sectors in all
 *   then         protected-mode code, zero up to a paragraph, the last four bytes a CRC
 *
 * The CRC-32 (polynomial 04C11DB7, reflected, start ffffffff, not inverted) of the whole file is 0, as boot
 * protocol 2.08 asks.
 * Source: Linux Documentation/arch/x86/boot.rst.
 */
export function writeBzImage(parts: BzImageParts): Uint8Array {
  const versionOffset = SETUP_CODE_OFFSET + parts.setupCode.length;
  const version = Buffer.from(`${parts.version}\0`, 'latin1');
  const sectors = Math.max(LEAST_SETUP_SECTORS, sectorsOf(versionOffset + version.length) - 1);
  if (sectors > MOST_SETUP_SECTORS) throw bug('the real-mode code does not fit into 32 KiB');
  const kernelBytes = roundUp(parts.kernelCode.length + 4, PARAGRAPH_BYTES);
  if (kernelBytes > parts.initSize) throw bug('the kernel is larger than the memory it asks for');

  const kernelOffset = (sectors + 1) * SECTOR_BYTES;
  const image = new Uint8Array(kernelOffset + kernelBytes);
  const view = new DataView(image.buffer);
  view.setUint8(FIELDS.setupSects, sectors);
  view.setUint32(FIELDS.sysSize, kernelBytes / PARAGRAPH_BYTES, true);
  view.setUint16(FIELDS.vidMode, VID_MODE_NORMAL, true);
  view.setUint16(FIELDS.bootFlag, BOOT_FLAG, true);
  // jmp short; loaders take its distance for the header's length
  view.setUint8(FIELDS.jump, 0xeb);
  view.setUint8(FIELDS.jump + 1, SETUP_CODE_OFFSET - (FIELDS.jump + 2));
  view.setUint32(FIELDS.magic, MAGIC, true);
  view.setUint16(FIELDS.version, PROTOCOL, true);
  view.setUint16(FIELDS.kernelVersion, versionOffset - SECTOR_BYTES, true);
  view.setUint8(FIELDS.loadFlags, LOADED_HIGH);
  view.setUint32(FIELDS.code32Start, KERNEL_ADDRESS, true);
  view.setUint32(FIELDS.initrdAddrMax, INITRD_ADDR_MAX, true);
  view.setUint32(FIELDS.kernelAlignment, PAGE_BYTES, true);
  view.setUint8(FIELDS.minAlignment, PAGE_SHIFT);
  view.setUint32(FIELDS.cmdlineSize, parts.cmdlineSize, true);
  view.setBigUint64(FIELDS.prefAddress, BigInt(KERNEL_ADDRESS), true);
  view.setUint32(FIELDS.initSize, parts.initSize, true);
  image.set(parts.setupCode, SETUP_CODE_OFFSET);
  image.set(version, versionOffset);
  image.set(parts.kernelCode, kernelOffset);
  const checksumOffset = image.length - 4;
  view.setUint32(checksumOffset, ~crc32(image.subarray(0, checksumOffset)) >>> 0, true);
  return image;
}

/** What a bzImage says of itself. Sizes in bytes. */
export interface SetupHeader {
  /** `(major << 8) + minor`. */
  readonly protocol: number;
  readonly setupSectors: number;
  /** Where the protected-mode code starts in the file. */
  readonly kernelOffset: number;
  readonly kernelBytes: number;
  readonly version: string | undefined;
  readonly loadedHigh: boolean;
  readonly code32Start: number;
  readonly initrdAddrMax: number;
  readonly cmdlineSize: number;
}

/**
 * Reads the setup header of a bzImage of boot protocol 2.06 or later; offsets in {@link FIELDS}, little-endian.
 * @param image the file, or at least its real-mode part
 * @throws CvmError format BZIMAGE_TRUNCATED | BZIMAGE_MAGIC | BZIMAGE_PROTOCOL | BZIMAGE_VERSION_TEXT
 */
export function readSetupHeader(image: Uint8Array): SetupHeader {
  if (image.length < SETUP_CODE_OFFSET) throw truncated(image.length, SETUP_CODE_OFFSET);
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  if (view.getUint16(FIELDS.bootFlag, true) !== BOOT_FLAG || view.getUint32(FIELDS.magic, true) !== MAGIC) {
    throw formatError('BZIMAGE_MAGIC', 'the file is not a Linux/x86 kernel: it has no setup header', {
      facts: [
        ['boot flag at 0x1fe', `0x${view.getUint16(FIELDS.bootFlag, true).toString(16)}`],
        ['magic at 0x202', `0x${view.getUint32(FIELDS.magic, true).toString(16)}`],
      ],
    });
  }
  const protocol = view.getUint16(FIELDS.version, true);
  if (protocol < 0x0206) {
    throw formatError('BZIMAGE_PROTOCOL', 'the kernel speaks a boot protocol older than 2.06', {
      facts: [['protocol', `${protocol >> 8}.${protocol & 0xff}`]],
    });
  }
  const setupSectors = view.getUint8(FIELDS.setupSects) || LEAST_SETUP_SECTORS;
  const kernelOffset = (setupSectors + 1) * SECTOR_BYTES;
  if (image.length < kernelOffset) throw truncated(image.length, kernelOffset);
  return {
    protocol,
    setupSectors,
    kernelOffset,
    kernelBytes: view.getUint32(FIELDS.sysSize, true) * PARAGRAPH_BYTES,
    version: readVersion(image.subarray(0, kernelOffset), view.getUint16(FIELDS.kernelVersion, true)),
    loadedHigh: (view.getUint8(FIELDS.loadFlags) & LOADED_HIGH) !== 0,
    code32Start: view.getUint32(FIELDS.code32Start, true),
    initrdAddrMax: view.getUint32(FIELDS.initrdAddrMax, true),
    cmdlineSize: view.getUint32(FIELDS.cmdlineSize, true),
  };
}

function readVersion(setup: Uint8Array, pointer: number): string | undefined {
  if (pointer === 0) return undefined;
  const start = pointer + SECTOR_BYTES;
  const end = setup.indexOf(0, start);
  if (start >= setup.length || end < 0) {
    throw formatError('BZIMAGE_VERSION_TEXT', "the kernel's version text lies outside its real-mode part", {
      facts: [
        ['at', `0x${start.toString(16)}`],
        ['real-mode part', `${setup.length} bytes`],
      ],
    });
  }
  return Buffer.from(setup.subarray(start, end)).toString('latin1');
}

function truncated(length: number, needed: number): CvmError {
  return formatError('BZIMAGE_TRUNCATED', 'the file ends inside the real-mode part of a kernel', {
    facts: [
      ['size', `${length} bytes`],
      ['needed', `${needed} bytes`],
    ],
  });
}

function sectorsOf(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
