import type { Command } from '../../../tools/commands/command.ts';
import { PUBLISH_OPTIONS, publishRelease } from '../../../tools/commands/release-publish.ts';
import { REHEARSAL } from '../rehearsal.ts';

export const command: Command = {
  summary: 'publish a rehearsed release to this machine: NOT FOR PRODUCTION',
  description:
    'Takes the steps of cvm release publish for the dev network; a server has to be on this machine.',
  options: PUBLISH_OPTIONS,
  run: (_args, options, io) => publishRelease(REHEARSAL, options, io),
};
