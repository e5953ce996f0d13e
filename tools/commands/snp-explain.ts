import { bytesToHex } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { jsonText, showText, utf8FromBytes } from '../bytes/text.ts';
import { mismatchError } from '../errors.ts';
import { firstDifference } from '../snp/explanation-diff.ts';
import {
  explainedLegacySteps,
  explainedSnpSteps,
  readExplanation,
  type ExplainedStep,
  type Explanation,
  type StepFields,
} from '../snp/explanation.ts';
import { cmdlineHash, initrdFileHash, kernelFileHash } from '../snp/kernel-hashes.ts';
import { prepareSnpLaunch } from '../snp/launch-digest.ts';
import { explainLegacyLaunch } from '../snp/legacy-digest.ts';
import { parseOvmf, requireResetEip } from '../snp/ovmf.ts';
import { explainSvsmLaunch, svsmEntryGpa } from '../snp/svsm-digest.ts';
import { vmsaFields } from '../snp/vmsa-fields.ts';
import { BSP_RESET_EIP, buildSvsmVmsa, buildVmsa } from '../snp/vmsa.ts';
import type { Command } from './command.ts';
import { flagOption, textOption } from './options.ts';
import { CALL_OPTIONS, readCall, requireOne, usage, type SnpCall } from './snp-call.ts';
import { openKernel, svsmInput, withFiles } from './snp-measurements.ts';
import { hexValue, OUT_FILE_OPTION, readSmall, writeText } from './snp-options.ts';

type Open = (path: string) => ByteSource;

export const command: Command = {
  summary: 'show a launch digest step by step, or where two launches part',
  description:
    'Prints the digest after every step of the launch, with what went in: image, section or VMSA, guest physical address, ' +
    'page type, page count, SHA-384 of the content. With --against, compares with an explanation that was kept (--json) and says what ' +
    'the first step that differs means; two equal launches end with 0, others with 5.',
  options: [
    ...CALL_OPTIONS.map((option) => ({
      ...option,
      description: option.description.replace(/; (a (\S+ )*list|several)\b.* measures? each$/, ''),
    })),
    { flags: '--against <file>', description: 'explanation to compare with, as --json prints it' },
    OUT_FILE_OPTION,
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],

  async run(_args, options, io) {
    const call = readCall(options);
    requireOne(call, 'cvm snp explain');
    const explanation = await withFiles(io, (open) => explainCall(call, open));
    const path = textOption(options, 'against');
    const other =
      path === undefined
        ? undefined
        : readExplanation(utf8FromBytes(readSmall(io, path, 'the explanation'), path), path);
    if (other !== undefined) requireSame(explanation, other, path ?? '');
    const text = flagOption(options, 'json')
      ? `${jsonText(explanation, 2)}\n`
      : `${show(explanation)}${path === undefined ? '' : `the same as ${showText(path)}\n`}`;
    await writeText(options, io, text);
    return 0;
  },
};

function explainCall(call: SnpCall, open: Open): Explanation {
  const { mode } = call;
  if (mode === 'snp:ovmf-hash') throw usage('cvm snp explain explains whole launches: use --mode snp');
  const steps =
    mode === 'snp'
      ? snpSteps(call, open)
      : mode === 'snp:svsm'
        ? svsmSteps(call, open)
        : legacySteps(call, open);
  const [vcpus = 1] = call.vcpus;
  const hasVcpus = mode !== 'sev';
  return {
    explanation: 1,
    mode,
    vmmType: call.vmmType,
    measurement: steps.at(-1)?.digest ?? '',
    guest: {
      vcpus: hasVcpus ? vcpus : null,
      vcpuType: call.cpus[0]?.type ?? null,
      vcpuSig: hasVcpus ? hexValue(signature(call)) : null,
      guestFeatures: mode === 'snp' ? hexValue(call.guestFeatures) : null,
      cmdline: call.kernel === undefined ? null : (call.appends[0] ?? ''),
    },
    steps,
  };
}

function signature(call: SnpCall): number {
  return Number(call.cpus[0]?.sig ?? 0n);
}

function cmdline(call: SnpCall): { readonly append?: string } {
  const [append] = call.appends;
  return append === undefined ? {} : { append };
}

function snpSteps(call: SnpCall, open: Open): ExplainedStep[] {
  const ovmfHash = call.ovmfHash === undefined ? {} : { ovmfHash: call.ovmfHash };
  const launch = prepareSnpLaunch({ firmware: open(call.ovmf), ...openKernel(call, open), ...ovmfHash });
  const [vcpus = 1] = call.vcpus;
  const { guestFeatures, vmmType } = call;
  const guest = { ...call.vmsa, ...cmdline(call), vcpus, vcpuSig: signature(call), guestFeatures, vmmType };
  const hashes =
    launch.fileHashes === undefined
      ? {}
      : hashFields(launch.fileHashes.kernel, launch.fileHashes.initrd, call);
  return explainedSnpSteps(launch.explain(guest), {
    hashes,
    vmsa: resetFields(call, requireResetEip(launch.ovmf, vcpus), guestFeatures),
  });
}

function legacySteps(call: SnpCall, open: Open): ExplainedStep[] {
  const { kernel, initrd } = openKernel(call, open);
  const firmware = open(call.ovmf);
  const files = {
    firmware,
    ...(kernel === undefined ? {} : { kernel }),
    ...(initrd === undefined ? {} : { initrd }),
    ...cmdline(call),
  };
  const hashes = kernel === undefined ? {} : hashFields(kernelFileHash(kernel), initrdFileHash(initrd), call);
  if (call.mode === 'sev')
    return explainedLegacySteps(explainLegacyLaunch(files), { hashes, vmsa: () => ({}) });
  const [vcpus = 1] = call.vcpus;
  const input = { ...files, ...call.vmsa, vcpus, vcpuSig: signature(call), vmmType: call.vmmType };
  const steps = explainLegacyLaunch(input);
  const vmsa = resetFields(call, requireResetEip(parseOvmf(firmware), vcpus), 0n);
  return explainedLegacySteps(steps, { hashes, vmsa });
}

function svsmSteps(call: SnpCall, open: Open): ExplainedStep[] {
  const input = svsmInput(call, open);
  const vcpuSig = signature(call);
  const steps = explainSvsmLaunch({ ...input, vcpus: call.vcpus[0] ?? 1, vcpuSig });
  const fields = vmsaFields(buildSvsmVmsa(svsmEntryGpa(input), vcpuSig));
  return explainedSnpSteps(steps, { hashes: {}, vmsa: () => fields });
}

function hashFields(kernel: Uint8Array, initrd: Uint8Array, call: SnpCall): StepFields['hashes'] {
  return {
    kernel: bytesToHex(kernel),
    initrd: bytesToHex(initrd),
    cmdline: bytesToHex(cmdlineHash(call.appends[0])),
  };
}

function resetFields(call: SnpCall, resetEip: number, guestFeatures: bigint): StepFields['vmsa'] {
  const { vmmType, vmsa } = call;
  const fields = (eip: number): Record<string, string> =>
    vmsaFields(buildVmsa({ ...vmsa, vmmType, vcpuSig: signature(call), guestFeatures, eip }));
  const [bsp, ap] = [fields(BSP_RESET_EIP), fields(resetEip)];
  return (vcpu) => (vcpu === 0 ? bsp : ap);
}

/** @throws CvmError mismatch SNP_LAUNCH_DIFFERS */
function requireSame(ours: Explanation, theirs: Explanation, path: string): void {
  const difference = firstDifference(ours, theirs);
  if (difference === undefined) return;
  const { step, meaning } = difference;
  throw mismatchError('SNP_LAUNCH_DIFFERS', 'the two launches differ', {
    facts: [
      ['here', ours.measurement],
      [path, theirs.measurement],
      ['equal steps', step],
      ['then here', difference.ours === undefined ? 'nothing more' : stepText(difference.ours)],
      ['then there', difference.theirs === undefined ? 'nothing more' : stepText(difference.theirs)],
      ...meaning.slice(1).map((text) => ['also', text] as const),
    ],
    ...(meaning[0] === undefined ? {} : { nearest: meaning[0] }),
    mend: 'make the difference go away, or measure the guest that is meant: later steps may differ too',
  });
}

function stepText({ name, pageType, gpa, pages, bytes, content }: ExplainedStep): string {
  const where = gpa === null ? '' : ` at ${gpa}`;
  const size =
    pages === null ? `${bytes ?? 0} bytes` : `${pages} ${pageType ?? ''} page${pages === 1 ? '' : 's'}`;
  return `${name}${where}, ${size}${content === null ? '' : `, content ${content}`}`;
}

function show(explanation: Explanation): string {
  const { guest } = explanation;
  const lines: string[] = [];
  for (const step of explanation.steps) {
    lines.push(stepText(step));
    if (step.what === 'section' || step.what === 'hashes') {
      for (const [name, value] of Object.entries(step.fields))
        lines.push(`  ${name.padEnd(8)}sha256 ${value}`);
      if (step.fields['cmdline'] !== undefined)
        lines.push(`  ${'text'.padEnd(8)}${showText(jsonText(guest.cmdline ?? ''))}`);
    }
    // The third vCPU's page and all others are the second's.
    if (step.name === 'VMSA 0' || step.name === 'VMSA 1')
      for (const [name, value] of Object.entries(step.fields)) lines.push(`  ${name.padEnd(12)}${value}`);
    lines.push(`  => ${step.digest}`);
  }
  return `${lines.join('\n')}\n${explanation.measurement}\n`;
}
