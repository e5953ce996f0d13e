import { BUILD_COMMANDS } from './build-table.ts';
import type { CommandEntry } from './command.ts';

/** All commands of the tool, by noun and verb. */
export const COMMANDS: readonly CommandEntry[] = [
  ...BUILD_COMMANDS,
  {
    noun: 'proposal',
    verb: 'download',
    summary: 'download a certified proposal, and keep it if it verifies',
    load: () => import('./proposal-download.ts'),
  } satisfies CommandEntry,
  {
    noun: 'snp',
    verb: 'id-block create',
    summary: 'sign an ID block: which launch digest a guest of yours must have',
    load: () => import('./snp-id-block-create.ts'),
  } satisfies CommandEntry,
].toSorted((a, b) => (`${a.noun} ${a.verb}` < `${b.noun} ${b.verb}` ? -1 : 1));
