import type { FormerWords } from './command.ts';

/**
 * What vmgstool still takes from the time before its verbs: a first word with one hyphen, and flags with one. Source:
 * openvmm, `vm/vmgs/vmgstool`, `parse_legacy_args`.
 */
const FLAGS: Readonly<Record<string, string>> = {
  '-f': '--file-path',
  '-filepath': '--file-path',
  '-s': '--file-size',
  '-filesize': '--file-size',
  '-i': '--file-id',
  '-fileid': '--file-id',
  '-d': '--data-path',
  '-datapath': '--data-path',
  '-ow': '--allow-overwrite',
  '-allowoverwrite': '--allow-overwrite',
  '-k': '--key-path',
  '-keypath': '--key-path',
  '-n': '--new-key-path',
  '-newkeypath': '--new-key-path',
  '-ea': '--encryption-algorithm',
  '-encryptionalgorithm': '--encryption-algorithm',
  '-fc': '--force-create',
  '-forcecreate': '--force-create',
};

export const formerVmgsWords = (...words: readonly string[]): FormerWords => ({ words, flags: FLAGS });
