import { createHash } from 'node:crypto';
import { equalBytes } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { guidFromBytes, guidToBytes } from '../bytes/guid.ts';
import { readU16, readU32 } from '../bytes/little-endian.ts';
import { chunks, type ByteSource } from '../bytes/source.ts';
import { formatError, usageError, type CvmError, type Fact } from '../errors.ts';
import { LaunchContext, PAGE_BYTES } from './gctx.ts';
import {
  cmdlineHash,
  initrdFileHash,
  kernelFileHash,
  kernelHashesPage,
  writeKernelHashTable,
  type KernelHashes,
} from './kernel-hashes.ts';
import { measureSection, requireWholePages, sectionOrder, VCPU_LIMIT } from './launch-digest.ts';
import { OVMF_GUIDS, sectionName, SECTION_TYPES, type SevSection } from './ovmf.ts';
import { BSP_RESET_EIP, buildSvsmVmsa, buildVmsa, type FpuState, type VmmType } from './vmsa.ts';

/**
 * What sev-snp-measure 0.0.13 measures where this house refuses: firmware that describes itself badly or not at all, no vCPUs,
 * numbers that wrap. For scripts that depend on it; what makes that tool crash is an error here too.
 */
export interface PeerInput {
  readonly mode: 'sev' | 'seves' | 'snp' | 'snp:ovmf-hash' | 'snp:svsm';
  readonly firmware: ByteSource;
  readonly kernel?: ByteSource;
  readonly initrd?: ByteSource;
  readonly append?: string;
  /** Zero and less is no VMSA page. */
  readonly vcpus: number;
  /** Any whole number: its low 64 bits count. */
  readonly vcpuSig: bigint;
  readonly guestFeatures: bigint;
  readonly vmmType: VmmType;
  readonly fpu?: FpuState;
  readonly rdx?: bigint;
  readonly ovmfHash?: Uint8Array;
  readonly svsm?: ByteSource;
  readonly varsSizeBytes?: number;
}

export interface PeerResult {
  readonly digest: Uint8Array;
  /** The VMSA page of a vCPU; undefined in modes that measure none. */
  readonly vmsa: ((vcpu: number) => Uint8Array) | undefined;
}

const FOUR_GIB = 0x1_0000_0000;
const TAIL_BYTES = 32;
const TRAILER_BYTES = 18;
const HEADER_BYTES = 16;
const DESCRIPTOR_BYTES = 12;

/**
 * @throws CvmError usage VCPU_COUNT; format OVMF_TOO_SHORT | OVMF_TOO_LARGE | OVMF_SIZE | OVMF_ENTRY_SIZE | OVMF_METADATA_* |
 *   OVMF_SECTION_* | OVMF_NO_* | OVMF_RESET_ADDRESS | SVSM_LAYOUT
 */
export function peerLaunchDigest(input: PeerInput): PeerResult {
  if (input.vcpus > VCPU_LIMIT) {
    throw usageError('VCPU_COUNT', 'the vCPU count is out of range', {
      facts: [
        ['found', input.vcpus],
        ['limit', VCPU_LIMIT],
      ],
    });
  }
  const firmware = new PeerFirmware(input.firmware, FOUR_GIB);
  switch (input.mode) {
    case 'sev':
      return { digest: legacyDigest(input, firmware, undefined), vmsa: undefined };
    case 'seves': {
      const vmsa = vmsaPages({ ...input, guestFeatures: 0n }, firmware);
      return { digest: legacyDigest(input, firmware, vmsa), vmsa };
    }
    case 'snp:ovmf-hash': {
      const context = new LaunchContext();
      firmware.measure(context);
      return { digest: context.digest, vmsa: undefined };
    }
    case 'snp':
      return snpDigest(input, firmware);
    case 'snp:svsm':
      return svsmDigest(input, firmware);
  }
}

function legacyDigest(
  input: PeerInput,
  firmware: PeerFirmware,
  vmsa: ((vcpu: number) => Uint8Array) | undefined,
): Uint8Array {
  const state = createHash('sha256');
  for (const chunk of chunks(firmware.image)) state.update(chunk);
  const hashes = kernelHashes(input);
  if (hashes !== undefined) {
    if ((firmware.word(OVMF_GUIDS.sevHashTable) ?? 0) === 0)
      throw missing('OVMF_NO_HASH_TABLE', 'SEV hash table');
    state.update(writeKernelHashTable(hashes));
  }
  if (vmsa !== undefined) for (let vcpu = 0; vcpu < input.vcpus; vcpu++) state.update(vmsa(vcpu));
  return new Uint8Array(state.digest());
}

function snpDigest(input: PeerInput, firmware: PeerFirmware): PeerResult {
  const context = new LaunchContext(input.ovmfHash);
  if (input.ovmfHash === undefined) firmware.measure(context);
  const hashes = kernelHashes(input);
  firmware.measureSections(context, input.vmmType, hashes);
  if (hashes !== undefined && !firmware.sections.some(({ type }) => type === SECTION_TYPES.kernelHashes))
    throw missing('OVMF_NO_KERNEL_HASHES', 'SNP_KERNEL_HASHES section');
  return finish(context, input.vcpus, vmsaPages(input, firmware));
}

function svsmDigest(input: PeerInput, firmware: PeerFirmware): PeerResult {
  if (input.svsm === undefined) throw usageError('SVSM_MISSING', 'mode snp:svsm needs an SVSM image');
  const svsm = new PeerFirmware(input.svsm, firmware.gpa - (input.varsSizeBytes ?? 0));
  const offset = svsm.word(OVMF_GUIDS.svsmInfo);
  if (offset === undefined) throw missing('OVMF_NO_SVSM_INFO', 'SVSM info');
  const context = new LaunchContext();
  firmware.measure(context);
  svsm.measure(context);
  svsm.measureSections(context, 'QEMU', undefined);
  const page = buildSvsmVmsa(svsm.gpa + offset, input.vcpuSig);
  return finish(context, input.vcpus, () => page);
}

function finish(context: LaunchContext, vcpus: number, vmsa: (vcpu: number) => Uint8Array): PeerResult {
  let contents = new Uint8Array();
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    // All further vCPUs have the page of the second.
    if (vcpu < 2) contents = new Uint8Array(digestBytes('sha384', vmsa(vcpu)));
    context.vmsaPage(contents);
  }
  return { digest: context.digest, vmsa };
}

function vmsaPages(input: PeerInput, firmware: PeerFirmware): (vcpu: number) => Uint8Array {
  const reset = firmware.word(OVMF_GUIDS.sevEsResetBlock);
  if (reset === undefined) throw missing('OVMF_NO_RESET_BLOCK', 'SEV-ES reset block');
  if (reset === 0 && input.vcpus > 1) {
    throw formatError('OVMF_RESET_ADDRESS', 'the firmware names no start address for further vCPUs', {
      facts: [['vCPUs', input.vcpus]],
    });
  }
  const { vmmType, guestFeatures, vcpuSig } = input;
  const rdx = input.rdx ?? (vmmType === 'QEMU' ? BigInt.asUintN(64, vcpuSig) : undefined);
  const page = (eip: number): Uint8Array =>
    buildVmsa({
      vmmType,
      vcpuSig: 0,
      guestFeatures,
      eip,
      ...(input.fpu === undefined ? {} : { fpu: input.fpu }),
      ...(rdx === undefined ? {} : { rdx }),
    });
  const [bsp, ap] = [page(BSP_RESET_EIP), page(reset)];
  return (vcpu) => (vcpu === 0 ? bsp : ap);
}

function kernelHashes(input: PeerInput): KernelHashes | undefined {
  if (input.kernel === undefined) return undefined;
  return {
    kernel: kernelFileHash(input.kernel),
    initrd: initrdFileHash(input.initrd),
    cmdline: cmdlineHash(input.append),
  };
}

/** An image as that tool reads it. */
class PeerFirmware {
  readonly image: ByteSource;
  readonly gpa: number;
  readonly sections: readonly SevSection[];
  readonly #table: ReadonlyMap<string, Uint8Array>;

  constructor(image: ByteSource, endGpa: number) {
    this.image = image;
    this.gpa = endGpa - image.sizeBytes;
    this.#table = readTable(image);
    const distance = this.word(OVMF_GUIDS.sevMetadata);
    this.sections = distance === undefined ? [] : readSections(image, distance);
  }

  /** The first four bytes of an entry, fewer count as they are; undefined without the entry. */
  word(guid: string): number | undefined {
    const data = this.#table.get(guid);
    return data?.subarray(0, 4).reduceRight((value, byte) => value * 256 + byte, 0);
  }

  measure(context: LaunchContext): void {
    if (this.gpa < 0 || this.gpa + this.image.sizeBytes > Number.MAX_SAFE_INTEGER) {
      throw formatError('SVSM_LAYOUT', 'the image does not fit the guest memory below its end', {
        facts: [['size', `${this.image.sizeBytes} bytes`]],
      });
    }
    requireWholePages(this.image, 'image');
    context.normalPages(this.gpa, this.image);
  }

  measureSections(context: LaunchContext, vmmType: VmmType, hashes: KernelHashes | undefined): void {
    checkSections(this.sections, hashes !== undefined);
    const takesHashes = this.sections.some(({ type }) => type === SECTION_TYPES.kernelHashes);
    const base = this.word(OVMF_GUIDS.sevHashTable);
    if (takesHashes && hashes !== undefined && base === undefined)
      throw missing('OVMF_NO_HASH_TABLE', 'SEV hash table');
    const page =
      takesHashes && hashes !== undefined && base !== undefined ? kernelHashesPage(hashes, base) : undefined;
    for (const section of sectionOrder(this.sections, vmmType))
      measureSection(context, section, vmmType, page);
  }
}

/** Entries by GUID, the last one read for each: empty without a footer, never longer than what there is. */
function readTable(image: ByteSource): Map<string, Uint8Array> {
  const table = new Map<string, Uint8Array>();
  const { sizeBytes } = image;
  const footerAt = sizeBytes - TAIL_BYTES - TRAILER_BYTES;
  if (footerAt < 0) {
    // Places before the file count from its end there, where no footer fits or none is.
    if (sizeBytes >= TRAILER_BYTES && sizeBytes <= TAIL_BYTES) return table;
    throw formatError('OVMF_TOO_SHORT', 'the firmware is too short to be an OVMF image', {
      facts: [['size', `${sizeBytes} bytes`]],
    });
  }
  const footer = image.read(footerAt, TRAILER_BYTES);
  const total = readU16(footer, 0);
  if (!equalBytes(footer.subarray(2), guidToBytes(OVMF_GUIDS.footer)) || total < TRAILER_BYTES) return table;
  const from = footerAt - (total - TRAILER_BYTES);
  const start = from < 0 ? Math.max(0, sizeBytes + from) : from;
  let body = start < footerAt ? image.read(start, footerAt - start) : new Uint8Array();
  while (body.length >= TRAILER_BYTES) {
    const trailer = body.length - TRAILER_BYTES;
    const length = readU16(body, trailer);
    if (length < TRAILER_BYTES) {
      throw formatError('OVMF_ENTRY_SIZE', 'a footer table entry is shorter than its own size and GUID', {
        facts: [['entry length', length]],
      });
    }
    const entryStart = Math.max(0, body.length - length);
    table.set(guidFromBytes(body, trailer + 2), body.slice(entryStart, trailer));
    body = body.subarray(0, entryStart);
  }
  return table;
}

function readSections(image: ByteSource, distance: number): SevSection[] {
  const at = image.sizeBytes - distance;
  const facts: Fact[] = [['distance from the end', distance]];
  if (at < 0 || distance < HEADER_BYTES)
    throw formatError('OVMF_METADATA_BOUNDS', 'the SEV metadata lies outside the image', { facts });
  const header = image.read(at, HEADER_BYTES);
  if (!equalBytes(header.subarray(0, 4), Buffer.from('ASEV')))
    throw formatError('OVMF_METADATA_SIGNATURE', 'the SEV metadata does not start with "ASEV"', { facts });
  if (readU32(header, 8) !== 1)
    throw formatError('OVMF_METADATA_VERSION', 'the SEV metadata has an unknown version', { facts });
  const count = readU32(header, 12);
  const room = Math.min(readU32(header, 4), distance) - HEADER_BYTES;
  if (count * DESCRIPTOR_BYTES > Math.max(room, 0))
    throw formatError('OVMF_METADATA_BOUNDS', 'the SEV metadata counts more sections than it holds', {
      facts,
    });
  const bytes = image.read(at + HEADER_BYTES, count * DESCRIPTOR_BYTES);
  return Array.from({ length: count }, (_, i) => ({
    gpa: readU32(bytes, DESCRIPTOR_BYTES * i),
    sizeBytes: readU32(bytes, DESCRIPTOR_BYTES * i + 4),
    type: readU32(bytes, DESCRIPTOR_BYTES * i + 8),
  }));
}

/** What that tool stops at, and a bound on the work: more pages than a guest of 4 GiB has. */
function checkSections(sections: readonly SevSection[], hasKernel: boolean): void {
  let totalBytes = 0;
  for (const { gpa, sizeBytes, type } of sections) {
    const facts: Fact[] = [
      ['type', sectionName(type)],
      ['gpa', `0x${gpa.toString(16)}`],
      ['size', `0x${sizeBytes.toString(16)}`],
    ];
    if (!Object.values(SECTION_TYPES).some((known) => known === type))
      throw formatError('OVMF_SECTION_TYPE', 'the SEV metadata has a section of unknown type', { facts });
    if (type === SECTION_TYPES.secrets || type === SECTION_TYPES.cpuid) continue;
    totalBytes += sizeBytes;
    const isHashes = type === SECTION_TYPES.kernelHashes && hasKernel;
    if (sizeBytes % PAGE_BYTES !== 0 || (isHashes && sizeBytes !== PAGE_BYTES))
      throw formatError('OVMF_SECTION_SIZE', 'a SEV metadata section has a size that cannot be measured', {
        facts,
      });
    if (totalBytes > FOUR_GIB)
      throw formatError('OVMF_SECTION_BOUNDS', 'the SEV metadata sections do not fit below 4 GiB', { facts });
  }
}

function missing(code: string, what: string): CvmError {
  return formatError(code, `the firmware has no ${what}`);
}
