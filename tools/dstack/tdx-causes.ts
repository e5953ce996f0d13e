import { equalBytes } from '../bytes/compare.ts';
import { CvmError } from '../errors.ts';
import { compareRegisters, type ComparedRegister } from '../tdx/compare.ts';
import type { TdxArtifacts, TdxGuest, TdxImage } from '../tdx/image.ts';
import { initrdEvent, loadOptionsEvent } from '../tdx/kernel-events.ts';
import type { TdxQuote } from '../tdx/quote.ts';
import { replay } from '../tdx/register.ts';
import { OVMF_VARIANTS, type OvmfVariant } from './ovmf-variant.ts';
import { tdxGuest } from './tdx-guest.ts';
import type { VmConfig } from './vm-config.ts';

/** One version of each way QEMU has done things. */
const QEMU_VERSIONS = ['8.2.2', '9.1.0', '9.2.1', '10.1.0', '10.2.0', '11.0.0', '11.1.0'] as const;
const MEMORY_SIZES = Array.from({ length: 11 }, (_, i) => 2 ** (30 + i));
const CPU_COUNTS = [...Array.from({ length: 32 }, (_, i) => i + 1), 40, 48, 56, 64, 72, 80, 96, 112, 128];

/** A change of the VM that would explain a quote. */
interface Candidate {
  readonly text: string;
  readonly config: VmConfig;
  readonly variant: OvmfVariant;
  readonly edit?: (guest: TdxGuest) => TdxGuest;
}

export interface Cause {
  /** `matches with qemu_version 8.2.2`. */
  readonly text: string;
  /** The registers that it explains. */
  readonly explains: readonly ComparedRegister[];
}

export interface CauseInput {
  readonly image: TdxImage;
  /** undefined where the files are not at hand. */
  readonly artifacts: TdxArtifacts | undefined;
  readonly quote: TdxQuote;
  readonly config: VmConfig;
  readonly variant: OvmfVariant;
  readonly kernelHeaderNormalized: boolean;
}

/**
 * Tries what has gone wrong in practice, in turn: another QEMU, another firmware layout, another shape, and both of the
 * first two together. A cause that explains all registers ends the search; else each register's first explanation stands.
 */
export function likelyCauses(input: CauseInput): Cause[] {
  const causes: Cause[] = [];
  const explained = new Set<ComparedRegister>();
  const before = wrongRegisters(input, { text: '', config: input.config, variant: input.variant });
  if (before === undefined) return [];
  for (const candidate of candidates(input)) {
    const after = wrongRegisters(input, candidate);
    if (after === undefined || after.some((register) => !before.includes(register))) continue;
    const explains = before.filter((register) => !after.includes(register));
    if (explains.length > 0 && after.length === 0) return [{ text: `matches ${candidate.text}`, explains }];
    if (explains.every((register) => explained.has(register))) continue;
    for (const register of explains) explained.add(register);
    const names = explains.map((register) => register.toUpperCase()).join(', ');
    causes.push({
      text: `${names} ${explains.length > 1 ? 'match' : 'matches'} ${candidate.text}`,
      explains,
    });
  }
  const cmdline = before.includes('rtmr2') ? commandLineCause(input) : undefined;
  return cmdline === undefined ? causes : [...causes, cmdline];
}

/** undefined when the VM cannot be; registers that cannot be predicted count as wrong. */
function wrongRegisters(
  input: CauseInput,
  { config, variant, edit }: Candidate,
): ComparedRegister[] | undefined {
  try {
    const guest = tdxGuest(config, variant, input.kernelHeaderNormalized);
    const measured = input.image.measure(edit === undefined ? guest : edit(guest));
    return compareRegisters(measured, input.quote)
      .filter(({ status }) => status !== 'match')
      .map(({ register }) => register);
  } catch (error) {
    if (error instanceof CvmError && error.kind !== 'bug') return undefined;
    throw error;
  }
}

function* candidates({ config, variant }: CauseInput): Generator<Candidate> {
  const withChange = (text: string, change: Partial<VmConfig>): Candidate => ({
    text: `with ${text}`,
    config: { ...config, ...change },
    variant,
  });
  /** Another host: what a VmConfig said of the old one does not hold. */
  const host = (version: string): Partial<VmConfig> => ({
    qemuVersion: version,
    pic: undefined,
    qemuSinglePassAddPages: undefined,
  });
  const otherVariants = OVMF_VARIANTS.filter((other) => other !== variant);
  for (const version of QEMU_VERSIONS) yield withChange(`qemu_version ${version}`, host(version));
  for (const other of otherVariants) yield { text: `as ${other}`, config, variant: other };
  for (const value of [true, false]) {
    yield withChange(`qemu_single_pass_add_pages ${value}`, { qemuSinglePassAddPages: value });
    yield withChange(`pic ${value}`, { pic: value });
    yield withChange(`hotplug_off ${value}`, { hotplugOff: value });
    yield withChange(`hugepages ${value}`, { hugepages: value });
  }
  // A volume looks like an interface: only the count of devices shows. The more usual one is tried first.
  for (const n of [0, 1, 2, 3, 4]) yield withChange(`num_nics ${n}`, { numNics: n });
  for (const n of [0, 1, 2, 3, 4]) yield withChange(`num_verity_volumes ${n}`, { numVerityVolumes: n });
  for (const bytes of MEMORY_SIZES) yield withChange(`memory_size ${bytes}`, { memorySize: bytes });
  for (const count of CPU_COUNTS) yield withChange(`cpu_count ${count}`, { cpuCount: count });
  for (const version of QEMU_VERSIONS) {
    for (const other of otherVariants) {
      yield {
        text: `with qemu_version ${version} as ${other}`,
        config: { ...config, ...host(version) },
        variant: other,
      };
    }
  }
  yield {
    text: 'with the empty variable store that dstack-mr assumes: the firmware in the bundle has another',
    config,
    variant,
    edit: (guest) => ({ ...guest, assumesEmptyCfv: true }),
  };
  yield {
    text: 'with the kernel as in the file: QEMU left its header alone',
    config,
    variant,
    edit: (guest) => ({ ...guest, patchesKernelHeader: false }),
  };
}

/** Command lines that were handed over in another form. */
function commandLineCause({ artifacts, quote }: CauseInput): Cause | undefined {
  if (artifacts === undefined) return undefined;
  const { cmdline, initrd } = artifacts;
  const initrdDigest = initrdEvent(initrd).digest;
  const forms: readonly (readonly [text: string, cmdline: string])[] = [
    ['without " initrd=initrd" on the command line', cmdline],
    ['with the command line trimmed', `${cmdline.trim()} initrd=initrd`],
    ['with an empty command line', ' initrd=initrd'],
  ];
  for (const [text, form] of forms) {
    const register = replay([loadOptionsEvent(form).digest, initrdDigest]);
    if (equalBytes(register, quote.rtmr2)) return { text: `RTMR2 matches ${text}`, explains: ['rtmr2'] };
  }
  return undefined;
}

/** Where to look when no candidate explains a register. */
export const REGISTER_HINTS: Readonly<Record<ComparedRegister, string>> = {
  mrtd: 'firmware, or the order in which QEMU adds pages (qemu_version)',
  rtmr0: 'shape of the VM (vCPUs, memory, devices), qemu_version, or firmware variant',
  rtmr1: 'kernel, size of the initrd, memory below 2816 MiB, or QEMU from 10.2 on',
  rtmr2: 'command line, initrd, or a development image in place of a production one',
};
