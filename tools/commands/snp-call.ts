import { hexToBytes } from '../bytes/hex.ts';
import { formatError, usageError, type CvmError } from '../errors.ts';
import { LAUNCH_DIGEST_BYTES } from '../snp/gctx.ts';
import { DEFAULT_GUEST_FEATURES } from '../snp/guest-features.ts';
import { checkVcpus } from '../snp/launch-digest.ts';
import { cpuSignature, vcpuTypeSignature } from '../snp/vcpu-types.ts';
import { FPU_STATES, VMM_TYPES, type FpuState, type VmmType } from '../snp/vmsa.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import { flagOption, parseIntegerLiteral, textOption, textsOption } from './options.ts';
import { parseCounts } from './snp-options.ts';

export const MODES = ['sev', 'seves', 'snp', 'snp:ovmf-hash', 'snp:svsm'] as const;
export type Mode = (typeof MODES)[number];

export const PEER = 'sev-snp-measure';

/** What says which guest is measured: the flags of sev-snp-measure 0.0.13, and what it has none for. */
export const CALL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--mode <mode>', description: MODES.join(', '), values: MODES },
  { flags: '--ovmf <path>', description: 'OVMF firmware to measure' },
  { flags: '--vcpus <n>', description: 'vCPUs present at launch; a list such as 1,2,4,8-64 measures each' },
  {
    flags: '--vcpu-type <name>',
    description: 'QEMU CPU model, such as EPYC-v4 or EPYC-Genoa; a comma-separated list measures each',
  },
  { flags: '--vcpu-sig <value>', description: 'CPUID Fn0000_0001 EAX instead of a model' },
  { flags: '--vcpu-family <n>', description: 'with --vcpu-model and --vcpu-stepping instead of a model' },
  { flags: '--vcpu-model <n>', description: 'CPU model number' },
  { flags: '--vcpu-stepping <n>', description: 'CPU stepping number' },
  { flags: '--vmm-type <type>', description: VMM_TYPES.join(', '), defaultValue: 'QEMU', values: VMM_TYPES },
  { flags: '--kernel <path>', description: 'kernel that the VMM loads' },
  { flags: '--initrd <path>', description: 'initrd that the VMM loads' },
  { flags: '--append <text>', description: 'kernel command line; several measure each', repeatable: true },
  {
    flags: '--guest-features <value>',
    description: 'SEV_FEATURES, 64 bits',
    defaultValue: `0x${DEFAULT_GUEST_FEATURES.toString(16)}`,
  },
  { flags: '--snp-ovmf-hash <hex>', description: 'digest after the firmware pages, instead of the pages' },
  { flags: '--svsm <path>', description: 'SVSM image (mode snp:svsm)' },
  { flags: '--vars-size <bytes>', description: 'size of the variable store (mode snp:svsm)' },
  { flags: '--vars-file <path>', description: 'variable store, of which the size counts (mode snp:svsm)' },
  {
    flags: '--vmsa-fpu <state>',
    description: 'reset: FPU registers as KVM_SEV_INIT2 sets them; zero: as older hosts leave them',
    defaultValue: 'reset',
  },
  { flags: '--vmsa-rdx <value>', description: "RDX at reset instead of the VMM's; EC2 once had 0" },
];

export interface Cpu {
  /** The model as it was named, undefined for a bare signature. */
  readonly type: string | undefined;
  /** 32 bits, unless the peer's behaviour was asked for. */
  readonly sig: bigint;
}

/** A call that was understood. Lists hold one item except where several were asked for. */
export interface SnpCall {
  readonly mode: Mode;
  readonly ovmf: string;
  readonly vcpus: readonly number[];
  readonly cpus: readonly Cpu[];
  readonly vmmType: VmmType;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly appends: readonly (string | undefined)[];
  readonly guestFeatures: bigint;
  readonly ovmfHash: Uint8Array | undefined;
  readonly svsm: string | undefined;
  readonly varsSize: number;
  readonly varsFile: string | undefined;
  readonly dumpVmsa: boolean;
  readonly vmsa: { readonly fpu?: FpuState; readonly rdx?: bigint };
  /** Measure what the peer would where this house refuses. */
  readonly compat: boolean;
}

const NO_CPU: Cpu = { type: undefined, sig: 0n };

/**
 * Reads a call and checks it in the peer's order, so that a call with two mistakes gets the same answer.
 * @throws CvmError usage SNP_MEASURE_USAGE, OPTION_NUMBER, OPTION_LIST, VCPU_TYPE_UNKNOWN, VCPU_COUNT; format OVMF_HASH_MODE and
 *   those of hex
 */
export function readCall(options: OptionValues): SnpCall {
  const compat = compatOption(options);
  const mode = choice(required(options, 'mode'), MODES, '--mode');
  const ovmf = required(options, 'ovmf');
  const path = (name: string): string | undefined => textOption(options, name) || undefined;
  const numbers = compat ? signed : decimal;
  const vcpusText = textOption(options, 'vcpus');
  const vcpus =
    vcpusText === undefined
      ? undefined
      : /^[\d,-]*[,-][\d,-]*$/.test(vcpusText) && !compat && !vcpusText.startsWith('-')
        ? parseCounts(vcpusText, '--vcpus')
        : [numbers(vcpusText, '--vcpus')];
  const cpus = readCpus(options, compat);
  const guestFeatures = integer(
    textOption(options, 'guestFeatures') ?? '0x1',
    '--guest-features',
    64,
    compat,
  );
  const varsSizeText = textOption(options, 'varsSize');
  const varsSize = varsSizeText === undefined ? 0 : numbers(varsSizeText, '--vars-size');
  const varsFile = path('varsFile');
  if (varsSizeText !== undefined && textOption(options, 'varsFile') !== undefined)
    throw usage('argument --vars-file: not allowed with argument --vars-size');
  const vmsa = vmsaOptions(options);
  const dumpVmsa = flagOption(options, 'dumpVmsa');
  const bare: SnpCall = {
    mode,
    ovmf,
    vcpus: vcpus ?? [1],
    cpus: cpus.length === 0 ? [NO_CPU] : cpus,
    vmmType: 'QEMU',
    kernel: undefined,
    initrd: undefined,
    appends: [undefined],
    guestFeatures,
    ovmfHash: undefined,
    svsm: path('svsm'),
    varsSize,
    varsFile,
    dumpVmsa: false,
    vmsa,
    compat,
  };
  // Looks at no other option: a script that keeps one list of flags for all modes may go on doing so.
  if (mode === 'snp:ovmf-hash') return bare;

  const kernel = path('kernel');
  const initrd = path('initrd');
  const appends = appendTexts(options, compat);
  const namesKernel = kernel !== undefined || (compat && textOption(options, 'kernel') !== undefined);
  if (!namesKernel && initrd !== undefined) throw usage('--kernel required when using --initrd');
  if (!namesKernel && appends.some((text) => text !== undefined))
    throw usage('--kernel required when using --append');
  if (mode !== 'sev' && vcpus === undefined) throw usage(`missing --vcpus N in guest mode '${mode}'`);
  const vmm = textOption(options, 'vmmType') ?? 'QEMU';
  const vmmType = VMM_TYPES.find((known) => known === vmm);
  if (vmmType === undefined) throw usage(`unknown VMM type '${vmm}'`);
  if (mode !== 'sev' && vmmType === 'QEMU' && cpus.length === 0)
    throw usage(`missing --vcpu-type or --vcpu-sig or --vcpu-family in guest mode '${mode}'`);
  if (mode === 'snp:svsm') {
    if (vmmType !== 'QEMU') throw usage(`VMM type '${vmm}' has no mode 'snp:svsm'`);
    if (varsSize === 0 && varsFile === undefined)
      throw usage('snp:svsm mode requires --vars-size or --vars-file');
    if (bare.svsm === undefined) throw usage('snp:svsm mode requires --svsm');
  }
  if (dumpVmsa && mode === 'sev') throw usage('--dump-vmsa is not available in the selected mode');
  if (!compat && mode !== 'sev') for (const count of bare.vcpus) checkVcpus(count);

  const hashText = path('snpOvmfHash');
  if (hashText !== undefined && mode !== 'snp') {
    throw formatError('OVMF_HASH_MODE', `--snp-ovmf-hash has no meaning in guest mode '${mode}'`, {
      mend: 'use it with --mode snp, or leave it out',
    });
  }
  return {
    ...bare,
    vmmType,
    kernel,
    initrd,
    appends,
    dumpVmsa,
    ovmfHash:
      hashText === undefined
        ? undefined
        : hexToBytes(compat ? withoutSpaces(hashText) : hashText, '--snp-ovmf-hash', LAUNCH_DIGEST_BYTES),
  };
}

/** Hex text as Python's bytes.fromhex() takes it: white space around each byte. */
function withoutSpaces(text: string): string {
  return text.replace(/\s*([0-9a-f]{2})\s*/gi, '$1');
}

/** How many measurements a call asks for. */
export function callSize({ vcpus, cpus, appends }: SnpCall): number {
  return vcpus.length * cpus.length * appends.length;
}

/** The one measurement that a command can do with. @throws CvmError usage SNP_MEASURE_USAGE */
export function requireOne(call: SnpCall, what: string): void {
  if (callSize(call) !== 1) throw usage(`${what} needs one vCPU count, one CPU type and one command line`);
}

/**
 * The words that are left when the peer's flags are read as argparse reads them: abbreviations in full, a switch that is
 * given again once, and with `--compat` the last of several values. The house refuses several values.
 */
export function expandFlags(words: readonly string[], options: readonly OptionSpec[]): string[] {
  const flags = options.map(({ flags: text }) => ({
    name: /--[a-z-]+/.exec(text)?.[0] ?? '',
    takesValue: text.includes('<'),
  }));
  const peers = flags.filter(({ name }) => !/^--(vmsa-|compat$|json$|out-file$)/.test(name));
  const given: { words: string[]; name?: string; isSwitch?: boolean }[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === '--') {
      given.push({ words: words.slice(at) });
      break;
    }
    const [name, value] = splitAt(/^-v+$/.test(word) ? '--verbose' : word, word.indexOf('='));
    const near = peers.filter((flag) => name.startsWith('--') && flag.name.startsWith(name));
    const found = flags.find((flag) => flag.name === name) ?? (near.length === 1 ? near[0] : undefined);
    if (found === undefined) {
      given.push({ words: [word] });
      continue;
    }
    const full = `${found.name}${value ?? ''}`;
    const next = found.takesValue && value === undefined ? words.slice(at + 1, at + 2) : [];
    at += next.length;
    given.push({ words: [full, ...next], name: found.name, isSwitch: !found.takesValue });
  }
  const isCompat = given.some(({ name }) => name === '--compat');
  return given
    .filter(({ name, isSwitch }, at) => {
      if (name === undefined || (isSwitch !== true && !isCompat)) return true;
      return !given.slice(at + 1).some((later) => later.name === name);
    })
    .flatMap((group) => group.words);
}

function splitAt(text: string, at: number): [string, string?] {
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at)];
}

function compatOption(options: OptionValues): boolean {
  const value = textOption(options, 'compat');
  if (value !== undefined) choice(value, [PEER] as const, '--compat');
  return value !== undefined;
}

/** An empty text counts as absent. The peer knows one command line: the last. */
function appendTexts(options: OptionValues, compat: boolean): (string | undefined)[] {
  const given = textsOption(options, 'append').map((text) => text || undefined);
  const texts = compat ? given.slice(-1) : given;
  const again = texts.find((text, i) => texts.indexOf(text) !== i);
  if (again !== undefined) throw usage('--append is given twice with the same text');
  return texts.length === 0 ? [undefined] : texts;
}

/** Family, model and stepping win over a signature, a signature over model names. */
function readCpus(options: OptionValues, compat: boolean): Cpu[] {
  const numbers = compat ? signed : decimal;
  const part = (name: string, flag: string, most: number): number | undefined => {
    const value = textOption(options, name);
    return value === undefined ? undefined : numbers(value, flag, most);
  };
  const sigText = textOption(options, 'vcpuSig');
  const sig = sigText === undefined ? undefined : integer(sigText, '--vcpu-sig', 32, compat);
  const names = textOption(options, 'vcpuType')?.split(compat ? '\0' : ',') ?? [];
  const types = names.map((type) => ({ type, sig: BigInt(vcpuTypeSignature(type)) }));
  if (new Set(names).size !== names.length) throw usage('--vcpu-type names a model twice');
  const family = part('vcpuFamily', '--vcpu-family', 0xff + 15);
  const model = part('vcpuModel', '--vcpu-model', 0xff);
  const stepping = part('vcpuStepping', '--vcpu-stepping', 0xf);
  if (family !== undefined || (!compat && (model !== undefined || stepping !== undefined))) {
    if (family === undefined || model === undefined || stepping === undefined)
      throw usage('--vcpu-family, --vcpu-model and --vcpu-stepping belong together');
    // The peer shifts a negative family as it is.
    const wide = family < 0 ? (BigInt(family) * 256n) | BigInt(cpuSignature(0, model, stepping)) : undefined;
    return [{ type: undefined, sig: wide ?? BigInt(cpuSignature(family, model, stepping)) }];
  }
  return sig === undefined ? types : [{ type: undefined, sig }];
}

/** What the peer has no flag for. */
function vmsaOptions(options: OptionValues): SnpCall['vmsa'] {
  const fpu = choice(textOption(options, 'vmsaFpu') ?? 'reset', FPU_STATES, '--vmsa-fpu');
  const rdx = textOption(options, 'vmsaRdx');
  return {
    ...(fpu === 'reset' ? {} : { fpu }),
    ...(rdx === undefined ? {} : { rdx: parseIntegerLiteral(rdx, '--vmsa-rdx', 64) }),
  };
}

function required(options: OptionValues, name: string): string {
  const value = textOption(options, name);
  if (value !== undefined && value !== '') return value;
  throw usage(`the following arguments are required: --${name}`);
}

export function choice<T extends string>(value: string, known: readonly T[], flag: string): T {
  const found = known.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  const list = known.map((candidate) => `'${candidate}'`).join(', ');
  throw usage(`argument ${flag}: invalid choice: '${value}' (choose from ${list})`);
}

/** Decimal, leading zeros allowed, as Python's int() takes it. */
function decimal(value: string, flag: string, most = Number.MAX_SAFE_INTEGER): number {
  const number = pythonInt(value);
  if (number >= 0 && number <= most) return number;
  if (number < 0) throw usage(`argument ${flag}: ${number} is negative`);
  if (number > most) throw usage(`argument ${flag}: ${number} is above ${most}`);
  throw usage(`argument ${flag}: invalid int value: '${value}'`);
}

/** The same with a sign and without a bound. */
function signed(value: string, flag: string): number {
  const number = pythonInt(value);
  if (Number.isSafeInteger(number)) return number;
  throw usage(`argument ${flag}: invalid int value: '${value}'`);
}

function pythonInt(value: string): number {
  const match = /^\s*([+-]?)([0-9](?:_?[0-9]){0,15})\s*$/.exec(value);
  if (match === null) return Number.NaN;
  const number = Number((match[2] ?? '').replaceAll('_', ''));
  return Number.isSafeInteger(number) ? number * (match[1] === '-' ? -1 : 1) : Number.NaN;
}

/** An integer literal; the peer takes any size and sign, of which the low 64 bits end up in the page. */
function integer(value: string, flag: string, bits: number, compat: boolean): bigint {
  if (!compat) return parseIntegerLiteral(value, flag, bits);
  const isNegative = value.trim().startsWith('-');
  const magnitude = parseIntegerLiteral(isNegative ? value.trim().slice(1) : value, flag, 400);
  return BigInt.asUintN(64, isNegative ? -magnitude : magnitude);
}

export function usage(message: string): CvmError {
  return usageError('SNP_MEASURE_USAGE', message, { mend: '--help lists all flags' });
}
