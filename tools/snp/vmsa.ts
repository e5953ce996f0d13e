import { PAGE_BYTES } from './gctx.ts';

/** Who builds the initial register state: QEMU/KVM, AWS Nitro, Google's Vanadium, libkrun. */
export const VMM_TYPES = ['QEMU', 'ec2', 'gce', 'krun'] as const;
export type VmmType = (typeof VMM_TYPES)[number];

/** The reset vector: where every boot processor starts. */
export const BSP_RESET_EIP = 0xffff_fff0;

/**
 * What MXCSR and the x87 control word hold before the first instruction under QEMU: their reset values where KVM makes the
 * guest by KVM_SEV_INIT2 (Linux 6.10 and vendor trees before it), zero on older hosts.
 */
export const FPU_STATES = ['reset', 'zero'] as const;
export type FpuState = (typeof FPU_STATES)[number];

export interface VmsaParameters {
  readonly vmmType: VmmType;
  /** Address of the first instruction, 32 bits: {@link BSP_RESET_EIP} or the firmware's AP reset address. */
  readonly eip: number;
  /** CPUID Fn0000_0001 EAX: what RDX holds at reset (QEMU only). */
  readonly vcpuSig: number;
  /** SEV_FEATURES, 64 bits; 0 for SEV-ES. */
  readonly guestFeatures: bigint;
  /** `reset` when absent. The other VMMs leave both registers zero anyway. */
  readonly fpu?: FpuState;
  /** RDX at reset, when it is not what the VMM puts there: EC2 left 0 before it took up 0x600. 64 bits. */
  readonly rdx?: bigint;
}

type Segment = readonly [selector: number, attributes: number, limit: number, base: number];

/** Offsets of the segments in the page, as {@link buildVmsa} fills it. */
export const SEGMENTS = {
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

/** Offsets of the 64-bit registers. */
export const REGISTERS = {
  efer: 0xd0,
  cr4: 0x148,
  cr0: 0x158,
  dr7: 0x160,
  dr6: 0x168,
  rflags: 0x170,
  rip: 0x178,
  gPat: 0x268,
  rdx: 0x310,
  sevFeatures: 0x3b0,
  xcr0: 0x3e8,
} as const;

/** 32 and 16 bits. */
export const MXCSR = 0x408;
export const X87_FCW = 0x410;

const G_PAT_RESET = 0x0007_0406_0007_0406n;
const G_PAT_GCE = 0x0000_0000_0007_0106n;

interface Dialect {
  readonly csAttributes: (eip: number) => number;
  readonly ssAttributes: number;
  readonly trAttributes: number;
  readonly gPat: bigint;
  readonly rdx: (vcpuSig: number) => number;
  readonly mxcsr: number;
  readonly x87Fcw: number;
}

/** Where the VMMs differ; the rest is the x86 reset state with EFER.SVME, CR4.MCE and long-mode-ready limits. */
const DIALECTS: Readonly<Record<VmmType, Dialect>> = {
  QEMU: {
    csAttributes: () => 0x9b,
    ssAttributes: 0x93,
    trAttributes: 0x8b,
    gPat: G_PAT_RESET,
    rdx: (vcpuSig) => vcpuSig,
    mxcsr: 0x1f80,
    x87Fcw: 0x37f,
  },
  ec2: {
    csAttributes: (eip) => (eip === BSP_RESET_EIP ? 0x9a : 0x9b),
    ssAttributes: 0x92,
    trAttributes: 0x83,
    gPat: G_PAT_RESET,
    rdx: () => 0x600,
    mxcsr: 0,
    x87Fcw: 0,
  },
  gce: {
    csAttributes: () => 0x9b,
    ssAttributes: 0x93,
    trAttributes: 0x8b,
    gPat: G_PAT_GCE,
    rdx: () => 0x600,
    mxcsr: 0,
    x87Fcw: 0,
  },
  krun: {
    csAttributes: () => 0x9a,
    ssAttributes: 0x92,
    trAttributes: 0x83,
    gPat: G_PAT_RESET,
    rdx: () => 0,
    mxcsr: 0,
    x87Fcw: 0,
  },
};

/**
 * The save area of a vCPU before its first instruction: one 4096-byte page, little-endian. Segments are u16 selector,
 * u16 attributes, u32 limit, u64 base; other registers u64 except MXCSR (u32) and the x87 control word (u16).
 *
 * Source: AMD 24593 volume 2, appendix B, "VMSA layout"; values as KVM and QEMU set them at reset
 * (target/i386/cpu.c, arch/x86/kvm/svm/sev.c) and as virtee/sev-snp-measure 0.0.13 records them for the others.
 */
export function buildVmsa(parameters: VmsaParameters): Uint8Array {
  const { eip, vcpuSig, guestFeatures } = parameters;
  const dialect = DIALECTS[parameters.vmmType];
  const data: Segment = [0, 0x93, 0xffff, 0];
  return writeVmsa(
    {
      es: data,
      cs: [0xf000, dialect.csAttributes(eip), 0xffff, (eip & 0xffff_0000) >>> 0],
      ss: [0, dialect.ssAttributes, 0xffff, 0],
      ds: data,
      fs: data,
      gs: data,
      gdtr: [0, 0, 0xffff, 0],
      ldtr: [0, 0x82, 0xffff, 0],
      idtr: [0, 0, 0xffff, 0],
      tr: [0, dialect.trAttributes, 0xffff, 0],
    },
    {
      efer: 0x1000n,
      cr4: 0x40n,
      cr0: 0x10n,
      dr7: 0x400n,
      dr6: 0xffff_0ff0n,
      rflags: 0x2n,
      rip: BigInt(eip & 0xffff),
      gPat: dialect.gPat,
      rdx: parameters.rdx ?? BigInt(dialect.rdx(vcpuSig)),
      sevFeatures: guestFeatures,
      xcr0: 0x1n,
    },
    parameters.fpu === 'zero' ? 0 : dialect.mxcsr,
    parameters.fpu === 'zero' ? 0 : dialect.x87Fcw,
  );
}

/**
 * The save area of every vCPU when an SVSM starts first, in 32-bit protected mode. SEV_FEATURES is always 1, and the
 * x87 control word 0: what virtee/sev-snp-measure 0.0.13 measures for early COCONUT-SVSM under QEMU.
 *
 * @param eip the SVSM's entry point, 32 bits
 */
export function buildSvsmVmsa(eip: number, vcpuSig: number | bigint): Uint8Array {
  const data: Segment = [0x10, 0xc93, 0xffff_ffff, 0];
  return writeVmsa(
    {
      es: data,
      cs: [8, 0xc9b, 0xffff_ffff, 0],
      ss: data,
      ds: data,
      fs: data,
      gs: [0, 0x93, 0xffff, 0],
      gdtr: [0, 0, 0xffff, 0],
      ldtr: [0, 0x82, 0xffff, 0],
      idtr: [0, 0, 0xffff, 0],
      tr: [0, 0x8b, 0xffff, 0],
    },
    {
      efer: 0x1000n,
      cr4: 0x40n,
      cr0: 0x11n,
      dr7: 0x400n,
      dr6: 0xffff_0ff0n,
      rflags: 0x2n,
      rip: BigInt(eip),
      gPat: G_PAT_RESET,
      rdx: BigInt(vcpuSig),
      sevFeatures: 1n,
      xcr0: 1n,
    },
    0x1f80,
    0,
  );
}

function writeVmsa(
  segments: Readonly<Record<keyof typeof SEGMENTS, Segment>>,
  registers: Readonly<Record<keyof typeof REGISTERS, bigint>>,
  mxcsr: number,
  x87Fcw: number,
): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  const view = new DataView(page.buffer);
  for (const name of Object.keys(SEGMENTS) as (keyof typeof SEGMENTS)[]) {
    const at = SEGMENTS[name];
    const [selector, attributes, limit, base] = segments[name];
    view.setUint16(at, selector, true);
    view.setUint16(at + 2, attributes, true);
    view.setUint32(at + 4, limit, true);
    view.setBigUint64(at + 8, BigInt(base), true);
  }
  for (const name of Object.keys(REGISTERS) as (keyof typeof REGISTERS)[]) {
    view.setBigUint64(REGISTERS[name], registers[name], true);
  }
  view.setUint32(MXCSR, mxcsr, true);
  view.setUint16(X87_FCW, x87Fcw, true);
  return page;
}
