import { bytesToHex } from '../bytes/hex.ts';
import { digestSource } from '../bytes/digest.ts';
import { showRaw, type RawText } from '../bytes/text.ts';
import { mismatchError } from '../errors.ts';
import { BOOT_FILES } from '../guestos/layout.ts';
import type { TreeEntry } from '../tree/entry.ts';

/** At most so many differences are named. */
const SHOWN = 5;

/**
 * Refuses a boot partition that differs from its base's in anything but the proposal: names, types, modes, owners, labels,
 * contents. Firmware, kernel, initrd and command lines are what a launch measures; this binds the rest, `grub.cfg` among it.
 * Times are left out: a base of its own day has them, the partition made from it may not.
 *
 * @returns how many entries were compared
 * @throws CvmError mismatch BASE_TREE
 */
export function requireBaseTree(boot: readonly TreeEntry[], base: readonly TreeEntry[]): number {
  const found = describeAll(boot);
  const wanted = describeAll(base);
  found.delete(BOOT_FILES.proposal);
  wanted.delete(BOOT_FILES.proposal);
  const differences = [...new Set([...wanted.keys(), ...found.keys()])]
    .filter((path) => found.get(path) !== wanted.get(path))
    .toSorted((a, b) => (a < b ? -1 : 1))
    .map(
      (path) => `${found.has(path) ? (wanted.has(path) ? 'changed' : 'added') : 'removed'} /${showRaw(path)}`,
    );
  if (differences.length === 0) return found.size;
  throw mismatchError('BASE_TREE', 'the boot partition holds something else than its base and the proposal', {
    facts: [
      ['differences', differences.length],
      ...differences.slice(0, SHOWN).map((difference) => ['difference', difference] as const),
    ],
    mend: 'do not use the image: rebuild it from the lock and compare',
  });
}

function describeAll(entries: readonly TreeEntry[]): Map<RawText, string> {
  return new Map(entries.map((entry) => [entry.path, describe(entry)]));
}

function describe(entry: TreeEntry): string {
  const { type, mode, uid, gid, xattrs } = entry;
  const own =
    entry.type === 'file'
      ? bytesToHex(digestSource('sha256', entry.content))
      : entry.type === 'symlink'
        ? entry.target
        : entry.type === 'hardlink'
          ? entry.linkPath
          : entry.type === 'char' || entry.type === 'block'
            ? `${entry.major}:${entry.minor}`
            : '';
  const labels = [...xattrs]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${bytesToHex(value)}`);
  return JSON.stringify([type, mode, uid, gid, labels, own]);
}
