import { utf8Bytes } from '../bytes/text.ts';
import { UPDATE_IMAGE_MEMBERS } from '../guestos/layout.ts';
import {
  archiveVersion,
  packingVerdictJson,
  updateImageMembers,
  validatePacking,
} from '../guestos/packing.ts';
import { writeSparseTar } from '../tar/sparse.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { readSmallFile } from './guestos-options.ts';
import { packingChecks, PACKING_OPTIONS, withPartitions, type PackingChecks } from './guestos-packing.ts';
import { openImage, writeZstdFile } from './image-files.ts';
import { requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'validate a boot and a root partition and pack them into an update image',
  description:
    'Packs boot.img, root.img and VERSION.TXT. Before the output gets its name, the archive is read back: the root hash is ' +
    'recomputed from the root partition; with a proposal on the boot partition its certificate is verified, what it starts is ' +
    'measured, and both must be blessed; without one the command lines must name the root hash. No option leaves this out.',
  options: [
    ...PACKING_OPTIONS,
    { flags: '--version-file <file>', description: 'version of this build, one line', required: true },
    { flags: '--output <file>', description: 'update-img.tar.zst', required: true },
  ],
  async run(_args, options, io) {
    const checks = packingChecks(options, io);
    const version = archiveVersion(
      readSmallFile(io, requiredText(options, 'versionFile'), 'the version file'),
      checks.network,
    );
    const output = resolvePath(io, requiredText(options, 'output'));
    await withPartitions(options, io, async (boot, root) => {
      const archive = writeSparseTar(updateImageMembers(boot, root, version), { reuseBuffer: true });
      let verdict = '';
      await writeZstdFile(output, archive, async (written) => {
        verdict = packingVerdictJson(await validateArchive(written, checks));
      });
      const verdictOutput = textOption(options, 'verdictOutput');
      if (verdictOutput !== undefined) {
        await writeFileWhole(resolvePath(io, verdictOutput), [utf8Bytes(verdict)]);
      }
    });
    return 0;
  },
};

/** The check is made from the archive itself: whatever happens to the input files meanwhile, it is what was judged. */
async function validateArchive(
  path: string,
  checks: PackingChecks,
): Promise<ReturnType<typeof validatePacking>> {
  const [bootName, rootName] = UPDATE_IMAGE_MEMBERS;
  const boot = await openImage(path, bootName);
  try {
    const root = await openImage(path, rootName);
    try {
      return validatePacking({ ...checks, boot, root });
    } finally {
      root.close();
    }
  } finally {
    boot.close();
  }
}
