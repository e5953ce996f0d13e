import { BUILD_COMMANDS } from './build-table.ts';
import type { CommandEntry } from './command.ts';
import { SIGN_COMMANDS } from './sign-table.ts';
import { formerVmgsWords } from './vmgs-former-words.ts';

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
  {
    noun: 'vmgs',
    verb: 'dump',
    summary: 'read a file of a VMGS store',
    formerly: formerVmgsWords('-r', '-dump'),
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
  {
    noun: 'vmgs',
    verb: 'copy',
    summary: 'copy a file of a VMGS store to another id',
    load: () => import('./vmgs-copy.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'copy-igvmfile',
    summary: 'copy an IGVM file out of a DLL into a VMGS store',
    load: () => import('./vmgs-copy-igvmfile.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'delete',
    summary: 'take a file out of a VMGS store',
    load: () => import('./vmgs-delete.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'dump-file-table',
    summary: 'show the file table of a VMGS store',
    load: () => import('./vmgs-dump-file-table.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'dump-headers',
    summary: 'show both headers of a VMGS store, and which one counts',
    formerly: formerVmgsWords('-rh', '-dumpheaders'),
    load: () => import('./vmgs-dump-headers.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'encrypt',
    summary: 'encrypt a VMGS store',
    formerly: formerVmgsWords('-e', '-encrypt'),
    load: () => import('./vmgs-encrypt.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'move',
    summary: 'give a file of a VMGS store another id',
    load: () => import('./vmgs-move.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'query-encryption',
    summary: 'tell whether a VMGS store is encrypted, and by which scheme',
    load: () => import('./vmgs-query-encryption.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'query-size',
    summary: 'print the size of a file of a VMGS store',
    formerly: formerVmgsWords('-qs', '-querysize'),
    load: () => import('./vmgs-query-size.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'uefi-nvram dump',
    summary: 'show the UEFI variables of a VMGS store',
    load: () => import('./vmgs-uefi-nvram-dump.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'uefi-nvram dump-from-json',
    summary: 'show the UEFI variables of a JSON file made from a VMGS store of version 1',
    load: () => import('./vmgs-uefi-nvram-dump-from-json.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'uefi-nvram remove-boot-entries',
    summary: 'remove all boot entries from the UEFI variables of a VMGS store',
    load: () => import('./vmgs-uefi-nvram-remove-boot-entries.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'uefi-nvram remove-entry',
    summary: 'remove a UEFI variable from a VMGS store',
    load: () => import('./vmgs-uefi-nvram-remove-entry.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'update-key',
    summary: 'exchange the key of an encrypted VMGS store',
    formerly: formerVmgsWords('-uk', '-updatekey'),
    load: () => import('./vmgs-update-key.ts'),
  },
  {
    noun: 'vmgs',
    verb: 'write',
    summary: 'write a file into a VMGS store',
    formerly: formerVmgsWords('-w', '-write'),
    load: () => import('./vmgs-write.ts'),
  },
  {
    noun: 'snp',
    verb: 'id-block create',
    summary: 'sign an ID block: which launch digest a guest of yours must have',
    load: () => import('./snp-id-block-create.ts'),
  } satisfies CommandEntry,
].toSorted((a, b) => (`${a.noun} ${a.verb}` < `${b.noun} ${b.verb}` ? -1 : 1));
