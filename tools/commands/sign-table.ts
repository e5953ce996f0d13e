import type { CommandEntry } from './command.ts';

/**
 * The commands that hold a private key. They are part of the whole tool and of a bundle of their own, which the rule
 * igvm_sign runs; no other build action reaches them.
 */
export const SIGN_COMMANDS: readonly CommandEntry[] = [
  {
    noun: 'igvm',
    verb: 'sign',
    summary: 'sign an IGVM file: put an SEV-SNP ID block into it',
    load: () => import('./igvm-sign.ts'),
  },
];
