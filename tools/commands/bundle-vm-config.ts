import { readAll } from '../bytes/source.ts';
import { jsonText } from '../bytes/text.ts';
import {
  artifact,
  bundleMetadata,
  chooseFirmware,
  PLATFORMS,
  type BundleContents,
} from '../dstack/contents.ts';
import { SUMS_LIMIT_BYTES } from '../dstack/manifest.ts';
import { BUNDLE_FILES } from '../dstack/metadata.ts';
import { resolveVariant } from '../dstack/ovmf-variant.ts';
import { vcpuTypeName } from '../dstack/snp-material.ts';
import { verifyBundle } from '../dstack/verify.ts';
import { DEFAULT_VM_CONFIG, vmConfigJson } from '../dstack/vm-config.ts';
import { choiceOption, openBundle } from './bundle-files.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { flagOption, requiredText, textOption } from './options.ts';
import { SHAPE_OPTIONS, shapeOptions } from './vm-options.ts';

/** What the VMM starts SEV-SNP guests with. */
const SNP_GUEST_FEATURES = 1;

export const command: Command = {
  summary: 'write the VmConfig that a VMM persists for an image and a VM',
  description:
    'Verifies the bundle and writes JSON as dstack’s VMM does. ovmf_variant comes from the metadata field, else from ' +
    'its version, else is left out, so that a new deployment carries the answer itself. With --platform sev-snp, the ' +
    'launch material is included (sev_snp_measurement). The chosen firmware is said on standard error, or with --json.',
  arguments: [{ name: '<bundle>', description: 'folder or archive of an image' }],
  options: [
    { flags: '--cpus <n>', description: 'vCPUs', required: true },
    { flags: '--memory <size>', description: 'bytes, or with K, M, G, T', required: true },
    {
      flags: '--platform <platform>',
      description: PLATFORMS.join(' or '),
      defaultValue: 'tdx',
      values: PLATFORMS,
    },
    { flags: '--vcpu-type <name>', description: 'QEMU CPU model (sev-snp)', defaultValue: 'EPYC-v4' },
    ...SHAPE_OPTIONS,
    { flags: '--image <name>', description: 'image name; the folder’s when absent' },
    { flags: '--output <file>', description: 'where the VmConfig goes; standard output when absent' },
    { flags: '--json', description: 'print { platform, firmware, vmConfig } instead, and errors as JSON' },
  ],
  async run([path = ''], options, io) {
    const platform = choiceOption(requiredText(options, 'platform'), PLATFORMS, '--platform');
    const shape = shapeOptions(options);
    const vcpuType = vcpuTypeName(requiredText(options, 'vcpuType'));
    const bundle = await openBundle(resolvePath(io, path));
    try {
      const { contents } = bundle;
      const { osImageHash } = verifyBundle(contents);
      const metadata = bundleMetadata(contents);
      const { firmware, field, why } = chooseFirmware(metadata, platform);
      const { variant, source } = resolveVariant('vmm', {
        metadataVariant: metadata.ovmfVariant,
        metadataVersion: metadata.version,
      });
      const config = vmConfigJson({
        ...DEFAULT_VM_CONFIG,
        ...shape,
        osImageHash,
        image: textOption(options, 'image') ?? contents.name,
        ovmfVariant: variant ?? undefined,
      });
      const vmConfig = {
        ...config,
        ...(platform === 'sev-snp'
          ? { sev_snp_measurement: snpDocument(contents, shape.cpuCount, vcpuType) }
          : {}),
        spec_version: 1,
      };
      const output = textOption(options, 'output');
      if (output !== undefined)
        await writeFileWhole(resolvePath(io, output), [Buffer.from(`${JSON.stringify(vmConfig)}\n`)]);
      if (flagOption(options, 'json')) {
        const choice = { file: firmware, field, why };
        io.out(`${jsonText({ ok: true, platform, firmware: choice, variantSource: source, vmConfig })}\n`);
      } else {
        io.err(`firmware: ${firmware} (${field}): ${why}\n`);
        if (output === undefined) io.out(`${jsonText(vmConfig)}\n`);
      }
    } finally {
      bundle.close();
    }
    return 0;
  },
};

/** The per-VM document of SEV-SNP: what a verifier computes the launch digest from. */
function snpDocument(contents: BundleContents, vcpus: number, vcpuType: string): string {
  const base64 = (name: string): string => {
    const bytes = readAll(artifact(contents, 'Measurement', name), SUMS_LIMIT_BYTES, name);
    return Buffer.from(bytes).toString('base64');
  };
  return JSON.stringify({
    checksum_file: base64(BUNDLE_FILES.sums),
    measurement: base64(BUNDLE_FILES.snpMaterial),
    vcpus,
    vcpu_type: vcpuType,
    guest_features: SNP_GUEST_FEATURES,
  });
}
