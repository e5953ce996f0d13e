import { utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { readGpt, partitionSource } from '../gpt/reader.ts';
import { FILLED_SLOT, guestOsDisk } from '../guestos/disk.ts';
import { DISK_MEMBER, PARTITIONS } from '../guestos/layout.ts';
import { packingVerdictJson, validatePacking } from '../guestos/packing.ts';
import { writeSparseTar } from '../tar/sparse.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, resolvePath, writeFileWhole, type OpenFile } from './files.ts';
import { packingChecks, PACKING_OPTIONS, withPartitions, type PackingChecks } from './guestos-packing.ts';
import { openImage, writeZstdFile } from './image-files.ts';
import { requiredText, textOption, textsOption } from './options.ts';

export const command: Command = {
  summary: 'validate a boot and a root partition and put them onto a disk image',
  description:
    'Makes a disk of 50 GiB with the nine partitions of GuestOS, slot A filled, as disk-img.tar.zst. Before the output gets its ' +
    'name, the archive is read back and judged as an update image is: no option leaves this out. What is not given ' +
    '(esp, grub, config) stays zero.',
  options: [
    ...PACKING_OPTIONS,
    {
      flags: '--partition <name=image>',
      description: 'raw image of another partition, for example esp=esp.img; may be repeated',
      repeatable: true,
    },
    { flags: '--output <file>', description: 'disk-img.tar.zst', required: true },
  ],
  async run(_args, options, io) {
    const checks = packingChecks(options, io);
    const output = resolvePath(io, requiredText(options, 'output'));
    const others = new Map<string, OpenFile>();
    try {
      openPartitions(options, io, others);
      await withPartitions(options, io, async (boot, root) => {
        const disk = guestOsDisk({ boot, root, others });
        let verdict = '';
        await writeZstdFile(
          output,
          writeSparseTar([{ name: DISK_MEMBER, source: disk }], { reuseBuffer: true }),
          async (written) => {
            verdict = packingVerdictJson(await validateDisk(written, checks));
          },
        );
        const verdictOutput = textOption(options, 'verdictOutput');
        if (verdictOutput !== undefined) {
          await writeFileWhole(resolvePath(io, verdictOutput), [utf8Bytes(verdict)]);
        }
      });
    } finally {
      for (const file of others.values()) file.close();
    }
    return 0;
  },
};

/** @throws CvmError usage PARTITION_OPTION */
function openPartitions(options: OptionValues, io: Io, files: Map<string, OpenFile>): void {
  const own: readonly string[] = Object.values(FILLED_SLOT);
  const known = PARTITIONS.map(({ name }) => name).filter((name) => !own.includes(name));
  for (const text of textsOption(options, 'partition')) {
    const [, name = '', path = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (!known.includes(name) || files.has(name)) {
      throw usageError(
        'PARTITION_OPTION',
        '--partition names no partition that can be filled, or one twice',
        {
          facts: [
            ['found', text],
            ['partitions', known.join(', ')],
          ],
          mend: 'write it as name=image',
        },
      );
    }
    files.set(name, openFile(resolvePath(io, path)));
  }
}

/** Judged by what stands in the archive: the table, and the partitions as the table places them. */
async function validateDisk(
  path: string,
  checks: PackingChecks,
): Promise<ReturnType<typeof validatePacking>> {
  const disk = await openImage(path, DISK_MEMBER);
  try {
    const table = readGpt(disk);
    return validatePacking({
      ...checks,
      boot: partitionSource(disk, table, FILLED_SLOT.boot),
      root: partitionSource(disk, table, FILLED_SLOT.root),
    });
  } finally {
    disk.close();
  }
}
