import { jsonText, showText } from '../bytes/text.ts';
import { artifact, bundleMetadata, chooseFirmware, PLATFORMS } from '../dstack/contents.ts';
import { choiceOption, openBundle } from './bundle-files.ts';
import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import { flagOption, requiredText } from './options.ts';

export const command: Command = {
  summary: 'say which firmware of a bundle a VMM must take',
  description:
    'Prints the name of the firmware file for a platform, and why it is that one. The file must be there. TDX never takes ' +
    'bios-sev; SEV-SNP takes it and falls back to bios.',
  arguments: [{ name: '<bundle>', description: 'folder or archive of an image' }],
  options: [
    {
      flags: '--platform <platform>',
      description: PLATFORMS.join(' or '),
      required: true,
      values: PLATFORMS,
    },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],
  async run([path = ''], options, io) {
    const platform = choiceOption(requiredText(options, 'platform'), PLATFORMS, '--platform');
    const bundle = await openBundle(resolvePath(io, path));
    try {
      const metadata = bundleMetadata(bundle.contents);
      const choice = chooseFirmware(metadata, platform);
      // The VMM looks at both before it looks at the platform.
      if (metadata.bios !== undefined) artifact(bundle.contents, 'Bios', metadata.bios);
      if (metadata.biosSev !== undefined) artifact(bundle.contents, 'SEV bios', metadata.biosSev);
      const { firmware, field, why } = choice;
      io.out(
        flagOption(options, 'json')
          ? `${jsonText({ ok: true, platform, firmware, field, why })}\n`
          : `${showText(firmware)}\n  field  ${field}\n  why    ${why}\n`,
      );
    } finally {
      bundle.close();
    }
    return 0;
  },
};
