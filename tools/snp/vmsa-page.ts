import { bug } from '../errors.ts';
import { PAGE_BYTES } from './gctx.ts';

/** A segment or table register as a VMSA holds it: attributes are the packed 12 bits. */
export interface VmsaSegment {
  readonly selector: number;
  readonly attributes: number;
  readonly limit: number;
  readonly base: bigint;
}

/** Offsets of the segments in the page: u16 selector, u16 attributes, u32 limit, u64 base. */
export const VMSA_SEGMENTS = {
  es: 0x00,
  cs: 0x10,
  ss: 0x20,
  ds: 0x30,
  fs: 0x40,
  gs: 0x50,
  gdtr: 0x60,
  ldtr: 0x70,
  idtr: 0x80,
  tr: 0x90,
} as const;
export type VmsaSegmentName = keyof typeof VMSA_SEGMENTS;

/**
 * Offset and width in bytes of every register with a name, in the order of the page.
 * Source: AMD 24593 volume 2, appendix B, "VMSA layout for the SEV-ES guest".
 */
export const VMSA_REGISTERS = {
  vmpl: [0xca, 1],
  cpl: [0xcb, 1],
  efer: [0xd0, 8],
  xss: [0x140, 8],
  cr4: [0x148, 8],
  cr3: [0x150, 8],
  cr0: [0x158, 8],
  dr7: [0x160, 8],
  dr6: [0x168, 8],
  rflags: [0x170, 8],
  rip: [0x178, 8],
  dr0: [0x180, 8],
  dr1: [0x188, 8],
  dr2: [0x190, 8],
  dr3: [0x198, 8],
  rsp: [0x1d8, 8],
  rax: [0x1f8, 8],
  star: [0x200, 8],
  lstar: [0x208, 8],
  cstar: [0x210, 8],
  sfmask: [0x218, 8],
  kernel_gs: [0x220, 8],
  sysenter_cs: [0x228, 8],
  sysenter_esp: [0x230, 8],
  sysenter_eip: [0x238, 8],
  cr2: [0x240, 8],
  pat: [0x268, 8],
  dbgctl: [0x270, 8],
  spec_ctrl: [0x2e0, 4],
  rcx: [0x308, 8],
  rdx: [0x310, 8],
  rbx: [0x318, 8],
  rbp: [0x328, 8],
  rsi: [0x330, 8],
  rdi: [0x338, 8],
  r8: [0x340, 8],
  r9: [0x348, 8],
  r10: [0x350, 8],
  r11: [0x358, 8],
  r12: [0x360, 8],
  r13: [0x368, 8],
  r14: [0x370, 8],
  r15: [0x378, 8],
  sev_features: [0x3b0, 8],
  vintr: [0x3b8, 8],
  virtual_tom: [0x3c8, 8],
  tlb_id: [0x3d0, 8],
  pcpu_id: [0x3d8, 8],
  event_inject: [0x3e0, 8],
  xcr0: [0x3e8, 8],
  mxcsr: [0x408, 4],
  x87_fcw: [0x410, 2],
} as const satisfies Readonly<Record<string, readonly [offset: number, width: number]>>;
export type VmsaRegisterName = keyof typeof VMSA_REGISTERS;

export interface VmsaValues {
  readonly segments: Partial<Readonly<Record<VmsaSegmentName, VmsaSegment>>>;
  readonly registers: Partial<Readonly<Record<VmsaRegisterName, bigint>>>;
}

/** A VMSA page of 4096 bytes; what is not named is zero. */
export function writeVmsa(values: VmsaValues): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  const view = new DataView(page.buffer);
  for (const name of Object.keys(values.segments) as VmsaSegmentName[]) {
    const segment = values.segments[name];
    if (segment === undefined) continue;
    const at = VMSA_SEGMENTS[name];
    view.setUint16(at, segment.selector, true);
    view.setUint16(at + 2, segment.attributes, true);
    view.setUint32(at + 4, segment.limit, true);
    view.setBigUint64(at + 8, segment.base, true);
  }
  for (const name of Object.keys(values.registers) as VmsaRegisterName[]) {
    const value = values.registers[name];
    if (value === undefined) continue;
    const [at, width] = VMSA_REGISTERS[name];
    if (value < 0n || value >= 1n << BigInt(8 * width))
      throw bug(`${name} does not hold 0x${value.toString(16)}`);
    // Whole numbers at once: a search writes many of these pages.
    if (width === 8) view.setBigUint64(at, value, true);
    else for (let i = 0; i < width; i++) page[at + i] = Number(value) >>> (8 * i);
  }
  return page;
}

/** What a VMSA page says; `rest` tells whether bytes without a name here are set. */
export function readVmsa(page: Uint8Array): VmsaValues & { readonly hasMore: boolean } {
  if (page.length !== PAGE_BYTES) throw bug(`a VMSA of ${page.length} bytes`);
  const segments: Partial<Record<VmsaSegmentName, VmsaSegment>> = {};
  for (const name of Object.keys(VMSA_SEGMENTS) as VmsaSegmentName[]) {
    const segment = vmsaSegment(page, name);
    const { selector, attributes, limit, base } = segment;
    if ((selector | attributes | limit) !== 0 || base !== 0n) segments[name] = segment;
  }
  const registers: Partial<Record<VmsaRegisterName, bigint>> = {};
  for (const name of Object.keys(VMSA_REGISTERS) as VmsaRegisterName[]) {
    const value = vmsaRegister(page, name);
    if (value !== 0n) registers[name] = value;
  }
  const named = writeVmsa({ segments, registers });
  return { segments, registers, hasMore: named.some((byte, i) => byte !== page[i]) };
}

/** One register of a VMSA page. */
export function vmsaRegister(page: Uint8Array, name: VmsaRegisterName): bigint {
  const [at, width] = VMSA_REGISTERS[name];
  let value = 0n;
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(page[at + i] as number);
  return value;
}

/** One segment of a VMSA page. */
export function vmsaSegment(page: Uint8Array, name: VmsaSegmentName): VmsaSegment {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  const at = VMSA_SEGMENTS[name];
  return {
    selector: view.getUint16(at, true),
    attributes: view.getUint16(at + 2, true),
    limit: view.getUint32(at + 4, true),
    base: view.getBigUint64(at + 8, true),
  };
}
