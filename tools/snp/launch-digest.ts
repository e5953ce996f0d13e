import { digestBytes, digestSource } from '../bytes/digest.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { formatError, usageError } from '../errors.ts';
import { LaunchContext, PAGE_BYTES, VMSA_GPA, type PageType } from './gctx.ts';
import { cmdlineHash, initrdFileHash, kernelFileHash, kernelHashesPage } from './kernel-hashes.ts';
import {
  parseOvmf,
  requireHashTableBase,
  requireResetEip,
  requireSections,
  sectionName,
  SECTION_TYPES,
  type Ovmf,
  type SevSection,
} from './ovmf.ts';
import { BSP_RESET_EIP, buildVmsa, type FpuState, type VmmType } from './vmsa.ts';

/** KVM's own limit; every vCPU costs one update. */
export const VCPU_LIMIT = 4096;

/** What many measurements may share: the files. */
export interface SnpArtifacts {
  readonly firmware: ByteSource | Uint8Array;
  /** LD after the firmware pages (48 bytes), when known: the pages are then not measured again. */
  readonly ovmfHash?: Uint8Array;
  readonly kernel?: ByteSource | Uint8Array;
  /** Needs a kernel. */
  readonly initrd?: ByteSource | Uint8Array;
}

/** What differs between them. */
export interface SnpConfiguration {
  /** The kernel command line, measured as it is with one NUL after it. Needs a kernel unless empty. */
  readonly append?: string;
  /** vCPUs present at launch, 1 to {@link VCPU_LIMIT}. */
  readonly vcpus: number;
  /** CPUID Fn0000_0001 EAX. */
  readonly vcpuSig: number;
  /** SEV_FEATURES, 64 bits. */
  readonly guestFeatures: bigint;
  readonly vmmType: VmmType;
  /** What the FPU registers hold, `reset` when absent: see {@link FpuState}. */
  readonly fpu?: FpuState;
  /** RDX at reset, when it is not the VMM's usual value. */
  readonly rdx?: bigint;
}

/** One thing measured, and the digest after it. */
export interface LaunchStep {
  readonly what: 'firmware' | 'svsm' | 'section' | 'vmsa';
  /** `firmware`, `SVSM`, the section type's name, or `VMSA 0`. */
  readonly name: string;
  readonly pageType: PageType;
  readonly gpa: number;
  readonly pages: number;
  /** SHA-384 of all that was measured, where contents are (types normal and vmsa). */
  readonly contentSha384: Uint8Array | undefined;
  readonly digest: Uint8Array;
}

/** One set of artifacts, measured under any number of configurations. */
export interface SnpLaunch {
  readonly ovmf: Ovmf;
  /** LD after the firmware pages alone: what mode snp:ovmf-hash prints. */
  readonly firmwareDigest: Uint8Array;
  /** SHA-256 of the kernel and of the initrd (of nothing without one); undefined without a kernel. */
  readonly fileHashes: { readonly kernel: Uint8Array; readonly initrd: Uint8Array } | undefined;
  /** The launch digest: MEASUREMENT of the attestation report (offset 0x90), 48 bytes. */
  predict(configuration: SnpConfiguration): Uint8Array;
  /** Digests of guests that differ in the vCPU count alone, in the order given, for the cost of the largest. */
  predictCounts(configuration: Omit<SnpConfiguration, 'vcpus'>, counts: readonly number[]): Uint8Array[];
  /** The same digest, step by step: the last step's is {@link predict}'s. */
  explain(configuration: SnpConfiguration): LaunchStep[];
}

/**
 * Prepares SEV-SNP launch digests for guests that share firmware, kernel and initrd: the firmware's pages and the files
 * are hashed once, and of guests that differ in vCPUs alone only the VMSA pages are measured again.
 *
 * Order of measurement (QEMU target/i386/sev.c): firmware pages, metadata sections in file order, one VMSA page a vCPU.
 *
 * @throws CvmError usage KERNEL_MISSING; format OVMF_* (see parseOvmf and its neighbours), OVMF_SIZE when the image is
 *   not whole pages, OVMF_NO_KERNEL_HASHES when a kernel meets a firmware that would not check it
 */
export function prepareSnpLaunch(artifacts: SnpArtifacts): SnpLaunch {
  const firmware = asSource(artifacts.firmware);
  const kernel = artifacts.kernel === undefined ? undefined : asSource(artifacts.kernel);
  const initrd = artifacts.initrd === undefined ? undefined : asSource(artifacts.initrd);
  if (initrd !== undefined && kernel === undefined) throw kernelMissing('an initrd');

  const ovmf = parseOvmf(firmware);
  const sections = requireSections(ovmf);
  const afterFirmware = new LaunchContext(artifacts.ovmfHash);
  if (artifacts.ovmfHash === undefined) {
    requireWholePages(firmware, 'firmware');
    afterFirmware.normalPages(ovmf.loadGpa, firmware);
  }
  const files =
    kernel === undefined ? undefined : { kernel: kernelFileHash(kernel), initrd: initrdFileHash(initrd) };
  if (files !== undefined) requireKernelHashes(ovmf, sections);

  const hashesPage = (append: string | undefined): Uint8Array | undefined => {
    if (files !== undefined) {
      return kernelHashesPage({ ...files, cmdline: cmdlineHash(append) }, requireHashTableBase(ovmf));
    }
    if (append !== undefined && append !== '') throw kernelMissing('a command line');
    return undefined;
  };

  const prefixes = new Map<string, LaunchContext>();
  const prefix = (append: string | undefined, vmmType: VmmType): LaunchContext => {
    const key = `${vmmType}\0${append ?? ''}`;
    const known = prefixes.get(key);
    if (known !== undefined) return known;
    const context = afterFirmware.fork();
    const page = hashesPage(append);
    for (const section of sectionOrder(sections, vmmType)) measureSection(context, section, vmmType, page);
    prefixes.set(key, context);
    return context;
  };

  return {
    ovmf,
    firmwareDigest: afterFirmware.digest,
    fileHashes: files,
    predict(configuration) {
      const vmsas = vmsaHashes(ovmf, configuration);
      const context = prefix(configuration.append, configuration.vmmType).fork();
      context.vmsaPage(vmsas.bsp);
      for (let vcpu = 1; vcpu < configuration.vcpus; vcpu++) context.vmsaPage(vmsas.ap);
      return context.digest;
    },
    predictCounts(configuration, counts) {
      for (const count of counts) checkVcpus(count);
      const vcpus = Math.max(0, ...counts);
      if (vcpus === 0) return [];
      const vmsas = vmsaHashes(ovmf, { ...configuration, vcpus });
      const context = prefix(configuration.append, configuration.vmmType).fork();
      const wanted = new Set(counts);
      const digests = new Map<number, Uint8Array>();
      for (let vcpu = 0; vcpu < vcpus; vcpu++) {
        context.vmsaPage(vcpu === 0 ? vmsas.bsp : vmsas.ap);
        if (wanted.has(vcpu + 1)) digests.set(vcpu + 1, context.digest);
      }
      return counts.map((count) => digests.get(count) as Uint8Array);
    },
    explain(configuration) {
      const vmsas = vmsaHashes(ovmf, configuration);
      const context = afterFirmware.fork();
      const page = hashesPage(configuration.append);
      const steps: LaunchStep[] = [
        {
          what: 'firmware',
          name: 'firmware',
          pageType: 'normal',
          gpa: ovmf.loadGpa,
          pages: firmware.sizeBytes / PAGE_BYTES,
          contentSha384: artifacts.ovmfHash === undefined ? digestSource('sha384', firmware) : undefined,
          digest: context.digest,
        },
      ];
      for (const section of sectionOrder(sections, configuration.vmmType)) {
        const measured = measureSection(context, section, configuration.vmmType, page);
        steps.push({
          what: 'section',
          name: sectionName(section.type),
          gpa: section.gpa,
          ...measured,
          digest: context.digest,
        });
      }
      return [...steps, ...vmsaSteps(context, configuration.vcpus, vmsas)];
    },
  };
}

/** Measures the VMSA page of every vCPU, given the SHA-384 of the boot processor's and of the others'. */
export function vmsaSteps(
  context: LaunchContext,
  vcpus: number,
  { bsp, ap }: { readonly bsp: Uint8Array; readonly ap: Uint8Array },
): LaunchStep[] {
  return Array.from({ length: vcpus }, (_, vcpu): LaunchStep => {
    const contentSha384 = vcpu === 0 ? bsp : ap;
    context.vmsaPage(contentSha384);
    return {
      what: 'vmsa',
      name: `VMSA ${vcpu}`,
      pageType: 'vmsa',
      gpa: VMSA_GPA,
      pages: 1,
      contentSha384,
      digest: context.digest,
    };
  });
}

/** One launch digest. See {@link prepareSnpLaunch} for many. */
export function snpLaunchDigest(input: SnpArtifacts & SnpConfiguration): Uint8Array {
  return prepareSnpLaunch(input).predict(input);
}

/**
 * LD after the firmware pages: the value of mode snp:ovmf-hash.
 * @throws CvmError format as {@link prepareSnpLaunch}
 */
export function snpFirmwareDigest(firmware: ByteSource | Uint8Array): Uint8Array {
  return prepareSnpLaunch({ firmware }).firmwareDigest;
}

/** EC2 measures the CPUID page after all other sections. */
export function sectionOrder(sections: readonly SevSection[], vmmType: VmmType): readonly SevSection[] {
  if (vmmType !== 'ec2') return sections;
  const isCpuid = (section: SevSection): boolean => section.type === SECTION_TYPES.cpuid;
  return [...sections.filter((section) => !isCpuid(section)), ...sections.filter(isCpuid)];
}

/** Adds one section's pages, as QEMU prepares them, and says what it added. */
export function measureSection(
  context: LaunchContext,
  section: SevSection,
  vmmType: VmmType,
  hashesPage: Uint8Array | undefined,
): Pick<LaunchStep, 'pageType' | 'pages' | 'contentSha384'> {
  if (section.type === SECTION_TYPES.secrets || section.type === SECTION_TYPES.cpuid) {
    const pageType = section.type === SECTION_TYPES.secrets ? 'secrets' : 'cpuid';
    context.update(pageType, section.gpa);
    return { pageType, pages: 1, contentSha384: undefined };
  }
  if (section.type === SECTION_TYPES.kernelHashes && hashesPage !== undefined) {
    const contentSha384 = digestBytes('sha384', hashesPage);
    context.update('normal', section.gpa, contentSha384);
    return { pageType: 'normal', pages: 1, contentSha384 };
  }
  // GCE does not clear the memory that SEC uses.
  const pageType = section.type === SECTION_TYPES.secMem && vmmType === 'gce' ? 'unmeasured' : 'zero';
  context.emptyPages(pageType, section.gpa, section.sizeBytes);
  return { pageType, pages: section.sizeBytes / PAGE_BYTES, contentSha384: undefined };
}

/** @throws CvmError format OVMF_NO_KERNEL_HASHES | OVMF_SECTION_SIZE */
export function requireKernelHashes(ovmf: Ovmf, sections: readonly SevSection[]): void {
  const hashes = sections.filter((section) => section.type === SECTION_TYPES.kernelHashes);
  if (hashes.length === 0) {
    throw formatError(
      'OVMF_NO_KERNEL_HASHES',
      'a kernel was given, but the firmware has no SNP_KERNEL_HASHES section: it would run any kernel',
      {
        facts: [
          ['sections', sections.map((section) => sectionName(section.type)).join(', ')],
          ['SEV hash table', ovmf.hashTable === undefined ? 'none' : `0x${ovmf.hashTable.base.toString(16)}`],
        ],
        mend: 'use the OvmfPkg/AmdSev build of OVMF; OvmfPkgX64 cannot check a kernel',
      },
    );
  }
  for (const section of hashes) {
    if (section.sizeBytes !== PAGE_BYTES) {
      throw formatError('OVMF_SECTION_SIZE', 'the SNP_KERNEL_HASHES section is not exactly one page', {
        facts: [
          ['gpa', `0x${section.gpa.toString(16)}`],
          ['size', `0x${section.sizeBytes.toString(16)}`],
        ],
      });
    }
  }
}

/** SHA-384 of the two VMSA pages there are: the boot processor's, and that of every other vCPU. */
function vmsaHashes(ovmf: Ovmf, configuration: SnpConfiguration): { bsp: Uint8Array; ap: Uint8Array } {
  checkVcpus(configuration.vcpus);
  const resetEip = requireResetEip(ovmf, configuration.vcpus);
  const hashAt = (eip: number): Uint8Array => digestBytes('sha384', buildVmsa({ ...configuration, eip }));
  return { bsp: hashAt(BSP_RESET_EIP), ap: hashAt(resetEip) };
}

/** @throws CvmError format OVMF_SIZE */
export function requireWholePages(image: ByteSource, name: string): void {
  if (image.sizeBytes % PAGE_BYTES === 0) return;
  throw formatError('OVMF_SIZE', `the ${name} is not a whole number of pages`, {
    facts: [
      ['size', `${image.sizeBytes} bytes`],
      ['page', `${PAGE_BYTES} bytes`],
    ],
  });
}

/** @throws CvmError usage VCPU_COUNT */
export function checkVcpus(vcpus: number): void {
  if (Number.isSafeInteger(vcpus) && vcpus >= 1 && vcpus <= VCPU_LIMIT) return;
  throw usageError('VCPU_COUNT', 'the vCPU count is out of range', {
    facts: [
      ['found', vcpus],
      ['range', `1 to ${VCPU_LIMIT}`],
    ],
    mend: 'give the number of vCPUs present at launch (-smp N)',
  });
}

function kernelMissing(what: string): Error {
  return usageError('KERNEL_MISSING', `${what} was given without a kernel`, {
    mend: 'give the kernel too: firmware gets all three hashes or none',
  });
}
