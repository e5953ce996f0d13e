import { digestBytes, digestSource } from '../bytes/digest.ts';
import type { ByteSource } from '../bytes/source.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { encodeCbor } from '../cbor/encode.ts';
import type { CborValue } from '../cbor/value.ts';
import { usageError } from '../errors.ts';
import { LAUNCH_DIGEST_BYTES, LaunchContext, PAGE_BYTES } from '../snp/gctx.ts';
import { cmdlineHash, kernelHashesPage } from '../snp/kernel-hashes.ts';
import {
  checkVcpus,
  measureSection,
  requireWholePages,
  vmsaSteps,
  type LaunchStep,
} from '../snp/launch-digest.ts';
import { sectionName, type SevSection } from '../snp/ovmf.ts';
import { VCPU_MODELS, vcpuTypeSignature } from '../snp/vcpu-types.ts';
import { BSP_RESET_EIP, buildVmsa } from '../snp/vmsa.ts';
import { CborFields } from './cbor-fields.ts';
import { checkSevSections, readSevFirmware } from './sev-firmware.ts';

/** What a verifier needs to compute SEV-SNP launch digests without the files: measurement.snp.cbor, version 3. */
export interface SnpMaterial {
  /** metadata.json's, without blanks at its ends. */
  readonly cmdline: string;
  /** LD after the firmware pages, 48 bytes. */
  readonly ovmfHash: Uint8Array;
  /** SHA-256 of the files. */
  readonly kernelHash: Uint8Array;
  readonly initrdHash: Uint8Array;
  readonly hashesTableGpa: number;
  readonly resetEip: number;
  readonly sections: readonly SevSection[];
}

const MATERIAL_VERSION = 3n;
const FOUR_GIB = 0x1_0000_0000;

/** @throws CvmError format OVMF_*, SEV_FIRMWARE_* */
export function snpMaterial(parts: {
  readonly firmware: ByteSource;
  readonly kernel: ByteSource;
  readonly initrd: ByteSource;
  readonly cmdline: string;
}): SnpMaterial {
  const { hashesTableGpa, resetEip, sections } = readSevFirmware(parts.firmware);
  requireWholePages(parts.firmware, 'firmware');
  const context = new LaunchContext();
  context.normalPages(FOUR_GIB - parts.firmware.sizeBytes, parts.firmware);
  return {
    cmdline: parts.cmdline.trim(),
    ovmfHash: context.digest,
    kernelHash: digestSource('sha256', parts.kernel),
    initrdHash: digestSource('sha256', parts.initrd),
    hashesTableGpa,
    resetEip,
    sections,
  };
}

/** measurement.snp.cbor: one map, keys in this order. */
export function encodeSnpMaterial(material: SnpMaterial): Uint8Array {
  const sections: CborValue = material.sections.map(
    ({ gpa, sizeBytes, type }) =>
      new Map<string, CborValue>([
        ['gpa', BigInt(gpa)],
        ['size', BigInt(sizeBytes)],
        ['type', BigInt(type)],
      ]),
  );
  return encodeCbor(
    new Map<string, CborValue>([
      ['version', MATERIAL_VERSION],
      ['cmdline', material.cmdline],
      ['ovmf_hash', material.ovmfHash],
      ['kernel_hash', material.kernelHash],
      ['initrd_hash', material.initrdHash],
      ['hashes_table_gpa', BigInt(material.hashesTableGpa)],
      ['reset_eip', BigInt(material.resetEip)],
      ['ovmf_sections', sections],
    ]),
  );
}

/** @throws CvmError format MATERIAL_FIELD | MATERIAL_VERSION | SEV_FIRMWARE_*, those of decodeCbor */
export function decodeSnpMaterial(bytes: Uint8Array): SnpMaterial {
  const fields = CborFields.of(decodeCbor(bytes, 'measurement.snp.cbor'), 'measurement.snp.cbor');
  fields.requireVersion(MATERIAL_VERSION);
  const sections = fields.list('ovmf_sections', 64).map((section) => ({
    gpa: section.u32('gpa'),
    sizeBytes: section.u32('size'),
    type: section.u32('type'),
  }));
  checkSevSections(sections);
  return {
    cmdline: fields.text('cmdline'),
    ovmfHash: fields.bytes('ovmf_hash', LAUNCH_DIGEST_BYTES),
    kernelHash: fields.bytes('kernel_hash', 32),
    initrdHash: fields.bytes('initrd_hash', 32),
    hashesTableGpa: fields.u32('hashes_table_gpa'),
    resetEip: fields.u32('reset_eip'),
    sections,
  };
}

/** What QEMU is called with; dstack starts guests with `EPYC-v4` and features 1. */
export interface SnpGuest {
  readonly vcpus: number;
  /** CPUID Fn0000_0001 EAX. */
  readonly vcpuSig: number;
  readonly guestFeatures: bigint;
}

/**
 * The launch, step by step: firmware, sections in order, one VMSA a vCPU. The last step's digest is the launch digest.
 * @param firmwareBytes size of the firmware, which a material does not hold; without it that step is left out
 * @throws CvmError usage VCPU_COUNT; format OVMF_HASH_TABLE_OFFSET
 */
export function snpLaunchSteps(material: SnpMaterial, guest: SnpGuest, firmwareBytes?: number): LaunchStep[] {
  checkVcpus(guest.vcpus);
  const hashes = {
    kernel: material.kernelHash,
    initrd: material.initrdHash,
    cmdline: cmdlineHash(material.cmdline),
  };
  const page = kernelHashesPage(hashes, material.hashesTableGpa);
  const context = new LaunchContext(material.ovmfHash);
  const steps: LaunchStep[] = [];
  if (firmwareBytes !== undefined) {
    steps.push({
      what: 'firmware',
      name: 'firmware',
      pageType: 'normal',
      gpa: FOUR_GIB - firmwareBytes,
      pages: firmwareBytes / PAGE_BYTES,
      contentSha384: undefined,
      digest: context.digest,
    });
  }
  for (const section of material.sections) {
    const measured = measureSection(context, section, 'QEMU', page);
    const name = sectionName(section.type);
    steps.push({ what: 'section', name, gpa: section.gpa, ...measured, digest: context.digest });
  }
  const vmsa = (eip: number): Uint8Array =>
    digestBytes(
      'sha384',
      buildVmsa({ vmmType: 'QEMU', eip, vcpuSig: guest.vcpuSig, guestFeatures: guest.guestFeatures }),
    );
  const vmsas = { bsp: vmsa(BSP_RESET_EIP), ap: vmsa(material.resetEip) };
  return [...steps, ...vmsaSteps(context, guest.vcpus, vmsas)];
}

/** The launch digest, 48 bytes. @throws CvmError as {@link snpLaunchSteps} */
export function snpLaunchOf(material: SnpMaterial, guest: SnpGuest): Uint8Array {
  const last = snpLaunchSteps(material, guest).at(-1);
  return last === undefined ? material.ovmfHash : last.digest;
}

/**
 * The name as QEMU spells it, of one in any case: dstack does not look at case.
 * @throws CvmError usage VCPU_TYPE_UNKNOWN
 */
export function vcpuTypeName(name: string): string {
  const lower = name.toLowerCase();
  const known = VCPU_MODELS.flatMap(({ names }) => names).find(
    (candidate) => candidate.toLowerCase() === lower,
  );
  if (known === undefined) vcpuTypeSignature(name);
  if (known === undefined) throw usageError('VCPU_TYPE_UNKNOWN', 'the vCPU type is not a known EPYC model');
  return known;
}
