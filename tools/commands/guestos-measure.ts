import { utf8Bytes } from '../bytes/text.ts';
import { openExt4 } from '../ext4/reader.ts';
import { measureBootPartition } from '../guestos/boot-partition.ts';
import { writeLaunchMeasurements } from '../guestos/measurements.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { PLAN_OPTIONS, planOption } from './guestos-options.ts';
import { openImage } from './image-files.ts';
import { checkImageSize, IMAGE_SIZE_OPTION } from './image-size.ts';
import { requiredText, textOption } from './options.ts';

export const command: Command = {
  summary: 'compute the SEV-SNP launch measurements of a boot partition',
  description:
    'Measures firmware, kernel, initrd and the command lines of both slots as they stand inside a boot partition ' +
    '(raw ext4, partition .tzst or update image), for each CPU type and vCPU count, and writes launch-measurements.json.',
  options: [
    { flags: '--boot <image>', description: 'boot partition or update image', required: true },
    ...PLAN_OPTIONS,
    IMAGE_SIZE_OPTION,
    { flags: '--output <file>', description: 'launch-measurements.json; standard output when left out' },
  ],
  async run(_args, options, io) {
    const plan = planOption(options);
    const path = resolvePath(io, requiredText(options, 'boot'));
    checkImageSize(path, options);
    const image = await openImage(path, 'boot.img');
    try {
      const json = writeLaunchMeasurements(measureBootPartition(openExt4(image), plan));
      const output = textOption(options, 'output');
      if (output === undefined) io.out(json);
      else await writeFileWhole(resolvePath(io, output), [utf8Bytes(json)]);
    } finally {
      image.close();
    }
    return 0;
  },
};
