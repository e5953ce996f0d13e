import { equalBytes } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { CvmError, usageError } from '../errors.ts';
import { LaunchContext, LAUNCH_DIGEST_BYTES, VMSA_GPA, writePageInfo } from './gctx.ts';
import { cmdlineHash, initrdFileHash, kernelHashesPage } from './kernel-hashes.ts';
import { measureSection, requireKernelHashes, sectionOrder, type SnpConfiguration } from './launch-digest.ts';
import {
  requireHashTableBase,
  requireResetEip,
  requireSections,
  SECTION_TYPES,
  type Ovmf,
  type SevSection,
} from './ovmf.ts';
import { BSP_RESET_EIP, buildVmsa, type FpuState, type VmmType } from './vmsa.ts';

/** Something that may have been measured, and how unlikely it is: 0 is what everybody expects, larger comes later. */
export interface Candidate<T> {
  readonly value: T;
  /** A small whole number. A combination is as surprising as its parts together. */
  readonly surprise: number;
}

/** Firmware that was read and hashed: `prepareSnpLaunch` answers both parts. */
export interface SearchFirmware {
  readonly name: string;
  readonly ovmf: Ovmf;
  readonly firmwareDigest: Uint8Array;
}

export interface SearchFile {
  readonly name: string;
  readonly sha256: Uint8Array;
}

/** What a search combines. Every list needs at least one candidate; equal values count once. */
export interface SearchSpace {
  readonly firmwares: readonly Candidate<SearchFirmware>[];
  /** Undefined is a guest whose kernel is not measured: none given, or `kernel-hashes=off`. */
  readonly kernels: readonly Candidate<SearchFile | undefined>[];
  /** Undefined is no initrd. */
  readonly initrds: readonly Candidate<SearchFile | undefined>[];
  readonly cmdlines: readonly Candidate<string>[];
  readonly vmmTypes: readonly Candidate<VmmType>[];
  readonly vcpuSigs: readonly Candidate<number>[];
  readonly guestFeatures: readonly Candidate<bigint>[];
  readonly fpuStates: readonly Candidate<FpuState>[];
  /** RDX at reset; undefined is the VMM's usual value. */
  readonly rdxValues: readonly Candidate<bigint | undefined>[];
  /**
   * All counts from 1 are tried, in rounds that end here, ascending: [64, 512] tries every combination with up to 64 vCPUs
   * before any with 65.
   */
  readonly vcpuLimits: readonly number[];
}

/** The combination behind a digest. */
export interface SearchMatch {
  readonly expected: Uint8Array;
  readonly firmware: SearchFirmware;
  readonly kernel: SearchFile | undefined;
  readonly initrd: SearchFile | undefined;
  /** `append` is absent when no kernel is measured. */
  readonly configuration: SnpConfiguration;
  readonly surprise: number;
  /** Digests compared until this one, itself included. */
  readonly tried: number;
}

export interface SearchResult {
  /** In the order found: the least surprising first. */
  readonly matches: readonly SearchMatch[];
  /** Digests compared. */
  readonly tried: number;
  /** Whether everything was tried that could be, or all was found. False when `mostTries` ended the search. */
  readonly complete: boolean;
  /** Firmware that no kernel can be measured with, and why: it was tried without one. */
  readonly refused: readonly { readonly firmware: SearchFirmware; readonly error: CvmError }[];
}

export interface SearchLimits {
  /** Digests to compare at most; about a million a second. */
  readonly mostTries?: number;
  /** Matches to stop after; as many as there are expected digests when absent. */
  readonly mostMatches?: number;
}

export const DEFAULT_MOST_TRIES = 10_000_000;

/** Combinations of firmware and files that are held at once. */
const MOST_PREFIXES = 200_000;

/** Everything measured before the VMSA pages, hashed when it is first needed. */
interface Prefix {
  readonly surprise: number;
  readonly kernel: SearchFile | undefined;
  readonly initrd: SearchFile | undefined;
  readonly cmdline: string | undefined;
  digest(): Uint8Array;
}

/** The VMSA pages of one kind of vCPU: PAGE_INFO records with room for the digest before them. */
interface Vcpu {
  readonly surprise: number;
  readonly configuration: Omit<SnpConfiguration, 'vcpus' | 'append'>;
  readonly bspRecord: Uint8Array;
  readonly apRecord: Uint8Array;
}

/** One firmware under one VMM: its prefixes go with all its vCPUs. */
interface Family {
  readonly surprise: number;
  readonly firmware: SearchFirmware;
  readonly mostVcpus: number;
  readonly prefixes: readonly Prefix[];
  readonly vcpus: readonly Vcpu[];
}

/**
 * Finds which combination of candidates has one of the expected launch digests, the least surprising combinations first.
 * Whatever combinations share is hashed once: firmware pages, sections, each kernel-hashes page, each VMSA page; a chain of
 * n vCPUs gives the digests of all counts up to n.
 *
 * @param expected launch digests, 48 bytes each
 * @throws CvmError usage SEARCH_EXPECTED | SEARCH_EMPTY | SEARCH_SPACE; format OVMF_* when a firmware can start no SNP guest
 */
export function searchLaunch(
  space: SearchSpace,
  expected: readonly Uint8Array[],
  limits: SearchLimits = {},
): SearchResult {
  const wanted = wantedDigests(expected);
  checkSpace(space);
  const mostTries = limits.mostTries ?? DEFAULT_MOST_TRIES;
  const mostMatches = Math.min(limits.mostMatches ?? Infinity, wanted.size);
  const refused: { firmware: SearchFirmware; error: CvmError }[] = [];
  const families = space.firmwares.flatMap((firmware) => familiesOf(space, firmware, refused));
  const matches: SearchMatch[] = [];
  let tried = 0;

  const result = (complete: boolean): SearchResult => ({ matches, tried, complete, refused });
  for (const { family, prefix, vcpu, least, most } of combinations(space.vcpuLimits, families)) {
    let digest = prefix.digest();
    for (let count = 1; count <= most; count++) {
      const record = count === 1 ? vcpu.bspRecord : vcpu.apRecord;
      record.set(digest, 0);
      digest = digestBytes('sha384', record);
      if (count < least) continue;
      tried++;
      const known = wanted.get(digestKey(digest));
      if (known !== undefined && equalBytes(known, digest)) {
        wanted.delete(digestKey(digest));
        matches.push(matchOf(family, prefix, vcpu, count, known, tried));
        if (matches.length >= mostMatches) return result(true);
      }
      if (tried >= mostTries) return result(false);
    }
  }
  return result(true);
}

/** The first 48 bits: enough to miss nearly every time, and a whole number. */
function digestKey(digest: Uint8Array): number {
  let key = 0;
  for (let i = 0; i < 6; i++) key = key * 256 + (digest[i] as number);
  return key;
}

function wantedDigests(expected: readonly Uint8Array[]): Map<number, Uint8Array> {
  const wrong = expected.find((digest) => digest.length !== LAUNCH_DIGEST_BYTES);
  if (wrong !== undefined || expected.length === 0) {
    throw usageError('SEARCH_EXPECTED', 'a search needs expected launch digests of 48 bytes', {
      facts: [['found', wrong === undefined ? 'none' : `${wrong.length} bytes`]],
      mend: 'give MEASUREMENT as it stands in the attestation report, at offset 0x90',
    });
  }
  return new Map(expected.map((digest) => [digestKey(digest), digest]));
}

function checkSpace(space: SearchSpace): void {
  for (const [name, candidates] of Object.entries(space) as [keyof SearchSpace, readonly unknown[]][]) {
    if (candidates.length === 0) {
      throw usageError('SEARCH_EMPTY', 'a search needs at least one candidate of each kind', {
        facts: [['without candidates', name]],
      });
    }
  }
  const { firmwares, vmmTypes, kernels, initrds, cmdlines } = space;
  const prefixes = firmwares.length * vmmTypes.length * kernels.length * initrds.length * cmdlines.length;
  if (prefixes > MOST_PREFIXES) {
    throw usageError('SEARCH_SPACE', 'there are too many combinations of files and command lines', {
      facts: [
        ['found', prefixes],
        ['limit', MOST_PREFIXES],
      ],
      mend: 'give fewer kernels, initrds and command lines at once',
    });
  }
}

interface Combination {
  readonly family: Family;
  readonly prefix: Prefix;
  readonly vcpu: Vcpu;
  /** Counts to compare; smaller ones were compared in an earlier round. */
  readonly least: number;
  readonly most: number;
}

function* combinations(limits: readonly number[], families: readonly Family[]): Generator<Combination> {
  const largest = (items: readonly { surprise: number }[]): number =>
    items.reduce((most, { surprise }) => Math.max(most, surprise), 0);
  const mostSurprise = families.reduce(
    (most, family) => Math.max(most, family.surprise + largest(family.prefixes) + largest(family.vcpus)),
    0,
  );
  for (const [round, limit] of limits.entries()) {
    const least = (limits[round - 1] ?? 0) + 1;
    for (let surprise = 0; surprise <= mostSurprise; surprise++) {
      for (const family of families) {
        const most = Math.min(limit, family.mostVcpus);
        if (most < least) continue;
        for (const prefix of family.prefixes) {
          for (const vcpu of family.vcpus) {
            if (family.surprise + prefix.surprise + vcpu.surprise === surprise)
              yield { family, prefix, vcpu, least, most };
          }
        }
      }
    }
  }
}

function familiesOf(
  space: SearchSpace,
  { value: firmware, surprise }: Candidate<SearchFirmware>,
  refused: { firmware: SearchFirmware; error: CvmError }[],
): Family[] {
  const { ovmf } = firmware;
  const sections = requireSections(ovmf);
  const resetEip = requireResetEip(ovmf, 1);
  const kernelError = kernelRefusal(ovmf, sections);
  if (kernelError !== undefined && space.kernels.some(({ value }) => value !== undefined))
    refused.push({ firmware, error: kernelError });
  return distinct(space.vmmTypes, (vmm) => vmm).map((vmm) => ({
    surprise: surprise + vmm.surprise,
    firmware,
    // Without an address for further vCPUs there is one.
    mostVcpus: resetEip === 0 ? 1 : Infinity,
    prefixes: prefixesOf(space, firmware, sections, vmm.value, kernelError === undefined),
    vcpus: vcpusOf(space, vmm.value, resetEip),
  }));
}

/** Why this firmware takes no kernel, undefined when it does. */
function kernelRefusal(ovmf: Ovmf, sections: readonly SevSection[]): CvmError | undefined {
  try {
    requireKernelHashes(ovmf, sections);
    requireHashTableBase(ovmf);
    return undefined;
  } catch (error) {
    if (error instanceof CvmError && error.kind === 'format') return error;
    throw error;
  }
}

function prefixesOf(
  space: SearchSpace,
  { ovmf, firmwareDigest }: SearchFirmware,
  sections: readonly SevSection[],
  vmmType: VmmType,
  takesKernel: boolean,
): Prefix[] {
  const ordered = sectionOrder(sections, vmmType);
  const firstHashes = ordered.findIndex(({ type }) => type === SECTION_TYPES.kernelHashes);
  const split = firstHashes < 0 ? ordered.length : firstHashes;
  const measure = (context: LaunchContext, part: readonly SevSection[], page?: Uint8Array): LaunchContext => {
    for (const section of part) measureSection(context, section, vmmType, page);
    return context;
  };
  const shared = once(() => measure(new LaunchContext(firmwareDigest), ordered.slice(0, split)));
  const after = (page: Uint8Array | undefined): Uint8Array =>
    measure(shared().fork(), ordered.slice(split), page).digest;

  const initrds = distinct(space.initrds, (initrd) => bytesToHex(initrdHash(initrd)));
  const cmdlines = distinct(space.cmdlines, (cmdline) => cmdline).map((candidate) => ({
    ...candidate,
    hash: once(() => cmdlineHash(candidate.value)),
  }));
  const kernels = distinct(space.kernels, (kernel) =>
    kernel === undefined ? '' : bytesToHex(kernel.sha256),
  );
  // A firmware that takes no kernel starts guests all the same: nothing of the kernel enters their digest.
  const usable = takesKernel ? kernels : kernels.filter(({ value }) => value === undefined);
  const tried = usable.length > 0 ? usable : [{ value: undefined, surprise: 0 }];
  return tried.flatMap(({ value: kernel, surprise }): Prefix[] => {
    if (kernel === undefined) {
      const digest = once(() => after(undefined));
      return [{ surprise, kernel, initrd: undefined, cmdline: undefined, digest }];
    }
    return initrds.flatMap((initrd) =>
      cmdlines.map((cmdline): Prefix => {
        const page = (): Uint8Array =>
          kernelHashesPage(
            { kernel: kernel.sha256, initrd: initrdHash(initrd.value), cmdline: cmdline.hash() },
            requireHashTableBase(ovmf),
          );
        return {
          surprise: surprise + initrd.surprise + cmdline.surprise,
          kernel,
          initrd: initrd.value,
          cmdline: cmdline.value,
          digest: once(() => after(page())),
        };
      }),
    );
  });
}

function initrdHash(initrd: SearchFile | undefined): Uint8Array {
  return initrd?.sha256 ?? initrdFileHash(undefined);
}

function vcpusOf(space: SearchSpace, vmmType: VmmType, resetEip: number): Vcpu[] {
  const known = new Map<string, Vcpu>();
  for (const sig of space.vcpuSigs) {
    for (const features of space.guestFeatures) {
      for (const fpu of space.fpuStates) {
        for (const rdx of space.rdxValues) {
          const configuration = {
            vcpuSig: sig.value,
            guestFeatures: features.value,
            vmmType,
            ...(fpu.value === 'reset' ? {} : { fpu: fpu.value }),
            ...(rdx.value === undefined ? {} : { rdx: rdx.value }),
          };
          const surprise = sig.surprise + features.surprise + fpu.surprise + rdx.surprise;
          const bsp = vmsaHash(configuration, BSP_RESET_EIP);
          // EC2 and GCE know no signature, for one: what makes the same page is the same vCPU.
          const key = bytesToHex(bsp);
          const same = known.get(key);
          if (same !== undefined && same.surprise <= surprise) continue;
          const record = (contents: Uint8Array): Uint8Array =>
            writePageInfo(new Uint8Array(LAUNCH_DIGEST_BYTES), 'vmsa', VMSA_GPA, contents);
          const ap = vmsaHash(configuration, resetEip);
          known.set(key, { surprise, configuration, bspRecord: record(bsp), apRecord: record(ap) });
        }
      }
    }
  }
  return [...known.values()];
}

function vmsaHash(configuration: Vcpu['configuration'], eip: number): Uint8Array {
  return digestBytes('sha384', buildVmsa({ ...configuration, eip }));
}

/** The least surprising candidate of each value, the first of equals, in their order. */
function distinct<T>(candidates: readonly Candidate<T>[], key: (value: T) => string): Candidate<T>[] {
  const known = new Map<string, Candidate<T>>();
  for (const candidate of candidates) {
    const same = known.get(key(candidate.value));
    if (same === undefined || candidate.surprise < same.surprise) known.set(key(candidate.value), candidate);
  }
  return [...known.values()];
}

/** A value that is computed when it is first asked for. */
function once<T>(compute: () => T): () => T {
  let held: { readonly value: T } | undefined;
  return () => (held ??= { value: compute() }).value;
}

function matchOf(
  family: Family,
  prefix: Prefix,
  vcpu: Vcpu,
  vcpus: number,
  expected: Uint8Array,
  tried: number,
): SearchMatch {
  return {
    expected,
    firmware: family.firmware,
    kernel: prefix.kernel,
    initrd: prefix.initrd,
    configuration: {
      ...(prefix.cmdline === undefined ? {} : { append: prefix.cmdline }),
      vcpus,
      ...vcpu.configuration,
    },
    surprise: family.surprise + prefix.surprise + vcpu.surprise,
    tried,
  };
}
