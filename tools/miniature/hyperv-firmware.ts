import { writeU64 } from '../bytes/little-endian.ts';
import {
  IGVM_PAGE_BYTES,
  PAGE_DATA_TYPES,
  supportedPlatform,
  type IgvmFile,
  type IgvmHeader,
} from '../igvm/model.ts';
import { writeIgvm } from '../igvm/writer.ts';
import { writeVmsa } from '../snp/vmsa-page.ts';

const P = IGVM_PAGE_BYTES;

/** The bit that COCONUT-SVSM's images give SEV-SNP. */
const SNP = 0x1;

const START_GPA = 0x20_0000;
const SECRETS_GPA = 0x20_4000;
const CPUID_GPA = 0x20_6000;
const PARAMETERS_GPA = 0x20_7000;
const MEMORY_MAP_GPA = 0x20_8000;
const VMSA_GPA = 0x30_0000;
const VTOM = 2 ** 46;

/**
 * A stand-in for Hyper-V's guest firmware: an IGVM file for SEV-SNP with a start page at 0, four pages of code that halt, a
 * secrets page with the calling area behind it, a CPUID page, parameters, a memory map and a VMSA with a vTOM.
 */
export function buildMiniatureHypervFirmware(): Uint8Array {
  const area = (index: number): IgvmHeader => ({
    kind: 'parameter-area',
    sizeBytes: P,
    index,
    data: undefined,
  });
  const insert = (gpa: number, index: number): IgvmHeader => ({
    kind: 'parameter-insert',
    gpa,
    mask: SNP,
    index,
  });
  const page = (gpa: number, data: Uint8Array | undefined, dataType: number): IgvmHeader => ({
    kind: 'page-data',
    gpa,
    mask: SNP,
    flags: 0,
    dataType,
    data,
  });
  const start = new Uint8Array(P);
  writeU64(start, 0, BigInt(START_GPA));
  const flat = { selector: 8, attributes: 0xa9b, limit: 0xffff_ffff, base: 0n };
  const data = { ...flat, selector: 16, attributes: 0xc93 };
  const file: IgvmFile = {
    version: 1,
    architecture: 'x64',
    headers: [
      supportedPlatform('SEV_SNP', SNP, { sharedGpaBoundary: VTOM }),
      { kind: 'guest-policy', policy: 0x3_0000n, mask: SNP },
      area(0),
      { kind: 'parameter', parameter: 'VP_COUNT', index: 0, byteOffset: 0 },
      { kind: 'parameter', parameter: 'ENVIRONMENT_INFO', index: 0, byteOffset: 4 },
      insert(PARAMETERS_GPA, 0),
      area(1),
      { kind: 'parameter', parameter: 'MEMORY_MAP', index: 1, byteOffset: 0 },
      insert(MEMORY_MAP_GPA, 1),
      page(0, start, PAGE_DATA_TYPES.NORMAL),
      ...[0, 1, 2, 3].map((i) =>
        // hlt, and in the last byte which page it is.
        page(START_GPA + i * P, new Uint8Array(P).fill(0xf4).with(P - 1, i), PAGE_DATA_TYPES.NORMAL),
      ),
      page(SECRETS_GPA, undefined, PAGE_DATA_TYPES.SECRETS),
      page(CPUID_GPA, new Uint8Array(P).fill(1, 0, 1), PAGE_DATA_TYPES.CPUID_DATA),
      {
        kind: 'vp-context',
        gpa: VMSA_GPA,
        mask: SNP,
        vpIndex: 0,
        data: writeVmsa({
          segments: { cs: flat, ds: data, es: data, ss: data, fs: data, gs: data },
          registers: {
            cr0: 0x8000_0031n,
            cr3: 0x20_9000n,
            cr4: 0x60n,
            efer: 0x1d00n,
            rip: 0x1000n,
            rsp: BigInt(SECRETS_GPA),
            rflags: 2n,
            sev_features: 0x3n,
            virtual_tom: BigInt(VTOM),
          },
        }),
      },
    ],
  };
  return writeIgvm(file);
}
