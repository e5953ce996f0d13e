import { DEFAULT_GUEST_FEATURES } from './guest-features.ts';
import type { Candidate, SearchFile, SearchFirmware, SearchSpace } from './search.ts';
import { VCPU_MODELS, vcpuTypeSignature } from './vcpu-types.ts';
import { VMM_TYPES, type VmmType } from './vmsa.ts';

/** Files that belong together: of one release, or of one call. */
export interface SearchFiles {
  readonly firmwares: readonly SearchFirmware[];
  readonly kernels: readonly SearchFile[];
  readonly initrds: readonly SearchFile[];
  /** Exact texts, those of both slots for one. */
  readonly cmdlines: readonly string[];
}

/** What the caller believes; each list may be left out. What is not in it is tried too, later. */
export interface SearchBeliefs {
  readonly vcpus?: readonly number[];
  /** QEMU model names. */
  readonly vcpuTypes?: readonly string[];
  readonly vcpuSigs?: readonly number[];
  readonly vmmTypes?: readonly VmmType[];
  readonly guestFeatures?: readonly bigint[];
  /** The largest count to try, {@link DEFAULT_MOST_VCPUS} when absent. */
  readonly mostVcpus?: number;
}

/** A count that every host can start; a search starts below it unless the caller believes in more. */
const USUAL_VCPUS = 64;
/** Two sockets of 128 cores with two threads each. */
export const DEFAULT_MOST_VCPUS = 512;

/** SEV_FEATURES that hosts are known to start guests with, and how usual they are. */
const GUEST_FEATURES: readonly Candidate<bigint>[] = [
  { value: DEFAULT_GUEST_FEATURES, surprise: 0 },
  // DebugSwap: on by default from Linux 6.6 until 6.8.
  { value: 0x21n, surprise: 1 },
  // SecureTSC, alone and with DebugSwap.
  { value: 0x201n, surprise: 2 },
  { value: 0x221n, surprise: 3 },
  // RestrictedInjection, BTBIsolation, SmtProtection, vTOM.
  { value: 0x9n, surprise: 3 },
  { value: 0x29n, surprise: 4 },
  { value: 0x81n, surprise: 3 },
  { value: 0xa1n, surprise: 4 },
  { value: 0x8001n, surprise: 3 },
  { value: 0x3n, surprise: 4 },
];

/** Signatures of processors that differ from their QEMU model's: what `-cpu host` gives. */
export const HOST_SIGNATURES: ReadonlyMap<number, string> = new Map([
  [0xa00f12, 'Milan-X'],
  [0xa10f11, 'Genoa'],
  [0xa10f12, 'Genoa-X'],
  [0xaa0f01, 'Bergamo'],
  [0xaa0f02, 'Bergamo, Siena'],
  [0xb00f20, 'Turin'],
  [0xb00f21, 'Turin'],
  [0xb10f10, 'Turin Dense'],
]);

/** What a guest has without `-cpu`: model qemu64. */
export const QEMU64_SIGNATURE = 0x60fb1;

/**
 * Everything that is known to go into launch digests in the field, ordered by how often it does. The first group of files is
 * the expected one; a file of another costs one surprise each, so that one stranger among files that belong together is
 * found before a whole other release.
 *
 * @throws CvmError usage VCPU_TYPE_UNKNOWN
 */
export function likelySearchSpace(groups: readonly SearchFiles[], beliefs: SearchBeliefs = {}): SearchSpace {
  const all = <T>(pick: (files: SearchFiles) => readonly T[]): Candidate<T>[] =>
    groups.flatMap((files, group) => pick(files).map((value) => ({ value, surprise: group === 0 ? 0 : 1 })));
  const kernels = all<SearchFile | undefined>((files) => files.kernels);
  const initrds = all<SearchFile | undefined>((files) => files.initrds);
  const cmdlines = all((files) => files.cmdlines);
  const believedSigs = [...(beliefs.vcpuSigs ?? []), ...(beliefs.vcpuTypes ?? []).map(vcpuTypeSignature)];
  const first = Math.max(...(beliefs.vcpus ?? [USUAL_VCPUS]));
  return {
    firmwares: all((files) => files.firmwares),
    // kernel-hashes=off, or a host that loads the kernel some other way.
    kernels: [...kernels, { value: undefined, surprise: kernels.length === 0 ? 0 : 2 }],
    initrds: [...initrds, { value: undefined, surprise: initrds.length === 0 ? 0 : 2 }],
    cmdlines: cmdlines.length === 0 ? [{ value: '', surprise: 0 }] : cmdlines.flatMap(cmdlineVariants),
    vmmTypes: believed(beliefs.vmmTypes ?? ['QEMU'], VMM_TYPES, 3),
    vcpuSigs: [
      ...believed(
        believedSigs,
        VCPU_MODELS.map(({ sig }) => sig),
        1,
      ),
      ...[...HOST_SIGNATURES.keys()].map((value) => ({ value, surprise: 2 })),
      { value: QEMU64_SIGNATURE, surprise: 3 },
    ],
    guestFeatures: [
      ...(beliefs.guestFeatures ?? []).map((value) => ({ value, surprise: 0 })),
      ...GUEST_FEATURES.map(({ value, surprise }) => ({
        value,
        surprise: surprise + (beliefs.guestFeatures === undefined ? 0 : 1),
      })),
    ],
    fpuStates: [
      { value: 'reset', surprise: 0 },
      { value: 'zero', surprise: 2 },
    ],
    rdxValues: [
      { value: undefined, surprise: 0 },
      { value: 0n, surprise: 2 },
    ],
    vcpuLimits: [...new Set([first, Math.max(first, beliefs.mostVcpus ?? DEFAULT_MOST_VCPUS)])],
  };
}

/** What the caller believes in, and after it what else there is; with no belief everything is alike. */
function believed<T>(beliefs: readonly T[], known: readonly T[], surprise: number): Candidate<T>[] {
  return [
    ...beliefs.map((value) => ({ value, surprise: 0 })),
    ...known.map((value) => ({ value, surprise: beliefs.length === 0 ? 0 : surprise })),
  ];
}

/** A command line as it was given, and as it looks when a tool on the way adds or drops blanks at its ends. */
function cmdlineVariants({ value, surprise }: Candidate<string>): Candidate<string>[] {
  return [
    { value, surprise },
    { value: value.trim(), surprise: surprise + 1 },
    { value: `${value}\n`, surprise: surprise + 2 },
    { value: `${value} `, surprise: surprise + 2 },
    { value: '', surprise: surprise + 3 },
  ];
}
