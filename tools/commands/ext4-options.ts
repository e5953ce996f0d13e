import { usageError } from '../errors.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import type { ImageMember } from './image-files.ts';
import { textOption } from './options.ts';

/** Members of containers that hold an ext4 image. */
const MEMBERS: readonly ImageMember[] = ['boot.img', 'root.img', 'partition.img'];

export const MEMBER_OPTION: OptionSpec = {
  flags: '--member <name>',
  description: `which image of a container: ${MEMBERS.join(', ')}`,
};

/** @throws CvmError usage OPTION_MEMBER */
export function memberOption(options: OptionValues): ImageMember | undefined {
  const text = textOption(options, 'member');
  if (text === undefined) return undefined;
  const member = MEMBERS.find((name) => name === text);
  if (member !== undefined) return member;
  throw usageError('OPTION_MEMBER', '--member names no image of a container', {
    facts: [
      ['found', text],
      ['known', MEMBERS.join(', ')],
    ],
  });
}
