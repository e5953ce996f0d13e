import { concatBytes } from '../bytes/compare.ts';
import { guidToBytes } from '../bytes/guid.ts';
import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { rawToBytes } from '../bytes/text.ts';

const PAGE_BYTES = 4096;
const IMAGE_BYTES = 0x20_0000;
const FOUR_GIB = 0x1_0000_0000;

/** The variable store at the front of the image: 64 KiB blocks, as OVMF's 4 MiB build has them. */
const STORE_BYTES = 0x8_4000;
const SPARE_AT = 0x4_1000;
const DESCRIPTOR_DISTANCE = 0x800;
const TABLE_END_DISTANCE = 0x20;

const TYPES = { bfv: 0, cfv: 1, tdHob: 2, tempMem: 3 } as const;
const MR_EXTEND = 1;

/**
 * A stand-in for a TDX firmware: not bootable, it carries what is measured. 2 MiB: the empty variable store of dstack's
 * images, numbered pages, TDVF descriptor with the sections of edk2's OvmfPkg, GUIDed table.
 *
 * @param imageBytes whole pages, more than the variable store's
 * Source: Intel TDX Virtual Firmware Design Guide, section 11; edk2 OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm.
 */
export function buildMiniatureTdxFirmware(imageBytes = IMAGE_BYTES): Uint8Array {
  const image = new Uint8Array(imageBytes).fill(0xff);
  image.set(emptyVariableStore());
  for (let at = STORE_BYTES; at < imageBytes; at += PAGE_BYTES) {
    image.set(rawToBytes(`miniature TDX firmware, page ${at / PAGE_BYTES}\n`), at);
  }
  const code = imageBytes - STORE_BYTES;
  const sections = [
    [STORE_BYTES, code, FOUR_GIB - code, code, TYPES.bfv, MR_EXTEND],
    [0, STORE_BYTES, FOUR_GIB - imageBytes, STORE_BYTES, TYPES.cfv, 0],
    [0, 0, 0x81_0000, 0x1_0000, TYPES.tempMem, 0],
    [0, 0, 0x80_b000, 0x2000, TYPES.tempMem, 0],
    [0, 0, 0x80_9000, 0x2000, TYPES.tdHob, 0],
    [0, 0, 0x80_0000, 0x6000, TYPES.tempMem, 0],
  ] as const;
  const descriptor = concatBytes(
    rawToBytes('TDVF'),
    u32s(16 + 32 * sections.length, 1, sections.length),
    ...sections.map(([offset, raw, address, size, type, attributes]) =>
      u32s(offset, raw, address, 0, size, 0, type, attributes),
    ),
  );
  image.set(guidToBytes('e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae'), imageBytes - DESCRIPTOR_DISTANCE - 16);
  image.set(descriptor, imageBytes - DESCRIPTOR_DISTANCE);
  const entry = concatBytes(
    u32s(DESCRIPTOR_DISTANCE),
    Uint8Array.of(22, 0),
    guidToBytes('e47a6535-984a-4798-865e-4685a7bf8ec2'),
  );
  const table = concatBytes(
    entry,
    Uint8Array.of(entry.length + 18, 0),
    guidToBytes('96b582de-1fb2-45f7-baea-a366c55a082d'),
  );
  image.set(table, imageBytes - TABLE_END_DISTANCE - table.length);
  return image;
}

/**
 * A firmware volume with an authenticated variable store without variables, and a fault-tolerant-write working block; the
 * rest is erased flash. Source: edk2 OvmfPkg/VarStore.fdf.inc.
 */
function emptyVariableStore(): Uint8Array {
  const store = new Uint8Array(STORE_BYTES).fill(0xff);
  store.fill(0, 0, 0x64);
  store.set(guidToBytes('fff12b8d-7696-4c8b-a985-2747075b4f50'), 16);
  writeU32(store, 32, STORE_BYTES);
  store.set(rawToBytes('_FVH'), 40);
  writeU32(store, 44, 0x0004_feff);
  writeU16(store, 48, 0x48);
  writeU16(store, 50, 0xb8af);
  store[55] = 2;
  writeU32(store, 56, STORE_BYTES / PAGE_BYTES);
  writeU32(store, 60, PAGE_BYTES);
  store.set(guidToBytes('aaf32c78-947b-439a-a180-2e144ec37792'), 0x48);
  writeU32(store, 0x58, 0x3_ffb8);
  writeU16(store, 0x5c, 0xfe5a);
  store.set(guidToBytes('9e58292b-7c68-497d-a0ce-6500fd9f1b95'), SPARE_AT);
  store.set(
    Uint8Array.of(0x2c, 0xaf, 0x2c, 0x64, 0xfe, 0xff, 0xff, 0xff, 0xe0, 0x0f, 0, 0, 0, 0, 0, 0),
    SPARE_AT + 16,
  );
  return store;
}

function u32s(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  for (const [i, value] of values.entries()) writeU32(bytes, 4 * i, value);
  return bytes;
}
