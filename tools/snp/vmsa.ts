import { writeVmsa, type VmsaSegment } from './vmsa-page.ts';

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
 * The save area of a vCPU before its first instruction: one 4096-byte page. Numbers that are too wide wrap.
 *
 * Source: values as KVM and QEMU set them at reset (target/i386/cpu.c, arch/x86/kvm/svm/sev.c) and as
 * virtee/sev-snp-measure 0.0.13 records them for the others.
 */
export function buildVmsa(parameters: VmsaParameters): Uint8Array {
  const { eip, vcpuSig, guestFeatures } = parameters;
  const dialect = DIALECTS[parameters.vmmType];
  const data = segment(0, 0x93, 0xffff);
  return writeVmsa({
    segments: {
      es: data,
      cs: segment(0xf000, dialect.csAttributes(eip), 0xffff, (eip & 0xffff_0000) >>> 0),
      ss: segment(0, dialect.ssAttributes, 0xffff),
      ds: data,
      fs: data,
      gs: data,
      gdtr: segment(0, 0, 0xffff),
      ldtr: segment(0, 0x82, 0xffff),
      idtr: segment(0, 0, 0xffff),
      tr: segment(0, dialect.trAttributes, 0xffff),
    },
    registers: {
      efer: 0x1000n,
      cr4: 0x40n,
      cr0: 0x10n,
      dr7: 0x400n,
      dr6: 0xffff_0ff0n,
      rflags: 0x2n,
      rip: BigInt(eip & 0xffff),
      pat: dialect.gPat,
      rdx: wrapped(parameters.rdx ?? dialect.rdx(vcpuSig)),
      sev_features: wrapped(guestFeatures),
      xcr0: 0x1n,
      ...(parameters.fpu === 'zero' ? {} : { mxcsr: BigInt(dialect.mxcsr), x87_fcw: BigInt(dialect.x87Fcw) }),
    },
  });
}

/**
 * The save area of every vCPU when an SVSM starts first, in 32-bit protected mode. SEV_FEATURES is always 1, and the
 * x87 control word 0: what virtee/sev-snp-measure 0.0.13 measures for early COCONUT-SVSM under QEMU.
 *
 * @param eip the SVSM's entry point, 32 bits
 */
export function buildSvsmVmsa(eip: number, vcpuSig: number | bigint): Uint8Array {
  const data = segment(0x10, 0xc93, 0xffff_ffff);
  return writeVmsa({
    segments: {
      es: data,
      cs: segment(8, 0xc9b, 0xffff_ffff),
      ss: data,
      ds: data,
      fs: data,
      gs: segment(0, 0x93, 0xffff),
      gdtr: segment(0, 0, 0xffff),
      ldtr: segment(0, 0x82, 0xffff),
      idtr: segment(0, 0, 0xffff),
      tr: segment(0, 0x8b, 0xffff),
    },
    registers: {
      efer: 0x1000n,
      cr4: 0x40n,
      cr0: 0x11n,
      dr7: 0x400n,
      dr6: 0xffff_0ff0n,
      rflags: 0x2n,
      rip: wrapped(eip),
      pat: G_PAT_RESET,
      rdx: wrapped(vcpuSig),
      sev_features: 1n,
      xcr0: 1n,
      mxcsr: 0x1f80n,
    },
  });
}

function segment(selector: number, attributes: number, limit: number, base = 0): VmsaSegment {
  return { selector, attributes, limit, base: BigInt(base) };
}

/** As a 64-bit register takes it. */
function wrapped(value: number | bigint): bigint {
  return BigInt.asUintN(64, BigInt(value));
}
