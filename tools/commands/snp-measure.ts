import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { showText, jsonText } from '../bytes/text.ts';
import { CvmError, formatError, usageError } from '../errors.ts';
import { errorJson } from '../show-error.ts';
import { LAUNCH_DIGEST_BYTES } from '../snp/gctx.ts';
import { DEFAULT_GUEST_FEATURES, guestFeatureNames } from '../snp/guest-features.ts';
import { checkVcpus, snpFirmwareDigest, snpLaunchDigest } from '../snp/launch-digest.ts';
import { sevEsLaunchDigest, sevLaunchDigest } from '../snp/legacy-digest.ts';
import { parseOvmf, requireResetEip } from '../snp/ovmf.ts';
import { svsmEntryGpa, svsmLaunchDigest } from '../snp/svsm-digest.ts';
import { cpuSignature, VCPU_TYPES, vcpuTypeSignature } from '../snp/vcpu-types.ts';
import {
  BSP_RESET_EIP,
  buildSvsmVmsa,
  buildVmsa,
  FPU_STATES,
  VMM_TYPES,
  type FpuState,
  type VmmType,
} from '../snp/vmsa.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, resolvePath, writeFileWhole, type OpenFile } from './files.ts';
import { flagOption, parseIntegerLiteral, textOption } from './options.ts';

const MODES = ['sev', 'seves', 'snp', 'snp:ovmf-hash', 'snp:svsm'] as const;
type Mode = (typeof MODES)[number];

/** What `--verbose` calls the guest. */
const MODE_NAMES: Readonly<Record<Mode, string>> = {
  sev: 'SEV',
  seves: 'SEV_ES',
  snp: 'SEV_SNP',
  'snp:ovmf-hash': 'SEV_SNP',
  'snp:svsm': 'SEV_SNP_SVSM',
};

/**
 * First lines of errors as sev-snp-measure 0.0.13 prints them, for scripts that look for them. Where it stops with a
 * traceback, the house's own words stand.
 */
const PEER_TEXTS: Readonly<Record<string, string>> = {
  OVMF_NO_KERNEL_HASHES: "Kernel specified but OVMF metadata doesn't include SNP_KERNEL_HASHES section",
  OVMF_NO_RESET_BLOCK: "Can't find SEV_ES_RESET_BLOCK_GUID entry in OVMF table",
  OVMF_NO_SVSM_INFO: "Can't find SVSM_INFO_GUID entry in SVSM table",
  OVMF_ENTRY_SIZE: 'Invalid entry size',
  OVMF_METADATA_SIGNATURE: 'Wrong SEV metadata signature',
  OVMF_METADATA_VERSION: 'Wrong SEV metadata version',
};

const NO_HASH_TABLE_SNP = "Can't find SEV_HASH_TABLE_RV_GUID entry in OVMF table";
const NO_HASH_TABLE_SEV = "Kernel specified but OVMF doesn't support kernel/initrd/cmdline measurement";

const VCPU_SIG_BITS = 32;

interface Call {
  readonly mode: Mode;
  readonly ovmf: string;
  readonly vcpus: number;
  readonly vcpuSig: number;
  readonly vmmType: VmmType;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly guestFeatures: bigint;
  readonly ovmfHash: Uint8Array | undefined;
  readonly svsm: string | undefined;
  readonly varsSize: number;
  readonly varsFile: string | undefined;
  readonly dumpVmsa: boolean;
  readonly vmsa: { readonly fpu?: FpuState; readonly rdx?: bigint };
}

export const command: Command = {
  summary: 'print the launch digest of a SEV, SEV-ES or SEV-SNP guest',
  description:
    'Prints the launch digest that the attestation report of a guest will hold. Flags, output and exit codes are ' +
    'those of sev-snp-measure 0.0.13: 0 good, 1 the files cannot be measured, 2 the call is wrong.',
  options: [
    { flags: '--mode <mode>', description: MODES.join(', ') },
    { flags: '--ovmf <path>', description: 'OVMF firmware to measure' },
    { flags: '--vcpus <n>', description: 'vCPUs present at launch' },
    { flags: '--vcpu-type <name>', description: 'QEMU CPU model, such as EPYC-v4 or EPYC-Genoa' },
    { flags: '--vcpu-sig <value>', description: 'CPUID Fn0000_0001 EAX instead of a model' },
    { flags: '--vcpu-family <n>', description: 'with --vcpu-model and --vcpu-stepping instead of a model' },
    { flags: '--vcpu-model <n>', description: 'CPU model number' },
    { flags: '--vcpu-stepping <n>', description: 'CPU stepping number' },
    { flags: '--vmm-type <type>', description: VMM_TYPES.join(', '), defaultValue: 'QEMU' },
    { flags: '--kernel <path>', description: 'kernel that the VMM loads' },
    { flags: '--initrd <path>', description: 'initrd that the VMM loads' },
    { flags: '--append <text>', description: 'kernel command line' },
    {
      flags: '--guest-features <value>',
      description: 'SEV_FEATURES, 64 bits',
      defaultValue: `0x${DEFAULT_GUEST_FEATURES.toString(16)}`,
    },
    { flags: '--output-format <format>', description: 'hex or base64', defaultValue: 'hex' },
    { flags: '--snp-ovmf-hash <hex>', description: 'digest after the firmware pages, instead of the pages' },
    { flags: '--svsm <path>', description: 'SVSM image (mode snp:svsm)' },
    { flags: '--vars-size <bytes>', description: 'size of the variable store (mode snp:svsm)' },
    { flags: '--vars-file <path>', description: 'variable store, of which the size counts (mode snp:svsm)' },
    { flags: '--dump-vmsa', description: 'write vmsa0.bin, vmsa1.bin, … into the current directory' },
    {
      flags: '--vmsa-fpu <state>',
      description: 'reset: FPU registers as KVM_SEV_INIT2 sets them; zero: as older hosts leave them',
      defaultValue: 'reset',
    },
    { flags: '--vmsa-rdx <value>', description: "RDX at reset instead of the VMM's; EC2 once had 0" },
    { flags: '-v, --verbose', description: 'print a sentence instead of the digest alone' },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],

  async run(_args, options, io) {
    try {
      const call = readCall(options);
      const digest = await measure(call, io);
      io.out(flagOption(options, 'json') ? json(call, digest) : text(call, options, digest));
      return 0;
    } catch (error) {
      if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
      if (flagOption(options, 'json')) io.out(errorJson(error));
      return report(error, textOption(options, 'mode'), io);
    }
  },
};

function readCall(options: OptionValues): Call {
  const mode = choice(required(options, 'mode'), MODES, '--mode');
  const ovmf = required(options, 'ovmf');
  // An empty text counts as absent throughout.
  const path = (name: string): string | undefined => textOption(options, name) || undefined;
  const kernel = path('kernel');
  const initrd = path('initrd');
  const append = path('append');
  if (kernel === undefined && initrd !== undefined) throw usage('--kernel required when using --initrd');
  if (kernel === undefined && append !== undefined) throw usage('--kernel required when using --append');

  // In the peer's order, so that a call with two mistakes gets the same answer.
  const hasVcpus = mode !== 'sev' && mode !== 'snp:ovmf-hash';
  const vcpusText = textOption(options, 'vcpus');
  if (hasVcpus && vcpusText === undefined) throw usage(`missing --vcpus N in guest mode '${mode}'`);
  const vmm = textOption(options, 'vmmType') ?? 'QEMU';
  const vmmType = VMM_TYPES.find((known) => known === vmm);
  if (vmmType === undefined) throw usage(`unknown VMM type '${vmm}'`);
  const vcpuSig = signature(options);
  if (hasVcpus && vmmType === 'QEMU' && vcpuSig === undefined) {
    throw usage(`missing --vcpu-type or --vcpu-sig or --vcpu-family in guest mode '${mode}'`);
  }
  if (mode === 'snp:svsm' && vmmType !== 'QEMU') throw usage(`VMM type '${vmm}' has no mode 'snp:svsm'`);
  const dumpVmsa = flagOption(options, 'dumpVmsa');
  if (dumpVmsa && !hasVcpus) throw usage('--dump-vmsa is not available in the selected mode');
  const vcpus = vcpusText === undefined ? 1 : decimal(vcpusText, '--vcpus');
  if (hasVcpus) checkVcpus(vcpus);
  outputFormat(options);

  const hashText = path('snpOvmfHash');
  if (hashText !== undefined && mode !== 'snp') {
    throw formatError('OVMF_HASH_MODE', `--snp-ovmf-hash has no meaning in guest mode '${mode}'`, {
      mend: 'use it with --mode snp, or leave it out',
    });
  }

  const svsm = path('svsm');
  const varsFile = path('varsFile');
  const varsSizeText = textOption(options, 'varsSize');
  const varsSize = varsSizeText === undefined ? 0 : decimal(varsSizeText, '--vars-size');
  if (varsSizeText !== undefined && varsFile !== undefined) {
    throw usage('argument --vars-file: not allowed with argument --vars-size');
  }
  if (mode === 'snp:svsm') {
    if (svsm === undefined) throw usage('snp:svsm mode requires --svsm');
    if (varsSize === 0 && varsFile === undefined) {
      throw usage('snp:svsm mode requires --vars-size or --vars-file');
    }
  }
  return {
    mode,
    ovmf,
    vcpus,
    vcpuSig: vcpuSig ?? 0,
    vmmType,
    kernel,
    initrd,
    append,
    guestFeatures: parseIntegerLiteral(
      textOption(options, 'guestFeatures') ?? DEFAULT_GUEST_FEATURES.toString(),
      '--guest-features',
      64,
    ),
    ovmfHash:
      hashText === undefined ? undefined : hexToBytes(hashText, '--snp-ovmf-hash', LAUNCH_DIGEST_BYTES),
    svsm,
    varsSize,
    varsFile,
    dumpVmsa,
    vmsa: vmsaOptions(options),
  };
}

/** What the peer has no flag for. */
function vmsaOptions(options: OptionValues): Call['vmsa'] {
  const fpu = choice(textOption(options, 'vmsaFpu') ?? 'reset', FPU_STATES, '--vmsa-fpu');
  const rdx = textOption(options, 'vmsaRdx');
  return {
    ...(fpu === 'reset' ? {} : { fpu }),
    ...(rdx === undefined ? {} : { rdx: parseIntegerLiteral(rdx, '--vmsa-rdx', 64) }),
  };
}

/** Family, model and stepping win over a signature, a signature over a model name. */
function signature(options: OptionValues): number | undefined {
  const family = textOption(options, 'vcpuFamily');
  const model = textOption(options, 'vcpuModel');
  const stepping = textOption(options, 'vcpuStepping');
  const sig = textOption(options, 'vcpuSig');
  const type = textOption(options, 'vcpuType');
  if (type !== undefined && !VCPU_TYPES.includes(type)) vcpuTypeSignature(type);
  if (family !== undefined || model !== undefined || stepping !== undefined) {
    if (family === undefined || model === undefined || stepping === undefined) {
      throw usage('--vcpu-family, --vcpu-model and --vcpu-stepping belong together');
    }
    return cpuSignature(
      decimal(family, '--vcpu-family', 0xff + 15),
      decimal(model, '--vcpu-model', 0xff),
      decimal(stepping, '--vcpu-stepping', 0xf),
    );
  }
  if (sig !== undefined) return Number(parseIntegerLiteral(sig, '--vcpu-sig', VCPU_SIG_BITS));
  return type === undefined ? undefined : vcpuTypeSignature(type);
}

async function measure(call: Call, io: Io): Promise<Uint8Array> {
  const opened: OpenFile[] = [];
  const open = (path: string): ByteSource => {
    const file = openFile(resolvePath(io, path));
    opened.push(file);
    return file;
  };
  try {
    return await measureFiles(call, open, io);
  } finally {
    for (const file of opened) file.close();
  }
}

async function measureFiles(call: Call, open: (path: string) => ByteSource, io: Io): Promise<Uint8Array> {
  const firmware = open(call.ovmf);
  const files = {
    firmware,
    ...(call.kernel === undefined ? {} : { kernel: open(call.kernel) }),
    ...(call.initrd === undefined ? {} : { initrd: open(call.initrd) }),
  };
  const append = call.append === undefined ? {} : { append: call.append };
  const { vcpus, vcpuSig, vmmType, guestFeatures } = call;
  switch (call.mode) {
    case 'sev':
      return sevLaunchDigest({ ...files, ...append });
    case 'seves': {
      const digest = sevEsLaunchDigest({ ...files, ...append, vcpus, vcpuSig, vmmType, ...call.vmsa });
      if (call.dumpVmsa) await dumpVmsas(call, firmware, 0n, io);
      return digest;
    }
    case 'snp:ovmf-hash':
      return snpFirmwareDigest(firmware);
    case 'snp': {
      warnOfFeatures(guestFeatures, io);
      const ovmfHash = call.ovmfHash === undefined ? {} : { ovmfHash: call.ovmfHash };
      const digest = snpLaunchDigest({
        ...files,
        ...append,
        ...ovmfHash,
        vcpus,
        vcpuSig,
        vmmType,
        guestFeatures,
        ...call.vmsa,
      });
      if (call.dumpVmsa) await dumpVmsas(call, firmware, guestFeatures, io);
      return digest;
    }
    case 'snp:svsm': {
      const varsSizeBytes = call.varsFile === undefined ? call.varsSize : open(call.varsFile).sizeBytes;
      const input = { firmware, svsm: open(call.svsm ?? ''), varsSizeBytes, vcpus, vcpuSig };
      const digest = svsmLaunchDigest(input);
      if (call.dumpVmsa) await writeVmsas(vcpus, () => buildSvsmVmsa(svsmEntryGpa(input), vcpuSig), io);
      return digest;
    }
  }
}

async function dumpVmsas(call: Call, firmware: ByteSource, guestFeatures: bigint, io: Io): Promise<void> {
  const resetEip = requireResetEip(parseOvmf(firmware), call.vcpus);
  const { vmmType, vcpuSig } = call;
  await writeVmsas(
    call.vcpus,
    (vcpu) =>
      buildVmsa({
        ...call.vmsa,
        vmmType,
        vcpuSig,
        guestFeatures,
        eip: vcpu === 0 ? BSP_RESET_EIP : resetEip,
      }),
    io,
  );
}

async function writeVmsas(vcpus: number, page: (vcpu: number) => Uint8Array, io: Io): Promise<void> {
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    await writeFileWhole(resolvePath(io, `vmsa${vcpu}.bin`), [page(vcpu)]);
  }
}

/** The digest is what the call asks for; a launch with these features fails, so say so. */
function warnOfFeatures(features: bigint, io: Io): void {
  const reserved = guestFeatureNames(features).filter((name) => name.includes('reserved'));
  if ((features & 1n) === 0n)
    io.err('warning: guest features without bit 0 (SNPActive): no SNP guest starts\n');
  if (reserved.length > 0) io.err(`warning: guest features with ${reserved.join(', ')}\n`);
}

function outputFormat(options: OptionValues): 'hex' | 'base64' {
  return choice(textOption(options, 'outputFormat') ?? 'hex', ['hex', 'base64'] as const, '--output-format');
}

function text(call: Call, options: OptionValues, digest: Uint8Array): string {
  if (call.mode === 'snp:ovmf-hash') return `${bytesToHex(digest)}\n`;
  const shown = outputFormat(options) === 'hex' ? bytesToHex(digest) : Buffer.from(digest).toString('base64');
  if (!flagOption(options, 'verbose')) return `${shown}\n`;
  return `Calculated ${MODE_NAMES[call.mode]} guest measurement: ${shown}\n`;
}

function json(call: Call, digest: Uint8Array): string {
  return `${jsonText({ ok: true, mode: call.mode, measurement: bytesToHex(digest) })}\n`;
}

/** Prints an error as the peer would begin it, with the house's facts below, and answers the peer's exit code. */
function report(error: CvmError, mode: string | undefined, io: Io): number {
  const isCallError = error.kind === 'usage' && !error.code.startsWith('FILE_');
  const peerText =
    error.code === 'OVMF_NO_HASH_TABLE'
      ? mode === 'snp'
        ? NO_HASH_TABLE_SNP
        : NO_HASH_TABLE_SEV
      : PEER_TEXTS[error.code];
  const lead = isCallError ? 'cvm snp measure: error: ' : 'Error: ';
  const rows: (readonly [string, string])[] = [
    ['code', error.code],
    ...(peerText === undefined ? [] : [['meaning', error.message] as const]),
    ...error.facts.map(([name, value]) => [name, String(value)] as const),
    ...(error.nearest === undefined ? [] : [['nearest', error.nearest] as const]),
    ...(error.mend === undefined ? [] : [['mend', error.mend] as const]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  io.err(`${lead}${showText(peerText ?? error.message)}\n`);
  for (const [name, value] of rows) io.err(`  ${showText(name).padEnd(width)}  ${showText(value)}\n`);
  return isCallError ? 2 : 1;
}

function required(options: OptionValues, name: string): string {
  const value = textOption(options, name);
  if (value !== undefined && value !== '') return value;
  throw usage(`the following arguments are required: --${name}`);
}

function choice<T extends string>(value: string, known: readonly T[], flag: string): T {
  const found = known.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  const list = known.map((candidate) => `'${candidate}'`).join(', ');
  throw usage(`argument ${flag}: invalid choice: '${value}' (choose from ${list})`);
}

/** Decimal, leading zeros allowed, as Python's int() takes it. */
function decimal(value: string, flag: string, max = Number.MAX_SAFE_INTEGER): number {
  const number = /^\s*\+?[0-9](_?[0-9]){0,15}\s*$/.test(value)
    ? Number(value.replaceAll('_', ''))
    : Number.NaN;
  if (Number.isSafeInteger(number) && number <= max) return number;
  throw usage(`argument ${flag}: invalid int value: '${value}'`);
}

function usage(message: string): CvmError {
  return usageError('SNP_MEASURE_USAGE', message, { mend: 'run cvm snp measure --help' });
}
