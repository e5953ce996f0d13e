import { bytesToHex } from '../bytes/hex.ts';
import { digestBytes } from '../bytes/digest.ts';
import { readVmsa, type VmsaSegment } from '../snp/vmsa-page.ts';
import { typeOfHeader } from './header-types.ts';
import {
  headersOfKind,
  IGVM_PAGE_BYTES,
  pageDataTypeName,
  PAGE_FLAGS,
  platformTypeName,
  PLATFORM_TYPES,
  VTL2_PROTECTABLE,
  type IgvmFile,
  type IgvmHeader,
  type SnpIdBlock,
  type VpContext,
} from './model.ts';
import { readNativeContext, readVbsRegisters, VBS_REGISTER_NAMES } from './vp-context.ts';

/** A header as names and texts: what dump prints and diff compares. */
export interface Description {
  /** The type's name. */
  readonly name: string;
  /** What it is about, by address and platform rather than by number: equal in two files for the same thing. */
  readonly subject: string;
  /** All that it says, payloads as digests. */
  readonly fields: Readonly<Record<string, string>>;
  /** What is loaded, where that is a page. */
  readonly page?: { readonly gpa: number; readonly data: Uint8Array | undefined };
}

/** Bits of an SNP policy that have names. Source: AMD 56860, "Guest Policy". */
const POLICY_BITS: Readonly<Record<number, string>> = {
  16: 'SMT',
  17: 'must be one',
  18: 'migration agent',
  19: 'debug',
  20: 'single socket',
};

/** Bits of sev_features that have names, from bit 0. */
const SEV_FEATURE_BITS: Readonly<Record<number, string>> = {
  0: 'snp',
  1: 'vtom',
  2: 'reflect_vc',
  3: 'restrict_injection',
  4: 'alternate_injection',
  5: 'debug_swap',
  6: 'prevent_host_ibs',
  7: 'btb_isolation',
  8: 'vmpl_sss',
  9: 'secure_tsc',
  14: 'vmsa_reg_prot',
  15: 'smt_prot',
};

/** Describes headers of one file. */
export class Describer {
  readonly #platforms: readonly (readonly [mask: number, type: number])[];
  readonly #insertedAt: ReadonlyMap<number, number>;

  constructor(file: IgvmFile) {
    this.#platforms = headersOfKind(file, 'supported-platform').map(
      ({ mask, platformType }) => [mask, platformType] as const,
    );
    this.#insertedAt = new Map(headersOfKind(file, 'parameter-insert').map(({ index, gpa }) => [index, gpa]));
  }

  /** `SEV_SNP+TDX`, in the order of the bits; bits without a platform as numbers. */
  platforms(mask: number): string {
    const names = this.#platforms
      .filter(([bit]) => (mask & bit) !== 0)
      .map(([, type]) => platformTypeName(type));
    const unknown = this.#platforms.reduce((rest, [bit]) => rest & ~bit, mask) >>> 0;
    return [...names.sort(), ...(unknown === 0 ? [] : [hex(unknown)])].join('+') || 'no platform';
  }

  describe(header: IgvmHeader): Description {
    const { name } = typeOfHeader(header);
    const { subject, fields } = this.#details(header);
    const page = header.kind === 'page-data' ? { page: { gpa: header.gpa, data: header.data } } : {};
    return { name, subject: subject === '' ? name : `${name} ${subject}`, fields, ...page };
  }

  #details(header: IgvmHeader): { subject: string; fields: Record<string, string> } {
    const forPlatforms = 'mask' in header ? this.platforms(header.mask) : '';
    const mask = 'mask' in header ? { mask: hex(header.mask) } : {};
    switch (header.kind) {
      case 'supported-platform':
        return {
          subject: platformTypeName(header.platformType),
          fields: {
            platform: platformTypeName(header.platformType),
            ...mask,
            highestVtl: String(header.highestVtl),
            version: String(header.platformVersion),
            sharedGpaBoundary: hex(header.sharedGpaBoundary),
          },
        };
      case 'guest-policy':
        return {
          subject: forPlatforms,
          fields: { ...mask, policy: hex(header.policy), bits: bitNames(header.policy, POLICY_BITS) },
        };
      case 'parameter-area': {
        const place = `area ${this.#place(header.index)}`;
        const fields = {
          index: String(header.index),
          size: hex(header.sizeBytes),
          data: payload(header.data),
        };
        return { subject: place, fields };
      }
      case 'page-data':
        return {
          subject: `${hex(header.gpa)} ${forPlatforms}`,
          fields: {
            gpa: hex(header.gpa),
            ...mask,
            type: pageDataTypeName(header.dataType),
            flags: pageFlags(header.flags),
            data: payload(header.data),
          },
        };
      case 'parameter':
        return {
          subject: '',
          fields: {
            area: this.#place(header.index),
            index: String(header.index),
            byteOffset: hex(header.byteOffset),
          },
        };
      case 'parameter-insert':
        return {
          subject: `${hex(header.gpa)} ${forPlatforms}`,
          fields: { gpa: hex(header.gpa), ...mask, index: String(header.index) },
        };
      case 'vp-context':
        return {
          subject: `${forPlatforms} processor ${header.vpIndex}`,
          fields: { gpa: hex(header.gpa), ...mask, vp: String(header.vpIndex), ...this.#registers(header) },
        };
      case 'required-memory':
        return {
          subject: `${hex(header.gpa)} ${forPlatforms}`,
          fields: {
            gpa: hex(header.gpa),
            ...mask,
            size: hex(header.sizeBytes),
            flags: header.flags === VTL2_PROTECTABLE ? 'VTL2 protectable' : hex(header.flags),
          },
        };
      case 'snp-id-block':
        return { subject: forPlatforms, fields: { ...mask, ...idBlockFields(header) } };
      case 'unknown':
        return {
          subject: '',
          fields: { length: String(header.content.length), content: bytesToHex(header.content) },
        };
      case 'corim-document':
      case 'corim-signature':
        return { subject: forPlatforms, fields: { ...mask, data: payload(header.data) } };
      case 'relocatable-region':
      case 'page-table-relocation':
      case 'cca-policy':
      case 'vbs-measurement':
      case 'error-range': {
        const fields = Object.entries(header).filter(([key]) => key !== 'kind') as [string, Plain][];
        const gpa = 'gpa' in header ? `${hex(header.gpa)} ` : '';
        return {
          subject: `${gpa}${forPlatforms}`,
          fields: Object.fromEntries(fields.map(([key, value]) => [key, plain(value)])),
        };
      }
    }
  }

  /** Where an area ends up. */
  #place(index: number): string {
    const gpa = this.#insertedAt.get(index);
    return gpa === undefined ? `${index}, never inserted` : `at ${hex(gpa)}`;
  }

  #registers(context: VpContext): Record<string, string> {
    const type = this.#platforms.find(([mask]) => mask === context.mask)?.[1];
    switch (type) {
      case PLATFORM_TYPES.SEV_SNP:
      case PLATFORM_TYPES.SEV_ES:
        return vmsaFields(context.data);
      case PLATFORM_TYPES.NATIVE:
      case PLATFORM_TYPES.SEV:
        return Object.fromEntries(
          Object.entries(readNativeContext(context.data)).map(([name, value]) => [name, hex(value)]),
        );
      case PLATFORM_TYPES.VSM_ISOLATION:
        return Object.fromEntries(
          readVbsRegisters(context.data).map(({ vtl, name, value }, i) => [
            `${i} ${vbsRegisterName(name)}`,
            `VTL ${vtl} ${bytesToHex(value)}`,
          ]),
        );
      default:
        return { data: payload(context.data) };
    }
  }
}

function vmsaFields(page: Uint8Array): Record<string, string> {
  const { segments, registers, hasMore } = readVmsa(page);
  const fields: Record<string, string> = {};
  for (const [name, segment] of Object.entries(segments)) fields[name] = segmentText(segment);
  for (const [name, value] of Object.entries(registers)) fields[name] = hex(value);
  if (registers.sev_features !== undefined)
    fields['sev_features'] =
      `${hex(registers.sev_features)} (${bitNames(registers.sev_features, SEV_FEATURE_BITS)})`;
  // Bytes without a name: the digest makes them comparable.
  if (hasMore) fields['page'] = payload(page);
  return fields;
}

function segmentText({ selector, attributes, limit, base }: VmsaSegment): string {
  return `selector ${hex(selector)} attributes ${hex(attributes)} limit ${hex(limit)} base ${hex(base)}`;
}

function idBlockFields(block: SnpIdBlock): Record<string, string> {
  const { idKeySignature, idPublicKey, authorKeySignature, authorPublicKey } = block;
  return {
    ld: bytesToHex(block.ld),
    familyId: bytesToHex(block.familyId),
    imageId: bytesToHex(block.imageId),
    version: String(block.version),
    guestSvn: String(block.guestSvn),
    authorKeyEnabled: String(block.authorKeyEnabled),
    idKeyAlgorithm: String(block.idKeyAlgorithm),
    authorKeyAlgorithm: String(block.authorKeyAlgorithm),
    idKeySignatureR: bytesToHex(idKeySignature.r),
    idKeySignatureS: bytesToHex(idKeySignature.s),
    idPublicKey: `curve ${idPublicKey.curve} ${bytesToHex(idPublicKey.qx)} ${bytesToHex(idPublicKey.qy)}`,
    authorKeySignatureR: bytesToHex(authorKeySignature.r),
    authorKeySignatureS: bytesToHex(authorKeySignature.s),
    authorPublicKey: `curve ${authorPublicKey.curve} ${bytesToHex(authorPublicKey.qx)} ${bytesToHex(authorPublicKey.qy)}`,
  };
}

function vbsRegisterName(number: number): string {
  const names: Readonly<Record<string, number>> = VBS_REGISTER_NAMES;
  return Object.keys(names).find((name) => names[name] === number) ?? hex(number);
}

/** `sha256 …` of a payload, padded to a page as it is loaded; `empty` where there is none. */
function payload(data: Uint8Array | undefined): string {
  if (data === undefined) return 'empty';
  if (data.length === 0) return '0 bytes';
  const size = data.length === IGVM_PAGE_BYTES ? '' : `${data.length} bytes `;
  return `${size}sha256 ${bytesToHex(digestBytes('sha256', data))}`;
}

function pageFlags(flags: number): string {
  const names: Readonly<Record<number, string>> = {
    [PAGE_FLAGS.is2MbPage]: '2 MiB page',
    [PAGE_FLAGS.unmeasured]: 'unmeasured',
    [PAGE_FLAGS.shared]: 'shared',
  };
  const known = Object.keys(names).map(Number);
  const rest = known.reduce((left, bit) => left & ~bit, flags) >>> 0;
  const parts = known.filter((bit) => (flags & bit) !== 0).map((bit) => names[bit] as string);
  return [...parts, ...(rest === 0 ? [] : [hex(rest)])].join(', ') || 'none';
}

function bitNames(value: bigint, names: Readonly<Record<number, string>>): string {
  const found = Object.entries(names).filter(([bit]) => ((value >> BigInt(bit)) & 1n) === 1n);
  return found.map(([, name]) => name).join(', ') || 'none';
}

type Plain = number | bigint | Uint8Array;

function plain(value: Plain): string {
  return value instanceof Uint8Array ? bytesToHex(value) : hex(value);
}

export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
