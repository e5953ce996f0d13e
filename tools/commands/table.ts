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
    noun: 'vmgs',
    verb: 'dump',
    summary: 'read a file of a VMGS store',
    load: () => import('./vmgs-dump.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'list',
    summary: 'list the files of a VMGS store',
    load: () => import('./vmgs-list.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'marker check',
    summary: 'check the provisioning marker of a VMGS store',
    load: () => import('./vmgs-marker-check.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'marker show',
    summary: 'show who formatted a VMGS store, and why',
    load: () => import('./vmgs-marker-show.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'marker write',
    summary: 'write the provisioning marker of a new VMGS store',
    load: () => import('./vmgs-marker-write.ts'),
  },
].toSorted((a, b) => (`${a.noun} ${a.verb}` < `${b.noun} ${b.verb}` ? -1 : 1));
