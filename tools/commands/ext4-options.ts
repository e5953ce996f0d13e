import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { usageError } from '../errors.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import type { OpenFile } from './files.ts';
import { openImage, type ImageMember } from './image-files.ts';
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

/**
 * Opens the image that a command names, of an archive the member that `--member` names.
 * @param output what the command writes: what has to be unpacked goes beside it, and not into the system's folder
 */
export async function openNamedImage(
  path: string,
  options: OptionValues,
  output?: string,
): Promise<OpenFile> {
  const member = memberOption(options);
  return await openImage(path, member, {
    memberGiven: member !== undefined,
    ...(output === undefined ? {} : { scratchFolder: existingFolder(dirname(output)) }),
  });
}

/** The folder itself, or the nearest one above it that is there. */
function existingFolder(folder: string): string {
  let found = folder;
  while (!existsSync(found) && dirname(found) !== found) found = dirname(found);
  return found;
}
