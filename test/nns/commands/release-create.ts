import type { Command } from '../../../tools/commands/command.ts';
import { createRelease, RELEASE_OPTIONS } from '../../../tools/commands/release-create.ts';
import { REHEARSAL } from '../rehearsal.ts';

export const command: Command = {
  summary: 'rehearse a release with images of the dev network: NOT FOR PRODUCTION',
  description:
    'Takes the steps of cvm release create, gate and all, for the dev network instead of mainnet, and says in what it writes ' +
    'that it is no release.',
  options: RELEASE_OPTIONS,
  run: (_args, options, io) => createRelease(REHEARSAL, options, io),
};
