import { join } from 'node:path';
import { chunks, readAll, type ByteSource } from '../bytes/source.ts';
import { jsonText, rawFromBytes } from '../bytes/text.ts';
import {
  bareMetalTar,
  buildBundle,
  bundleTree,
  MANIFEST_GENERATIONS,
  measurementTar,
  type Bundle,
} from '../dstack/bundle.ts';
import { bindRootfs, DSTACK_CMDLINE } from '../dstack/cmdline.ts';
import { isFlatName } from '../dstack/manifest.ts';
import { UNKNOWN_REVISION } from '../dstack/metadata.ts';
import { OVMF_VARIANTS } from '../dstack/ovmf-variant.ts';
import { usageError } from '../errors.ts';
import { gzip } from '../gzip/compress.ts';
import { choiceOption } from './bundle-files.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, requireDistinctOutputs, resolvePath, writeFileWhole, type OpenFile } from './files.ts';
import { flagOption, parseDecimal, requiredText, textOption } from './options.ts';
import { writeTreeToFolder } from './tree-folder.ts';

export const command: Command = {
  summary: 'make a dstack image bundle from its parts',
  description:
    'Writes metadata.json, sha256sum.txt, digest.txt and the measurement documents beside firmware, kernel, initrd and ' +
    'root file system, as a folder, as NAME.tar.gz, and as mr_<digest>.tar.gz, which verifiers download. Prints the ' +
    'digest, os_image_hash everywhere, unless a file gets it. Equal parts give equal bytes.',
  options: [
    { flags: '--ovmf <file>', description: 'TDX firmware', required: true },
    { flags: '--ovmf-sev <file>', description: 'SEV firmware; with it, metadata.json has bios-sev' },
    { flags: '--kernel <file>', description: 'bzImage', required: true },
    { flags: '--initrd <file>', description: 'initramfs.cpio.gz', required: true },
    {
      flags: '--rootfs <file>',
      description: 'disk image with the dm-verity root file system',
      required: true,
    },
    { flags: '--rootfs-hash <hex>', description: 'its dm-verity root hash, 64 hex digits' },
    { flags: '--rootfs-hash-file <file>', description: 'a file that holds the root hash, instead' },
    {
      flags: '--rootfs-size <bytes>',
      description: 'where its data ends and the hash tree begins',
      required: true,
    },
    {
      flags: '--cmdline <text>',
      description: 'kernel command line before the rootfs tokens; dstack’s own when absent',
    },
    { flags: '--image-version <version>', description: 'X.Y.Z or X.Y.Z.suffix', required: true },
    {
      flags: '--ovmf-variant <variant>',
      description: `event layout of the TDX firmware: ${OVMF_VARIANTS.join(', ')}`,
      values: OVMF_VARIANTS,
      required: true,
    },
    { flags: '--git-revision <commit>', description: '40 hex digits', defaultValue: UNKNOWN_REVISION },
    { flags: '--dev', description: 'a development image (is_dev)' },
    { flags: '--shared-rw', description: 'the VMM shares its folder writable (shared_ro false)' },
    {
      flags: '--manifest <generation>',
      description: 'cbor: lists the measurement documents; four: the four files of releases up to 0.5.x',
      defaultValue: 'cbor',
    },
    {
      flags: '--name <name>',
      description: 'folder in the archive; dstack-VERSION or dstack-dev-VERSION when absent',
    },
    { flags: '--folder <dir>', description: 'folder to fill: it must be empty or not exist' },
    { flags: '--tarball <file>', description: 'NAME.tar.gz for hosts' },
    { flags: '--mr-tarball <file>', description: 'archive for verifiers, under a name of your own' },
    { flags: '--mr-folder <dir>', description: 'empty or new folder that gets mr_<digest>.tar.gz' },
    { flags: '--digest <file>', description: 'gets the digest and a line feed' },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],
  async run(_args, options, io) {
    const outputs = readOutputs(options, io);
    const opened: OpenFile[] = [];
    const open = (name: string): OpenFile => {
      const file = openFile(resolvePath(io, requiredText(options, name)));
      opened.push(file);
      return file;
    };
    try {
      const sev: { ovmfSev?: ByteSource } =
        textOption(options, 'ovmfSev') === undefined ? {} : { ovmfSev: open('ovmfSev') };
      const parts = {
        ovmf: open('ovmf'),
        kernel: open('kernel'),
        initrd: open('initrd'),
        rootfs: open('rootfs'),
        ...sev,
      };
      const version = requiredText(options, 'imageVersion');
      const isDev = flagOption(options, 'dev');
      const name = textOption(options, 'name') ?? `dstack-${isDev ? 'dev-' : ''}${version}`;
      if (!isFlatName(name) || name.length > 64) {
        throw usageError('BUNDLE_NAME', 'the name of the bundle is no plain file name', {
          facts: [['found', name]],
        });
      }
      const generation = choiceOption(requiredText(options, 'manifest'), MANIFEST_GENERATIONS, '--manifest');
      const parameters = {
        cmdline: cmdline(options, io),
        version,
        gitRevision: textOption(options, 'gitRevision') ?? UNKNOWN_REVISION,
        sharedRo: !flagOption(options, 'sharedRw'),
        isDev,
        ovmfVariant: choiceOption(requiredText(options, 'ovmfVariant'), OVMF_VARIANTS, '--ovmf-variant'),
      };
      const bundle = buildBundle(parts, parameters, generation);
      await write(bundle, name, outputs);
      if (flagOption(options, 'json')) {
        io.out(
          `${jsonText({ ok: true, name, osImageHash: bundle.digest, files: [...bundle.files.keys()] })}\n`,
        );
      } else if (outputs.digest === undefined) {
        io.out(`${bundle.digest}\n`);
      }
    } finally {
      for (const file of opened) file.close();
    }
    return 0;
  },
};

type Outputs = Readonly<
  Record<'folder' | 'tarball' | 'mrTarball' | 'mrFolder' | 'digest', string | undefined>
>;

function readOutputs(options: OptionValues, io: Io): Outputs {
  const path = (name: string): string | undefined => {
    const text = textOption(options, name);
    return text === undefined ? undefined : resolvePath(io, text);
  };
  const outputs = {
    folder: path('folder'),
    tarball: path('tarball'),
    mrTarball: path('mrTarball'),
    mrFolder: path('mrFolder'),
    digest: path('digest'),
  };
  requireDistinctOutputs(io, ...Object.values(outputs));
  if (Object.values(outputs).some((output) => output !== undefined)) return outputs;
  throw usageError('OPTION_OUTPUT', 'nothing says where the bundle goes', {
    mend: 'give --folder, --tarball, --mr-tarball, --mr-folder or --digest, or several of them',
  });
}

const HASH_FILE_LIMIT_BYTES = 4096;

function cmdline(options: OptionValues, io: Io): string {
  const text = textOption(options, 'rootfsHash');
  const file = textOption(options, 'rootfsHashFile');
  if ((text === undefined) === (file === undefined)) {
    throw usageError('OPTION_ROOTFS_HASH', 'the root hash comes from one place', {
      mend: 'give either --rootfs-hash HEX or --rootfs-hash-file FILE',
    });
  }
  const size = parseDecimal(requiredText(options, 'rootfsSize'), '--rootfs-size', 1, Number.MAX_SAFE_INTEGER);
  const hash = text ?? readHash(resolvePath(io, file ?? ''));
  return bindRootfs(textOption(options, 'cmdline') ?? DSTACK_CMDLINE, hash, size);
}

function readHash(path: string): string {
  const file = openFile(path);
  try {
    return rawFromBytes(readAll(file, HASH_FILE_LIMIT_BYTES, 'the root hash file')).replace(/\r?\n$/, '');
  } finally {
    file.close();
  }
}

async function write(bundle: Bundle, name: string, outputs: Outputs): Promise<void> {
  const { folder, tarball, mrTarball, mrFolder, digest } = outputs;
  // Archives first: a folder that is there is a sign that all is done.
  if (tarball !== undefined) await writeFileWhole(tarball, gzip(bareMetalTar(bundle, name)));
  if (mrTarball !== undefined) await writeFileWhole(mrTarball, gzip(measurementTar(bundle)));
  if (mrFolder !== undefined) {
    const path = join(mrFolder, `mr_${bundle.digest}.tar.gz`);
    if (mrTarball === undefined) await writeFileWhole(path, gzip(measurementTar(bundle)));
    else await copyFile(mrTarball, path);
  }
  if (folder !== undefined) await writeTreeToFolder(bundleTree(bundle), folder, false);
  if (digest !== undefined) await writeFileWhole(digest, [Buffer.from(`${bundle.digest}\n`)]);
}

async function copyFile(from: string, to: string): Promise<void> {
  const file = openFile(from);
  try {
    await writeFileWhole(to, chunks(file));
  } finally {
    file.close();
  }
}
