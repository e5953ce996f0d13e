import { usageError } from '../errors.ts';
import { withinContentLimit } from '../ext4/content-limit.ts';
import { openExt4, type Ext4Image } from '../ext4/reader.ts';
import { treeToTar } from '../tar/tree.ts';
import type { TreeEntry } from '../tree/entry.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { aboutFile } from './error-path.ts';
import { MEMBER_OPTION, openNamedImage } from './ext4-options.ts';
import { requireOtherThanInputs, resolvePath, writeFileWhole, type OpenFile } from './files.ts';
import { growingHeapSlowly } from './heap-growth.ts';
import { flagOption, textOption } from './options.ts';
import { writeTreeToFolder, type NotKept } from './tree-folder.ts';

export const command: Command = {
  summary: 'take an ext4 image apart',
  description:
    'With --tar, writes everything the file system holds, sockets aside, as a deterministic pax archive: owners, ' +
    'modes, times, extended attributes, hard links, devices. With --output, fills a new or empty folder; that keeps names, ' +
    'contents (holes too), permission bits, links and times (to about a microsecond); with --owners also owners and setuid, setgid and ' +
    'sticky bits; never extended attributes, devices, fifos and sockets. What was left out is said on standard error.',
  arguments: [{ name: '<img>', description: 'ext4 image, partition .tzst or update-img.tar.zst' }],
  options: [
    { flags: '--output <dir>', description: 'folder to fill: it must be empty or not exist' },
    { flags: '--tar <file>', description: 'archive to write' },
    { flags: '--owners', description: 'with --output: keep owners and special mode bits, which takes root' },
    MEMBER_OPTION,
  ],
  async run([image = ''], options, io) {
    const folder = textOption(options, 'output');
    const archive = textOption(options, 'tar');
    if ((folder === undefined) === (archive === undefined)) {
      throw usageError('OPTION_OUTPUT', 'the tree goes to one place: a folder or an archive', {
        mend: 'give either --output DIR or --tar FILE',
      });
    }
    const target = resolvePath(io, folder ?? archive ?? '');
    requireOtherThanInputs(io, archive, [image]);
    const source = await openNamedImage(resolvePath(io, image), options, target);
    try {
      await aboutFile(source.path, () => extract(source, target, archive !== undefined, options, io));
    } finally {
      source.close();
    }
    return 0;
  },
};

async function extract(
  source: OpenFile,
  target: string,
  isArchive: boolean,
  options: OptionValues,
  io: Io,
): Promise<void> {
  const tree = openExt4(source);
  tree.verifyBitmaps();
  if (!isArchive) {
    report(
      await writeTreeToFolder(growingHeapSlowly(entriesOf(tree)), target, flagOption(options, 'owners')),
      io,
    );
    return;
  }
  const entries = [...growingHeapSlowly(entriesOf(tree))];
  const kept = withoutSockets(entries);
  await writeFileWhole(target, treeToTar(kept, { sparse: true, fractions: true }));
  if (kept.length < entries.length) {
    io.err(`not kept: ${entries.length - kept.length} sockets, for which tar has no form\n`);
  }
}

function* entriesOf(tree: Ext4Image): Generator<TreeEntry> {
  for (const { entry } of withinContentLimit(tree.nodes())) yield entry;
}

/** A socket is made by whoever listens on it: its place in an archive would be of no use even if there were one. */
function withoutSockets(entries: readonly TreeEntry[]): TreeEntry[] {
  const sockets = new Set(entries.filter((entry) => entry.type === 'socket').map((entry) => entry.path));
  return entries.filter((entry) => !sockets.has(entry.type === 'hardlink' ? entry.linkPath : entry.path));
}

function report(notKept: NotKept, io: Io): void {
  const parts = [
    ...(notKept.special > 0 ? [`${notKept.special} devices, fifos or sockets`] : []),
    ...(notKept.withXattrs > 0 ? [`extended attributes of ${notKept.withXattrs} entries`] : []),
    ...(notKept.owners ? ['owners'] : []),
  ];
  if (parts.length > 0) io.err(`not kept: ${parts.join('; ')} (--tar keeps all but sockets)\n`);
}
