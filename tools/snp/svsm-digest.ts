import { digestBytes, digestSource } from '../bytes/digest.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { formatError, usageError } from '../errors.ts';
import { LaunchContext, PAGE_BYTES } from './gctx.ts';
import {
  checkVcpus,
  measureSection,
  requireWholePages,
  vmsaSteps,
  type LaunchStep,
} from './launch-digest.ts';
import { parseOvmf, requireSections, requireSvsmLaunchOffset, sectionName, type Ovmf } from './ovmf.ts';
import { buildSvsmVmsa } from './vmsa.ts';

export interface SvsmLaunchInput {
  /** OVMF's code volume, which ends at 4 GiB. */
  readonly firmware: ByteSource | Uint8Array;
  /** The SVSM image, with its own metadata and an SVSM info entry. */
  readonly svsm: ByteSource | Uint8Array;
  /** Size of the variable store between the two, whole pages. */
  readonly varsSizeBytes: number;
  readonly vcpus: number;
  readonly vcpuSig: number;
}

const FOUR_GIB = 0x1_0000_0000;

/**
 * Where the vCPUs start: the SVSM's entry point in guest physical memory.
 * @throws CvmError usage SVSM_VARS_SIZE; format OVMF_* of the SVSM image, OVMF_NO_SVSM_INFO, SVSM_LAYOUT
 */
export function svsmEntryGpa(input: Omit<SvsmLaunchInput, 'vcpus' | 'vcpuSig'>): number {
  const layout = layOut(input);
  return layout.svsmGpa + layout.launchOffset;
}

/**
 * SEV-SNP launch digest of early COCONUT-SVSM under QEMU: firmware code below 4 GiB, variables below it, the SVSM below
 * those. The SVSM's own metadata sections are prepared, OVMF's are not, and there are no kernel hashes.
 * Current COCONUT-SVSM boots from IGVM and is measured from that file instead.
 *
 * @throws CvmError usage VCPU_COUNT; format OVMF_SIZE, and as {@link svsmEntryGpa}
 */
export function svsmLaunchDigest(input: SvsmLaunchInput): Uint8Array {
  checkVcpus(input.vcpus);
  const { firmware, svsm, ovmf, firmwareGpa, svsmGpa, launchOffset } = layOut(input);
  const context = new LaunchContext();
  context.normalPages(firmwareGpa, firmware);
  context.normalPages(svsmGpa, svsm);
  for (const section of requireSections(ovmf)) measureSection(context, section, 'QEMU', undefined);
  const vmsa = digestBytes('sha384', buildSvsmVmsa(svsmGpa + launchOffset, input.vcpuSig));
  for (let vcpu = 0; vcpu < input.vcpus; vcpu++) context.vmsaPage(vmsa);
  return context.digest;
}

/** The same digest, step by step. @throws as {@link svsmLaunchDigest} */
export function explainSvsmLaunch(input: SvsmLaunchInput): LaunchStep[] {
  checkVcpus(input.vcpus);
  const { firmware, svsm, ovmf, firmwareGpa, svsmGpa, launchOffset } = layOut(input);
  const context = new LaunchContext();
  const image = (what: 'firmware' | 'svsm', name: string, gpa: number, pages: ByteSource): LaunchStep => {
    context.normalPages(gpa, pages);
    const contentSha384 = digestSource('sha384', pages);
    const count = pages.sizeBytes / PAGE_BYTES;
    return { what, name, pageType: 'normal', gpa, pages: count, contentSha384, digest: context.digest };
  };
  const steps = [
    image('firmware', 'firmware', firmwareGpa, firmware),
    image('svsm', 'SVSM', svsmGpa, svsm),
    ...requireSections(ovmf).map((section): LaunchStep => {
      const measured = measureSection(context, section, 'QEMU', undefined);
      const name = sectionName(section.type);
      return { what: 'section', name, gpa: section.gpa, ...measured, digest: context.digest };
    }),
  ];
  const vmsa = digestBytes('sha384', buildSvsmVmsa(svsmGpa + launchOffset, input.vcpuSig));
  return [...steps, ...vmsaSteps(context, input.vcpus, { bsp: vmsa, ap: vmsa })];
}

interface SvsmLayout {
  readonly firmware: ByteSource;
  readonly svsm: ByteSource;
  readonly ovmf: Ovmf;
  readonly firmwareGpa: number;
  readonly svsmGpa: number;
  readonly launchOffset: number;
}

function layOut(input: Omit<SvsmLaunchInput, 'vcpus' | 'vcpuSig'>): SvsmLayout {
  const firmware = asSource(input.firmware);
  const svsm = asSource(input.svsm);
  if (!Number.isSafeInteger(input.varsSizeBytes) || input.varsSizeBytes <= 0) {
    throw usageError('SVSM_VARS_SIZE', 'the variable store needs a size', {
      facts: [['found', input.varsSizeBytes]],
    });
  }
  requireWholePages(firmware, 'firmware');
  requireWholePages(svsm, 'SVSM image');
  const ovmf = parseOvmf(svsm);
  const launchOffset = requireSvsmLaunchOffset(ovmf);
  const firmwareGpa = FOUR_GIB - firmware.sizeBytes;
  const svsmGpa = firmwareGpa - input.varsSizeBytes - svsm.sizeBytes;
  if (svsmGpa < 0 || svsmGpa % PAGE_BYTES !== 0 || launchOffset >= svsm.sizeBytes) {
    throw formatError('SVSM_LAYOUT', 'the SVSM image does not fit its place below the firmware', {
      facts: [
        ['firmware', `${firmware.sizeBytes} bytes`],
        ['variables', `${input.varsSizeBytes} bytes`],
        ['SVSM', `${svsm.sizeBytes} bytes`],
        ['entry point offset', launchOffset],
      ],
    });
  }
  return { firmware, svsm, ovmf, firmwareGpa, svsmGpa, launchOffset };
}
