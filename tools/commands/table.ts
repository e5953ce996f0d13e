import { BUILD_COMMANDS } from './build-table.ts';
import type { CommandEntry } from './command.ts';
import { SIGN_COMMANDS } from './sign-table.ts';

/** All commands of the tool, by noun and verb. */
export const COMMANDS: readonly CommandEntry[] = [
  ...BUILD_COMMANDS,
  ...SIGN_COMMANDS,
  {
    noun: 'coconut',
    verb: 'build',
    summary: 'build and measure the IGVM files of COCONUT-SVSM recipes',
    load: () => import('./coconut-build.ts'),
  } satisfies CommandEntry,
  {
    noun: 'proposal',
    verb: 'download',
    summary: 'download a certified proposal, and keep it if it verifies',
    load: () => import('./proposal-download.ts'),
  } satisfies CommandEntry,
].toSorted((a, b) => (`${a.noun} ${a.verb}` < `${b.noun} ${b.verb}` ? -1 : 1));
