/** The development tool: signs proposals with a key that everyone knows, and answers like a replica. */
import type { CommandEntry } from '../../tools/commands/command.ts';
import { main } from '../../tools/cvm.ts';

const COMMANDS: readonly CommandEntry[] = [
  {
    noun: 'nns',
    verb: 'sign-proposal',
    summary: 'make an executed proposal of the dev network',
    load: () => import('./commands/sign-proposal.ts'),
  },
  {
    noun: 'nns',
    verb: 'serve',
    summary: 'answer like a replica of the dev network, on this machine only',
    load: () => import('./commands/serve.ts'),
  },
  {
    noun: 'release',
    verb: 'create',
    summary: 'rehearse a release with images of the dev network: NOT FOR PRODUCTION',
    load: () => import('./commands/release-create.ts'),
  },
  {
    noun: 'release',
    verb: 'publish',
    summary: 'publish a rehearsed release to this machine: NOT FOR PRODUCTION',
    load: () => import('./commands/release-publish.ts'),
  },
];

await main(
  'cvm-dev',
  'The development NNS. What it signs is worth nothing outside this repository.',
  COMMANDS,
);
