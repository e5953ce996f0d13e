import { readU32, writeU16, writeU32 } from '../bytes/little-endian.ts';
import { bug } from '../errors.ts';
import { IGVM_PAGE_BYTES } from './model.ts';

/*
 * Start states that are not a VMSA: the context of NATIVE and SEV guests, and the register list of VSM ones.
 * Source: microsoft/igvm igvm_defs, IgvmNativeVpContextX64 and VbsVpContextRegister.
 */

export const NATIVE_CONTEXT_BYTES = 232;

/** Offset and width in bytes of the native context's fields; what is not named is reserved. */
export const NATIVE_REGISTERS = {
  rax: [0, 8],
  rcx: [8, 8],
  rdx: [16, 8],
  rbx: [24, 8],
  rsp: [32, 8],
  rbp: [40, 8],
  rsi: [48, 8],
  rdi: [56, 8],
  r8: [64, 8],
  r9: [72, 8],
  r10: [80, 8],
  r11: [88, 8],
  r12: [96, 8],
  r13: [104, 8],
  r14: [112, 8],
  r15: [120, 8],
  rip: [128, 8],
  rflags: [136, 8],
  idtr_base: [144, 8],
  idtr_limit: [152, 2],
  gdtr_limit: [158, 2],
  gdtr_base: [160, 8],
  code_selector: [168, 2],
  code_attributes: [170, 2],
  code_base: [172, 4],
  code_limit: [176, 4],
  data_selector: [180, 2],
  data_attributes: [182, 2],
  data_base: [184, 4],
  data_limit: [188, 4],
  gs_base: [192, 8],
  cr0: [200, 8],
  cr3: [208, 8],
  cr4: [216, 8],
  efer: [224, 8],
} as const satisfies Readonly<Record<string, readonly [offset: number, width: number]>>;
export type NativeRegisterName = keyof typeof NATIVE_REGISTERS;

/** A native context, padded to a page; registers that are not named are zero. */
export function writeNativeContext(
  registers: Partial<Readonly<Record<NativeRegisterName, bigint>>>,
): Uint8Array {
  const page = new Uint8Array(IGVM_PAGE_BYTES);
  for (const name of Object.keys(registers) as NativeRegisterName[]) {
    const value = registers[name] ?? 0n;
    const [at, width] = NATIVE_REGISTERS[name];
    if (value < 0n || value >= 1n << BigInt(8 * width))
      throw bug(`${name} does not hold 0x${value.toString(16)}`);
    for (let i = 0; i < width; i++) page[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
  return page;
}

/** The registers of a native context that are not zero. */
export function readNativeContext(page: Uint8Array): Partial<Record<NativeRegisterName, bigint>> {
  const registers: Partial<Record<NativeRegisterName, bigint>> = {};
  for (const name of Object.keys(NATIVE_REGISTERS) as NativeRegisterName[]) {
    const [at, width] = NATIVE_REGISTERS[name];
    let value = 0n;
    for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(page[at + i] as number);
    if (value !== 0n) registers[name] = value;
  }
  return registers;
}

/** Hyper-V's numbers of the x64 registers that a file may set. */
export const VBS_REGISTER_NAMES = {
  Es: 0x60000,
  Cs: 0x60001,
  Ss: 0x60002,
  Ds: 0x60003,
  Fs: 0x60004,
  Gs: 0x60005,
  Ldtr: 0x60006,
  Tr: 0x60007,
  Idtr: 0x70000,
  Gdtr: 0x70001,
  Cr0: 0x40000,
  Cr3: 0x40002,
  Cr4: 0x40003,
  Efer: 0x80001,
  Pat: 0x80004,
  Rsp: 0x20004,
  Rbp: 0x20005,
  Rsi: 0x20006,
  R8: 0x20008,
  R9: 0x20009,
  R10: 0x2000a,
  R11: 0x2000b,
  R12: 0x2000c,
  Rip: 0x20010,
  Rflags: 0x20011,
} as const;
export type VbsRegisterName = keyof typeof VBS_REGISTER_NAMES;

export interface VbsRegister {
  readonly vtl: number;
  /** {@link VBS_REGISTER_NAMES} */
  readonly name: number;
  /** 16 bytes: u64 in the low half; a segment {base u64, limit u32, selector u16, attributes u16}; a table {3 × u16 0, limit u16, base u64}. */
  readonly value: Uint8Array;
}

const LIST_HEADER_BYTES = 4;
const REGISTER_BYTES = 32;
const NAME_OFFSET = 1;
const VALUE_OFFSET = 16;

/** The payload of a VSM context: u32 count, then 32 bytes a register; not padded. */
export function writeVbsRegisters(registers: readonly VbsRegister[]): Uint8Array {
  const bytes = new Uint8Array(LIST_HEADER_BYTES + REGISTER_BYTES * registers.length);
  writeU32(bytes, 0, registers.length);
  registers.forEach(({ vtl, name, value }, i) => {
    const at = LIST_HEADER_BYTES + REGISTER_BYTES * i;
    if (value.length !== 16) throw bug(`a register value of ${value.length} bytes`);
    bytes[at] = vtl;
    writeU32(bytes, at + NAME_OFFSET, name);
    bytes.set(value, at + VALUE_OFFSET);
  });
  return bytes;
}

/** @param data a payload whose length the reader has checked */
export function readVbsRegisters(data: Uint8Array): VbsRegister[] {
  const registers: VbsRegister[] = [];
  for (let at = LIST_HEADER_BYTES; at + REGISTER_BYTES <= data.length; at += REGISTER_BYTES) {
    registers.push({
      vtl: data[at] as number,
      name: readU32(data, at + NAME_OFFSET),
      value: data.slice(at + VALUE_OFFSET, at + REGISTER_BYTES),
    });
  }
  return registers;
}

/** A register of 64 bits. */
export function vbsValue(value: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** A segment register. */
export function vbsSegment(selector: number, attributes: number, limit: number, base: bigint): Uint8Array {
  const bytes = vbsValue(base);
  writeU32(bytes, 8, limit);
  writeU16(bytes, 12, selector);
  writeU16(bytes, 14, attributes);
  return bytes;
}
