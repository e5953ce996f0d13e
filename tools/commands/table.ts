import { BUILD_COMMANDS } from './build-table.ts';
import type { CommandEntry } from './command.ts';

/** All commands of the tool, by noun and verb. */
export const COMMANDS: readonly CommandEntry[] = [
  ...BUILD_COMMANDS,
  {
    noun: 'certificate',
    verb: 'verify',
    summary: 'verify a certificate of the Internet Computer and show what it proves',
    load: () => import('./certificate-verify.ts'),
  } satisfies CommandEntry,
  {
    noun: 'lock',
    verb: 'pin',
    summary: 'pin a base release and the proposal that blesses its recovery image',
    load: () => import('./lock-pin.ts'),
  } satisfies CommandEntry,
  {
    noun: 'proposal',
    verb: 'download',
    summary: 'download a certified proposal, and keep it if it verifies',
    load: () => import('./proposal-download.ts'),
  } satisfies CommandEntry,
  {
    noun: 'proposal',
    verb: 'show',
    summary: 'show everything that a certified answer says about a proposal',
    load: () => import('./proposal-show.ts'),
  } satisfies CommandEntry,
].toSorted((a, b) => (`${a.noun} ${a.verb}` < `${b.noun} ${b.verb}` ? -1 : 1));
