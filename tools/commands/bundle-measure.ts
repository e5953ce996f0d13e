import { bytesToHex } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import { artifact, chooseFirmware, PLATFORMS } from '../dstack/contents.ts';
import { snpLaunchSteps, snpMaterial, vcpuTypeName } from '../dstack/snp-material.ts';
import { verifyBundle } from '../dstack/verify.ts';
import { bug, usageError } from '../errors.ts';
import type { LaunchStep } from '../snp/launch-digest.ts';
import { vcpuTypeSignature } from '../snp/vcpu-types.ts';
import { choiceOption, openBundle } from './bundle-files.ts';
import type { Command } from './command.ts';
import { requireDistinctOutputs, resolvePath, writeFileWhole } from './files.ts';
import { flagOption, parseDecimal, parseIntegerLiteral, requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'compute the SEV-SNP launch digest of a bundle',
  description:
    'Verifies the bundle and prints the digest that the attestation report of its guest will hold: firmware bios-sev, or ' +
    'else bios; kernel hashes; one VMSA a vCPU. For Intel TDX, see tdx measure.',
  arguments: [{ name: '<bundle>', description: 'folder or archive of an image' }],
  options: [
    { flags: '--platform <platform>', description: 'sev-snp', required: true },
    { flags: '--vcpus <n>', description: 'vCPUs at launch', required: true },
    { flags: '--vcpu-type <name>', description: 'QEMU CPU model, in any case', defaultValue: 'EPYC-v4' },
    { flags: '--guest-features <value>', description: 'SEV_FEATURES, 64 bits', defaultValue: '1' },
    { flags: '--output <file>', description: 'gets the digest and a line feed instead of standard output' },
    { flags: '--explain <file>', description: 'gets every step as JSON' },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],
  async run([path = ''], options, io) {
    const platform = choiceOption(requiredText(options, 'platform'), PLATFORMS, '--platform');
    if (platform === 'tdx') {
      throw usageError('PLATFORM_TDX', 'a TDX guest has registers, not one launch digest', {
        mend: 'run cvm tdx measure --bundle BUNDLE --vm-config FILE',
      });
    }
    const output = textOption(options, 'output');
    const explain = textOption(options, 'explain');
    requireDistinctOutputs(io, output, explain);
    const vcpuType = vcpuTypeName(requiredText(options, 'vcpuType'));
    const guest = {
      vcpus: parseDecimal(requiredText(options, 'vcpus'), '--vcpus', 1, 4096),
      vcpuSig: vcpuTypeSignature(vcpuType),
      guestFeatures: parseIntegerLiteral(requiredText(options, 'guestFeatures'), '--guest-features', 64),
    };
    const bundle = await openBundle(resolvePath(io, path));
    try {
      const { contents } = bundle;
      const { metadata, osImageHash } = verifyBundle(contents);
      const { firmware, field, why } = chooseFirmware(metadata, platform);
      const source = artifact(contents, 'SEV bios', firmware);
      const material = snpMaterial({
        firmware: source,
        kernel: artifact(contents, 'Kernel', metadata.kernel),
        initrd: artifact(contents, 'Initrd', metadata.initrd),
        cmdline: metadata.cmdline ?? '',
      });
      const steps = snpLaunchSteps(material, guest, source.sizeBytes);
      const last = steps.at(-1);
      if (last === undefined) throw bug('a launch without steps');
      const measurement = bytesToHex(last.digest);
      const document = {
        ok: true,
        platform,
        osImageHash,
        firmware: { file: firmware, field, why },
        vcpus: guest.vcpus,
        vcpuType,
        guestFeatures: `0x${guest.guestFeatures.toString(16)}`,
        measurement,
      };
      if (explain !== undefined) {
        const text = jsonText({ ...document, steps: steps.map(stepJson) }, 2);
        await writeFileWhole(resolvePath(io, explain), [Buffer.from(`${text}\n`)]);
      }
      if (output !== undefined)
        await writeFileWhole(resolvePath(io, output), [Buffer.from(`${measurement}\n`)]);
      if (flagOption(options, 'json')) io.out(`${jsonText(document)}\n`);
      else if (output === undefined) io.out(`${measurement}\n`);
    } finally {
      bundle.close();
    }
    return 0;
  },
};

function stepJson(step: LaunchStep): unknown {
  const { name, pageType, gpa, pages, contentSha384, digest } = step;
  return {
    name,
    pageType,
    gpa: `0x${gpa.toString(16)}`,
    pages,
    ...(contentSha384 === undefined ? {} : { contentSha384: bytesToHex(contentSha384) }),
    digest: bytesToHex(digest),
  };
}
