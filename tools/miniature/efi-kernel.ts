import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { rawToBytes } from '../bytes/text.ts';

const IMAGE_BYTES = 0x4000;
const HEADERS_BYTES = 0x400;
const PE_AT = 0x40;
const OPTIONAL_AT = PE_AT + 24;
const OPTIONAL_BYTES = 0xf0;
const SECTIONS_AT = OPTIONAL_AT + OPTIONAL_BYTES;
const TEXT_AT = 0x800;

/**
 * A stand-in for a kernel with an EFI stub: not bootable, it has the headers that QEMU rewrites and that Authenticode hashes.
 * PE32+ with two sections below the setup header of boot protocol 2.15.
 *
 * Source: Microsoft PE format; Linux Documentation/arch/x86/boot.rst.
 */
export function buildMiniatureEfiKernel(imageBytes = IMAGE_BYTES): Uint8Array {
  const image = new Uint8Array(imageBytes);
  image.set(rawToBytes('MZ'), 0);
  writeU32(image, 0x3c, PE_AT);
  image.set(rawToBytes('PE'), PE_AT);
  writeU16(image, PE_AT + 4, 0x8664);
  writeU16(image, PE_AT + 6, 2);
  writeU16(image, PE_AT + 20, OPTIONAL_BYTES);
  writeU16(image, PE_AT + 22, 0x206);
  writeU16(image, OPTIONAL_AT, 0x20b);
  writeU32(image, OPTIONAL_AT + 60, HEADERS_BYTES);
  writeU32(image, OPTIONAL_AT + 108, 16);
  section(image, 0, '.setup', HEADERS_BYTES, TEXT_AT - HEADERS_BYTES);
  section(image, 1, '.text', TEXT_AT, imageBytes - TEXT_AT);
  image[0x1f1] = 3;
  writeU16(image, 0x1fe, 0xaa55);
  image.set(rawToBytes('HdrS'), 0x202);
  writeU16(image, 0x206, 0x20f);
  image[0x211] = 1;
  writeU32(image, 0x22c, 0x7fff_ffff);
  writeU16(image, 0x236, 0x7f);
  writeU32(image, 0x238, 0x7ff);
  for (let at = TEXT_AT; at < imageBytes; at += 0x100)
    image.set(rawToBytes(`miniature EFI kernel at ${at}\n`), at);
  return image;
}

function section(image: Uint8Array, index: number, name: string, offset: number, length: number): void {
  const at = SECTIONS_AT + 40 * index;
  image.set(rawToBytes(name), at);
  for (const [i, value] of [length, offset, length, offset].entries()) writeU32(image, at + 8 + 4 * i, value);
}
