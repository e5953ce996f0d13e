import { sourceFromBytes } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { UPDATE_IMAGE_MEMBERS } from '../guestos/layout.ts';
import { archiveVersion, packingVerdictJson, validatePacking } from '../guestos/packing.ts';
import { writeSparseTar } from '../tar/sparse.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole, requireDistinctOutputs } from './files.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  NETWORK_OPTION,
  networkOption,
  optionalFile,
  PLAN_OPTIONS,
  planOption,
  readSmallFile,
} from './guestos-options.ts';
import { openImage, writeZstdFile } from './image-files.ts';
import { requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'validate a boot and a root partition and pack them into an update image',
  description:
    'Packs boot.img, root.img and VERSION.TXT. Before the output gets its name, the archive is read back: the root hash is ' +
    'recomputed from the root partition; with a proposal on the boot partition its certificate is verified, what it starts is ' +
    'measured, and both must be blessed; without one the command lines must name the root hash. No option leaves this out.',
  options: [
    { flags: '--boot <image>', description: 'boot partition (.tzst or raw ext4)', required: true },
    {
      flags: '--root <image>',
      description: 'root partition (.tzst or raw, with its hash tree)',
      required: true,
    },
    { flags: '--version-file <file>', description: 'version of this build, one line', required: true },
    { flags: '--output <file>', description: 'update-img.tar.zst', required: true },
    NETWORK_OPTION,
    {
      flags: '--request <file>',
      description: "request of the boot partition's proposal; mainnet demands it",
    },
    ...PLAN_OPTIONS,
    CHIP_ID_OPTION,
    { flags: '--verdict-output <file>', description: 'what was checked, as JSON' },
  ],
  async run(_args, options, io) {
    requireDistinctOutputs(io, requiredText(options, 'output'), textOption(options, 'verdictOutput'));
    const network = networkOption(options);
    const checks = {
      ...planOption(options),
      network,
      request: optionalFile(io, options, 'request', 'the request'),
      chipIds: chipIdsOption(options),
    };
    const version = archiveVersion(
      readSmallFile(io, requiredText(options, 'versionFile'), 'the version file'),
      network,
    );
    const output = resolvePath(io, requiredText(options, 'output'));
    const boot = await openImage(resolvePath(io, requiredText(options, 'boot')), 'boot.img');
    try {
      const root = await openImage(resolvePath(io, requiredText(options, 'root')), 'root.img');
      try {
        const [bootName, rootName, versionName] = UPDATE_IMAGE_MEMBERS;
        const archive = writeSparseTar([
          { name: bootName, source: boot },
          { name: rootName, source: root },
          { name: versionName, source: sourceFromBytes(utf8Bytes(version)) },
        ]);
        let verdict = '';
        await writeZstdFile(output, archive, async (written) => {
          verdict = packingVerdictJson(await validateArchive(written, checks));
        });
        const verdictOutput = textOption(options, 'verdictOutput');
        if (verdictOutput !== undefined) {
          await writeFileWhole(resolvePath(io, verdictOutput), [utf8Bytes(verdict)]);
        }
      } finally {
        root.close();
      }
    } finally {
      boot.close();
    }
    return 0;
  },
};

/** The check is made from the archive itself: whatever happens to the input files meanwhile, it is what was judged. */
async function validateArchive(
  path: string,
  checks: Omit<Parameters<typeof validatePacking>[0], 'boot' | 'root'>,
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
