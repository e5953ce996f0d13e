import { describe, expect, test } from 'vitest';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { BOOT_FILES, BOOT_PARTITION_BYTES } from '../../../tools/guestos/layout.ts';
import { guestOsFilesystem } from '../../../tools/guestos/partitions.ts';
import { NO_XATTRS, type TreeEntry } from '../../../tools/tree/entry.ts';
import { expectCvmError } from '../../support/errors.ts';

const COMMON = { uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS };

/** Data of a size, made when it is read. */
function filled(sizeBytes: number): ByteSource {
  return {
    sizeBytes,
    extents: [{ offset: 0, length: sizeBytes }],
    read: (_, length) => new Uint8Array(length).fill(1),
  };
}

const bootTree = (kernelBytes: number, proposal?: Uint8Array): TreeEntry[] => [
  { ...COMMON, path: '', type: 'dir', mode: 0o755 },
  ...(proposal === undefined
    ? []
    : [
        {
          ...COMMON,
          path: BOOT_FILES.proposal,
          type: 'file',
          mode: 0o644,
          content: sourceFromBytes(proposal),
        } satisfies TreeEntry,
      ]),
  { ...COMMON, path: BOOT_FILES.kernel, type: 'file', mode: 0o644, content: filled(kernelBytes) },
];

describe('a boot partition that is nearly full', () => {
  /** What 1 GiB leaves beside its tables and the directory, less a few blocks. */
  const kernelBytes = 987 * 2 ** 20;

  test('takes a proposal that fits', () => {
    expect(
      guestOsFilesystem(bootTree(kernelBytes, new Uint8Array(3000)), BOOT_PARTITION_BYTES).sizeBytes,
    ).toBe(BOOT_PARTITION_BYTES);
  });

  test('refuses one that does not, and says how much is missing', () => {
    const error = expectCvmError(
      () => guestOsFilesystem(bootTree(kernelBytes, new Uint8Array(64 << 20).fill(1)), BOOT_PARTITION_BYTES),
      'EXT4_FULL',
      'usage',
    );
    expect(error.facts.map(([name]) => name).join(' ')).toContain('missing');
  });
});
