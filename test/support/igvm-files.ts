import {
  PAGE_DATA_TYPES,
  PAGE_FLAGS,
  supportedPlatform,
  type IgvmFile,
  type IgvmHeader,
  type PageData,
} from '../../tools/igvm/model.ts';
import { writeVmsa, type VmsaSegment, type VmsaValues } from '../../tools/snp/vmsa-page.ts';
import { writeNativeContext } from '../../tools/igvm/vp-context.ts';

/** A page full of one byte. */
export const filled = (byte: number, length = 4096): Uint8Array => new Uint8Array(length).fill(byte);

const segment = (selector: number, attributes: number): VmsaSegment => ({
  selector,
  attributes,
  limit: 0xffff_ffff,
  base: 0n,
});
const data = segment(0x10, 0xa93);

/** The start state that COCONUT-SVSM's stage2 gets under QEMU. */
export const STANDARD_VMSA: VmsaValues = {
  segments: { es: data, ss: data, ds: data, fs: data, gs: data, cs: segment(8, 0xc9b) },
  registers: {
    efer: 0x1000n,
    cr4: 0x60n,
    cr3: 0x10000n,
    cr0: 0x31n,
    rflags: 2n,
    rip: 0x808000n,
    rsp: 0x805fd0n,
    pat: 0x0007040600070406n,
    sev_features: 9n,
    xcr0: 1n,
  },
};

export const VMSA_ADDRESS = 0xffff_ffff_f000;

export function page(gpa: number, mask: number, bytes?: Uint8Array, more: Partial<PageData> = {}): PageData {
  return { kind: 'page-data', gpa, mask, flags: 0, dataType: PAGE_DATA_TYPES.NORMAL, data: bytes, ...more };
}

export function vmsa(values: VmsaValues = STANDARD_VMSA, gpa = VMSA_ADDRESS, mask = 1): IgvmHeader {
  return { kind: 'vp-context', gpa, mask, vpIndex: 0, data: writeVmsa(values) };
}

const counted = new Uint8Array(4096).map((_, i) => i & 0xff);

/** Four pages, one of them empty and two of them equal. */
const fourPages = (mask: number): PageData[] => [
  page(0x800000, mask),
  page(0x801000, mask, filled(0x11)),
  page(0x802000, mask, counted),
  page(0x803000, mask, filled(0x11)),
];

/** Structure of microsoft/igvm igvm_c/test_data: VSM, eight pages, one parameter area. */
export const VSM_FIXTURE: IgvmFile = {
  version: 1,
  architecture: 'x64',
  headers: [
    supportedPlatform('VSM_ISOLATION', 1),
    { kind: 'guest-policy', policy: 0x30000n, mask: 1 },
    { kind: 'guest-policy', policy: 0x30000n, mask: 2 },
    ...[0, 1, 2, 4, 10, 11, 12, 14].map((number, i) => page(number * 4096, 1, filled((i % 4) + 1))),
    { kind: 'parameter-area', sizeBytes: 4096, index: 0, data: undefined },
    { kind: 'parameter', parameter: 'VP_COUNT', index: 0, byteOffset: 0 },
    { kind: 'parameter-insert', gpa: 0x14000, mask: 1, index: 0 },
  ],
};

/** The smallest file that launches an SNP guest. */
export const MINIMAL: IgvmFile = {
  version: 1,
  architecture: 'x64',
  headers: [
    supportedPlatform('SEV_SNP', 1, { highestVtl: 2 }),
    { kind: 'guest-policy', policy: 0x30000n, mask: 1 },
    ...fourPages(1),
    vmsa(),
  ],
};

export const MINIMAL_TDX: IgvmFile = {
  version: 1,
  architecture: 'x64',
  headers: [supportedPlatform('TDX', 4, { highestVtl: 2 }), ...fourPages(4)],
};

/** Every kind of page, for SNP and native, with two parameter areas. `cpuid` is COCONUT-SVSM's CPUID page. */
export function allPageKinds(cpuid: Uint8Array): IgvmFile {
  return {
    version: 2,
    architecture: 'x64',
    headers: [
      supportedPlatform('SEV_SNP', 1, { highestVtl: 2 }),
      supportedPlatform('NATIVE', 2, { highestVtl: 2 }),
      { kind: 'guest-policy', policy: 0x30000n, mask: 1 },
      { kind: 'required-memory', gpa: 0x8000000000, mask: 3, sizeBytes: 0x1000000, flags: 0 },
      { kind: 'parameter-area', sizeBytes: 8192, index: 1, data: undefined },
      { kind: 'parameter-area', sizeBytes: 4096, index: 0, data: undefined },
      { kind: 'parameter', parameter: 'VP_COUNT', index: 0, byteOffset: 0 },
      { kind: 'parameter', parameter: 'ENVIRONMENT_INFO', index: 0, byteOffset: 4 },
      { kind: 'parameter', parameter: 'MEMORY_MAP', index: 1, byteOffset: 0 },
      { kind: 'parameter-insert', gpa: 0x80b000, mask: 3, index: 1 },
      { kind: 'parameter-insert', gpa: 0x80a000, mask: 3, index: 0 },
      {
        kind: 'vp-context',
        gpa: 0,
        mask: 2,
        vpIndex: 0,
        data: writeNativeContext({
          rsp: 0x805fd0n,
          rip: 0x808000n,
          rflags: 2n,
          code_selector: 8n,
          code_attributes: 0xc09bn,
          code_limit: 0xffffffffn,
          data_selector: 0x10n,
          data_attributes: 0xa093n,
          data_limit: 0xffffffffn,
          cr0: 0x80000031n,
          cr3: 0x10000n,
          cr4: 0x60n,
          efer: 0x500n,
        }),
      },
      page(0xf000, 2, filled(0xcc)),
      page(0x800000, 3),
      page(0x801000, 3, filled(0)),
      page(0x802000, 1, undefined, { dataType: PAGE_DATA_TYPES.SECRETS }),
      page(0x803000, 1, cpuid, { dataType: PAGE_DATA_TYPES.CPUID_DATA }),
      page(0x804000, 3, filled(0xaa), { flags: PAGE_FLAGS.unmeasured }),
      page(0x805000, 3, new TextEncoder().encode('IGVM test page B')),
      vmsa(),
    ],
  };
}

/** The CPUID page of COCONUT-SVSM's stage2 layout: u32 count, 12 zeros, 48 bytes a leaf. */
export function stage2CpuidPage(): Uint8Array {
  const leaves: (readonly [eax: number, ecx: number, xcr0?: number])[] = [
    [0x8000001f, 0],
    [0, 0],
    [1, 0],
    [2, 0],
    ...[0, 1, 2, 3].map((ecx) => [4, ecx] as const),
    [5, 0],
    [6, 0],
    [7, 0],
    [7, 1],
    [11, 0],
    [11, 1],
    [13, 0, 1],
    [13, 1, 1],
    ...[0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => [0x80000000 + i, 0] as const),
    [0x8000000a, 0],
    [0x80000019, 0],
    [0x8000001a, 0],
    ...[0, 1, 2, 3].map((ecx) => [0x8000001d, ecx] as const),
    [0x8000001e, 0],
  ];
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, leaves.length, true);
  leaves.forEach(([eax, ecx, xcr0 = 0], i) => {
    view.setUint32(16 + 48 * i, eax, true);
    view.setUint32(20 + 48 * i, ecx, true);
    view.setUint32(24 + 48 * i, xcr0, true);
  });
  return bytes;
}
