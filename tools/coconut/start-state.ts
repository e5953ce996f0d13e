import type { VpContext } from '../igvm/model.ts';
import {
  VBS_REGISTER_NAMES,
  vbsSegment,
  vbsValue,
  writeNativeContext,
  writeVbsRegisters,
  type VbsRegisterName,
} from '../igvm/vp-context.ts';
import { writeVmsa, type VmsaSegment } from '../snp/vmsa-page.ts';
import { MASKS, type ImageOptions } from './image-input.ts';

/** Where the boot processor starts. */
export interface Start {
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly cr3: bigint;
  /** In 64-bit mode instead of 32-bit protected mode. */
  readonly longMode: boolean;
  /** Virtual top of memory that the VMSA names; 0: none. */
  readonly vtom: number;
  /** The VTL that a VSM guest starts in. */
  readonly vtl: number;
}

/** The start state in the form of each platform that the image has. */
export interface StartState {
  readonly vmsa: readonly VpContext[];
  readonly vbs: readonly VpContext[];
  readonly native: readonly VpContext[];
}

interface Segment {
  readonly selector: number;
  /** As in a descriptor: bits 8 to 11 are those of the limit. */
  readonly attributes: number;
}

const LIMIT = 0xffff_ffff;
const DATA: Segment = { selector: 0x10, attributes: 0xa093 };

/** PG, NE, ET, PE. */
const CR0 = 0x8000_0031n;
const CR0_PG = 0x8000_0000n;
/** MCE, PAE. */
const CR4 = 0x60n;
/** LMA, LME; the second generation also sets NXE. */
const EFER = { stage2: 0x500n, bldr: 0xd00n } as const;
const EFER_LONG_MODE = 0x500n;
const EFER_SVME = 0x1000n;
const RFLAGS = 2n;

const PAT_RESET = 0x0007_0406_0007_0406n;
const VANADIUM = { pat: 0x7_0106n, dr6: 0xffff_0ff0n, dr7: 0x400n } as const;

/** SNP and restricted injection; the second generation also swaps debug registers. */
const SEV_FEATURES = { stage2: 0x09n, bldr: 0x29n } as const;
const SEV_FEATURE_VTOM = 0x02n;

/** What SVSM calls SEV-SNP. */
const PLATFORM_SNP = 1n;

const ALL_DATA = ['Ds', 'Ss', 'Es', 'Fs', 'Gs'] as const;

/** One processor's registers, as the SVSM's first instruction finds them. */
export function startState({ layout, hypervisor, platforms }: ImageOptions, start: Start): StartState {
  const { generation } = layout;
  const code: Segment = { selector: 8, attributes: start.longMode ? 0xa09b : 0xc09b };
  const efer = EFER[generation];
  return {
    vmsa: platforms.includes('snp')
      ? [context(MASKS.snp, vmsaPage(), Number(layout.vmsaGpa[hypervisor]))]
      : [],
    vbs: platforms.includes('vsm') ? [context(MASKS.vsm, vbsRegisters())] : [],
    native: platforms.includes('native') ? [context(MASKS.native, nativeContext())] : [],
  };

  function vmsaPage(): Uint8Array {
    // What starts in 32-bit mode turns paging on itself; stage2 always does.
    const keepsPaging = start.longMode && generation === 'bldr';
    const vtom = BigInt(start.vtom);
    const data = vmsaSegment(DATA);
    return writeVmsa({
      segments: { cs: vmsaSegment(code), ds: data, ss: data, es: data, fs: data, gs: data },
      registers: {
        cr0: keepsPaging ? CR0 : CR0 & ~CR0_PG,
        cr3: start.cr3,
        cr4: CR4,
        efer: (keepsPaging ? efer : efer & ~EFER_LONG_MODE) | EFER_SVME,
        rflags: RFLAGS,
        rip: start.rip,
        rsp: start.rsp,
        ...(generation === 'bldr' ? { rax: PLATFORM_SNP, rsi: vtom >> 32n } : {}),
        pat: PAT_RESET,
        ...(hypervisor === 'vanadium' ? VANADIUM : {}),
        xcr0: 1n,
        sev_features: SEV_FEATURES[generation] | (vtom === 0n ? 0n : SEV_FEATURE_VTOM),
        virtual_tom: vtom,
      },
    });
  }

  function vbsRegisters(): Uint8Array {
    const segment = ({ selector, attributes }: Segment): Uint8Array =>
      vbsSegment(selector, attributes, LIMIT, 0n);
    const values: readonly (readonly [VbsRegisterName, Uint8Array])[] = [
      ['Cs', segment(code)],
      ...ALL_DATA.map((name) => [name, segment(DATA)] as const),
      ['Cr0', vbsValue(CR0)],
      ['Cr3', vbsValue(start.cr3)],
      ['Cr4', vbsValue(CR4)],
      ['Efer', vbsValue(efer)],
      ['Rflags', vbsValue(RFLAGS)],
      ['Rip', vbsValue(start.rip)],
      ['Rsp', vbsValue(start.rsp)],
    ];
    return writeVbsRegisters(
      values.map(([name, value]) => ({ vtl: start.vtl, name: VBS_REGISTER_NAMES[name], value })),
    );
  }

  function nativeContext(): Uint8Array {
    return writeNativeContext({
      rsp: start.rsp,
      rip: start.rip,
      rflags: RFLAGS,
      code_selector: BigInt(code.selector),
      code_attributes: BigInt(code.attributes),
      code_limit: BigInt(LIMIT),
      data_selector: BigInt(DATA.selector),
      data_attributes: BigInt(DATA.attributes),
      data_limit: BigInt(LIMIT),
      cr0: CR0,
      cr3: start.cr3,
      cr4: CR4,
      efer,
    });
  }
}

function context(mask: number, data: Uint8Array, gpa = 0): VpContext {
  return { kind: 'vp-context', gpa, mask, vpIndex: 0, data };
}

/** A VMSA packs the attributes: bits 8 to 11 go, those above move down. */
function vmsaSegment({ selector, attributes }: Segment): VmsaSegment {
  return { selector, attributes: (attributes & 0xff) | ((attributes >> 4) & 0xf00), limit: LIMIT, base: 0n };
}
