import { jsonText } from '../bytes/text.ts';
import { bundleMetadata } from '../dstack/contents.ts';
import { resolveVariant, VARIANT_CONSUMERS } from '../dstack/ovmf-variant.ts';
import { usageError } from '../errors.ts';
import { choiceOption, openBundle } from './bundle-files.ts';
import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import { requiredText, textOption } from './options.ts';
import { vmConfigOption } from './vm-options.ts';

export const command: Command = {
  summary: "say which event layout a bundle's TDX firmware has, and how that is known",
  description:
    'Prints JSON: variant, source, and every source that was considered, in order: VmConfig, metadata field, metadata ' +
    'version, image name, default. Needs metadata.json alone. Without --vm-config, the folder’s name stands for the ' +
    'image name. Consumers differ in what they look at; variant is null where one leaves the field out.',
  arguments: [{ name: '<bundle>', description: 'folder or archive of an image' }],
  options: [
    { flags: '--vm-config <file>', description: 'the VmConfig (JSON) that the VMM persisted' },
    { flags: '--image <name>', description: 'image name, instead of the folder’s' },
    {
      flags: '--consumer <name>',
      description: `who asks: ${VARIANT_CONSUMERS.join(', ')} (the last two are dstack-mr’s)`,
      defaultValue: 'verifier',
    },
    { flags: '--os-version <version>', description: '--dstack-os-version of dstack-mr measure' },
    { flags: '--json', description: 'nothing changes: the output is JSON; errors are too' },
  ],
  async run([path = ''], options, io) {
    const consumer = choiceOption(requiredText(options, 'consumer'), VARIANT_CONSUMERS, '--consumer');
    const osVersion = textOption(options, 'osVersion');
    if (osVersion !== undefined && consumer !== 'measure') {
      throw usageError('OPTION_CONSUMER', '--os-version is looked at by --consumer measure alone', {
        facts: [['consumer', consumer]],
      });
    }
    const image = textOption(options, 'image');
    const config = vmConfigOption(options, io);
    if (image !== undefined && config !== undefined) {
      throw usageError('OPTION_CONTRADICTION', '--image and --vm-config both say what the image is called', {
        mend: 'give one of them',
      });
    }
    const bundle = await openBundle(resolvePath(io, path));
    try {
      const metadata = bundleMetadata(bundle.contents);
      const answer = resolveVariant(consumer, {
        vmConfigVariant: config?.ovmfVariant,
        image: config === undefined ? (image ?? bundle.contents.name) : config.image,
        metadataVariant: metadata.ovmfVariant,
        metadataVersion: metadata.version,
        osVersion,
      });
      io.out(`${jsonText(answer)}\n`);
    } finally {
      bundle.close();
    }
    return 0;
  },
};
