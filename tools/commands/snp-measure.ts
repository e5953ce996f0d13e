import { bytesToHex } from '../bytes/hex.ts';
import { jsonText, showText } from '../bytes/text.ts';
import { CvmError } from '../errors.ts';
import { errorJson } from '../show-error.ts';
import { guestFeatureNames } from '../snp/guest-features.ts';
import { VERSION } from '../version.ts';
import type { Command, Io, OptionSpec, OptionValues } from './command.ts';
import { flagOption, textOption } from './options.ts';
import {
  CALL_OPTIONS,
  callSize,
  choice,
  expandFlags,
  PEER,
  readCall,
  requireOne,
  usage,
  type Mode,
  type SnpCall,
} from './snp-call.ts';
import { measureCall, type Measurement } from './snp-measurements.ts';
import { base64, hexValue, OUT_FILE_OPTION, writeText } from './snp-options.ts';
import { peerExitCode, showPeerError } from './snp-peer-errors.ts';

const PEER_VERSION = '0.0.13';

/** What `--verbose` calls the guest. */
const MODE_NAMES: Readonly<Record<Mode, string>> = {
  sev: 'SEV',
  seves: 'SEV_ES',
  snp: 'SEV_SNP',
  'snp:ovmf-hash': 'SEV_SNP',
  'snp:svsm': 'SEV_SNP_SVSM',
};

const FORMATS = ['hex', 'base64', 'table', 'measurements'] as const;
type Format = (typeof FORMATS)[number];

const OPTIONS: readonly OptionSpec[] = [
  ...CALL_OPTIONS,
  {
    flags: '--output-format <format>',
    description:
      'hex (the default for one digest), base64, table (the default for many), or measurements: launch-measurements.json',
    values: FORMATS,
  },
  OUT_FILE_OPTION,
  { flags: '--dump-vmsa', description: 'write vmsa0.bin, vmsa1.bin, … into the current directory' },
  { flags: '-v, --verbose', description: 'print a sentence instead of the digest alone' },
  {
    flags: '--compat <tool>',
    description: `${PEER}: measure what that tool does where this one refuses (firmware without metadata, no vCPUs, numbers that wrap)`,
  },
  { flags: '--version', description: 'print the version of the tool that this command stands in for' },
  { flags: '--json', description: 'print one JSON object, also for errors' },
];

export const command: Command = {
  summary: 'print the launch digest of a SEV, SEV-ES or SEV-SNP guest',
  description:
    'Prints the launch digest that the attestation report of a guest will hold. Flags, output and exit codes are ' +
    'those of sev-snp-measure 0.0.13: 0 good, 1 the files cannot be measured, 2 the call is wrong; flags may be abbreviated. ' +
    'Lists of vCPU counts, CPU types and command lines give every combination for little more than the price of one.',
  options: OPTIONS,
  expandWords: (words) => expandFlags(words, OPTIONS),

  async run(_args, options, io) {
    if (flagOption(options, 'version')) {
      io.out(`${PEER} ${PEER_VERSION}\n`);
      io.err(`cvm ${VERSION} stands in for it\n`);
      return 0;
    }
    try {
      const call = readCall(options);
      if (call.dumpVmsa) requireOne(call, '--dump-vmsa');
      const format = outputFormat(call, options);
      warn(call, io);
      const measurements = await measureCall(call, io);
      const text = flagOption(options, 'json')
        ? json(call, measurements)
        : await show(call, format, measurements, flagOption(options, 'verbose'));
      await writeText(options, io, text);
      return 0;
    } catch (error) {
      if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
      if (flagOption(options, 'json')) io.out(errorJson(error));
      const program = textOption(options, 'compat') === PEER ? PEER : 'cvm snp measure';
      io.err(showPeerError(error, textOption(options, 'mode'), program));
      return peerExitCode(error);
    }
  },
};

function outputFormat(call: SnpCall, options: OptionValues): Format {
  const given = textOption(options, 'outputFormat');
  const format = given === undefined ? undefined : choice(given, FORMATS, '--output-format');
  if (format === 'measurements' && call.mode !== 'snp')
    throw usage(`--output-format measurements has no meaning in guest mode '${call.mode}'`);
  return format ?? (callSize(call) === 1 ? 'hex' : 'table');
}

/** The digest is what the call asks for; a launch with these values fails or is none, so say so. */
function warn({ mode, guestFeatures, vmmType, kernel }: SnpCall, io: Io): void {
  if (mode !== 'snp') return;
  const reserved = guestFeatureNames(guestFeatures).filter((name) => name.includes('reserved'));
  if ((guestFeatures & 1n) === 0n)
    io.err('warning: guest features without bit 0 (SNPActive): no SNP guest starts\n');
  if (reserved.length > 0) io.err(`warning: guest features with ${reserved.join(', ')}\n`);
  if (kernel !== undefined && (vmmType === 'ec2' || vmmType === 'gce'))
    io.err(`warning: ${vmmType} starts no kernel directly: its guests have no kernel hashes\n`);
}

async function show(
  call: SnpCall,
  format: Format,
  measurements: readonly Measurement[],
  isVerbose: boolean,
): Promise<string> {
  switch (format) {
    case 'measurements': {
      // Start-up time is a feature: what reads JSON strictly is large, and one digest needs none of it.
      const { writeLaunchMeasurements } = await import('../guestos/measurements.ts');
      return writeLaunchMeasurements(
        measurements.map(({ digest, cpu, append }) => ({
          measurement: digest,
          kernelCmdline: append ?? null,
          vcpuType: cpu.type ?? null,
        })),
      );
    }
    case 'table':
      return table(measurements);
    case 'hex':
    case 'base64':
      return measurements.map(({ digest }) => `${line(call, format, digest, isVerbose)}\n`).join('');
  }
}

function line(call: SnpCall, format: 'hex' | 'base64', digest: Uint8Array, isVerbose: boolean): string {
  if (call.mode === 'snp:ovmf-hash') return bytesToHex(digest);
  const shown = format === 'hex' ? bytesToHex(digest) : base64(digest);
  return isVerbose ? `Calculated ${MODE_NAMES[call.mode]} guest measurement: ${shown}` : shown;
}

/** A line each: digest, vCPUs, CPU, command line as JSON text. */
function table(measurements: readonly Measurement[]): string {
  const rows = measurements.map(({ digest, vcpus, cpu, append }) => [
    bytesToHex(digest),
    `${vcpus}`,
    cpu.type ?? hexValue(cpu.sig),
    append === undefined ? '-' : showText(jsonText(append)),
  ]);
  const lines = [['measurement', 'vcpus', 'vcpu type', 'command line'], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...lines.map((row) => (row[column] as string).length)));
  return lines
    .map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`)
    .join('');
}

/** One digest stands alone; many stand in a list with what each was computed for. */
function json(call: SnpCall, measurements: readonly Measurement[]): string {
  const [one] = measurements;
  if (callSize(call) === 1 && one !== undefined)
    return `${jsonText({ ok: true, mode: call.mode, measurement: bytesToHex(one.digest) })}\n`;
  return `${jsonText({
    ok: true,
    mode: call.mode,
    measurements: measurements.map(({ digest, vcpus, cpu, append }) => ({
      measurement: bytesToHex(digest),
      vcpus,
      vcpuType: cpu.type ?? null,
      vcpuSig: hexValue(cpu.sig),
      cmdline: append ?? null,
    })),
  })}\n`;
}
