import { describe, expect, test } from 'vitest';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { BOOT_FILES, ROOT_HASH_OFFSET, VERITY_BLOCK_BYTES } from '../../../tools/guestos/layout.ts';
import { archiveVersion, validatePacking, type PackingInput } from '../../../tools/guestos/packing.ts';
import { STATUS } from '../../nns/proposal-reply.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  bootArgsText,
  bootPartition,
  recovery,
  rootPartition,
  verityPartition,
} from '../../support/guestos-images.ts';
import { KERNEL } from '../../support/firmware.ts';

const PLAN = { vcpus: [64], vcpuTypes: ['EPYC-v4'], network: 'dev' } as const;
const GOOD = recovery();
const [CHIP] = GOOD_PROPOSAL.chipIds as [Uint8Array];

function input(over: Partial<PackingInput> = {}): PackingInput {
  return { ...PLAN, boot: GOOD.boot, root: GOOD.root, request: GOOD.request, ...over };
}

/** The source with one byte changed. */
function flipped(source: ByteSource, at: number): ByteSource {
  const read = (offset: number, length: number): Uint8Array => {
    const bytes = source.read(offset, length).slice();
    if (at >= offset && at < offset + length) bytes[at - offset] = (bytes[at - offset] as number) ^ 1;
    return bytes;
  };
  return { sizeBytes: source.sizeBytes, extents: source.extents, read };
}

describe('packing a recovery image', () => {
  test('passes when certificate, measurements and root hash fit', () => {
    expect(validatePacking(input({ chipIds: [CHIP] }))).toMatchObject({
      ok: true,
      network: 'dev',
      proposalId: '139001',
      requestBound: true,
      rootHash: GOOD.rootHash,
      matched: [
        { slot: 'A', vcpuType: 'EPYC-v4' },
        { slot: 'B', vcpuType: 'EPYC-v4' },
      ],
    });
  });

  test('on dev the request may be left out, and the verdict says that nothing is bound', () => {
    expect(validatePacking(input({ request: undefined }))).toMatchObject({ ok: true, requestBound: false });
  });

  test.each<[string, () => Partial<PackingInput>, string, string]>([
    [
      'a certificate of the dev network on mainnet',
      () => ({ network: 'mainnet' }),
      'CERT_SIGNATURE',
      'trust',
    ],
    [
      'an open proposal',
      () => ({ boot: recovery({ status: STATUS.open }).boot, request: undefined }),
      'PROPOSAL_NOT_EXECUTED',
      'trust',
    ],
    [
      'the request of another proposal',
      () => ({ request: signProposal({ ...GOOD_PROPOSAL, proposalId: 5n }).request }),
      'REQUEST_ID',
      'trust',
    ],
    [
      'a proposal that blesses another measurement',
      () => ({ boot: recovery({ measurements: GOOD_PROPOSAL.measurements }).boot, request: undefined }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    ],
    [
      'another vCPU count than the blessed one',
      () => ({ vcpus: [63] }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    ],
    [
      'another kernel than the blessed one',
      () => ({
        boot: bootPartition({
          bootArgs: bootArgsText(rootPartition(1).rootHash),
          proposal: GOOD.certificate,
          kernel: KERNEL.subarray(1, 5001),
        }),
      }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    ],
    [
      'other command lines than the blessed ones',
      () => ({ boot: bootPartition({ bootArgs: bootArgsText(GOOD.rootHash), proposal: GOOD.certificate }) }),
      'MEASUREMENT_NOT_BLESSED',
      'mismatch',
    ],
    [
      'another root partition than the blessed one',
      () => ({ root: rootPartition(1).image }),
      'ROOT_HASH_MISMATCH',
      'mismatch',
    ],
    [
      'a chip that is not listed',
      () => ({ chipIds: [CHIP, new Uint8Array(64)] }),
      'CHIP_NOT_LISTED',
      'mismatch',
    ],
    [
      'a boot partition that lost its proposal, though its request is given',
      () => ({ boot: bootPartition({ bootArgs: bootArgsText(rootPartition(1).rootHash) }) }),
      'PROPOSAL_ABSENT',
      'usage',
    ],
    [
      'a boot partition that lost its proposal, nothing else given',
      () => ({
        boot: bootPartition({ bootArgs: bootArgsText(rootPartition(1).rootHash) }),
        request: undefined,
      }),
      'BOOT_ARGS_ROOT_HASH',
      'mismatch',
    ],
    [
      'an empty proposal file',
      () => ({ boot: bootPartition({ bootArgs: bootArgsText(GOOD.rootHash), proposal: new Uint8Array() }) }),
      'CBOR_TRUNCATED',
      'format',
    ],
    [
      'an image that is no ext4',
      () => ({ boot: sourceFromBytes(new Uint8Array(1 << 20)) }),
      'EXT4_MAGIC',
      'format',
    ],
    [
      'a root partition without a tree',
      () => ({ root: sourceFromBytes(new Uint8Array(1 << 20)) }),
      'VERITY_NO_SUPERBLOCK',
      'format',
    ],
    [
      'one changed byte of root data',
      () => ({ root: flipped(GOOD.root, 1024 + 0x38) }),
      'VERITY_DATA_BLOCK',
      'mismatch',
    ],
  ])('refuses %s', (_, over, code, kind) => {
    expectCvmError(() => validatePacking(input(over())), code, kind as 'trust');
  });

  test.each(Object.values(BOOT_FILES).filter((name) => name !== 'version.txt' && !name.endsWith('.cbor')))(
    'refuses a boot partition without /%s',
    (name) => {
      const boot = bootPartition({
        bootArgs: bootArgsText(rootPartition(1).rootHash),
        proposal: GOOD.certificate,
        without: [name],
      });
      expectCvmError(() => validatePacking(input({ boot })), 'BOOT_FILE_MISSING', 'format');
    },
  );

  test('refuses every flipped byte of the certificate', () => {
    for (let at = 0; at < GOOD.certificate.length; at += 17) {
      const proposal = GOOD.certificate.slice();
      proposal[at] = (proposal[at] as number) ^ 1;
      const boot = bootPartition({ bootArgs: bootArgsText(rootPartition(1).rootHash), proposal });
      expect(() => validatePacking(input({ boot }))).toThrow(
        expect.objectContaining({ kind: expect.stringMatching(/^(trust|format)$/) as string }) as Error,
      );
    }
  });
});

describe('packing a release without a proposal', () => {
  const root = rootPartition(3);
  const release = (bootArgs: string): Partial<PackingInput> => ({
    boot: bootPartition({ bootArgs }),
    root: root.image,
    request: undefined,
  });

  test('passes when every command line names the root partition', () => {
    expect(validatePacking(input(release(bootArgsText(root.rootHash))))).toEqual({
      ok: true,
      network: 'dev',
      proposalId: null,
      rootHash: root.rootHash,
      checks: [
        {
          name: 'boot-args',
          status: 'ok',
          detail: `BOOT_ARGS_A, BOOT_ARGS_TEE_A, BOOT_ARGS_B, BOOT_ARGS_TEE_B name root hash ${root.rootHash}`,
        },
      ],
    });
  });

  const good = bootArgsText(root.rootHash);
  test.each<[string, string, string]>([
    ['another root hash', bootArgsText('00'.repeat(32)), 'BOOT_ARGS_ROOT_HASH'],
    [
      'another root hash in one of four lines',
      good.replace(root.rootHash, '00'.repeat(32)),
      'BOOT_ARGS_ROOT_HASH',
    ],
    ['no root hash in one line', good.replace(/root_hash=[0-9a-f]+"\n$/, '"\n'), 'BOOT_ARGS_ROOT_HASH'],
    [
      'a second root hash',
      good.replace('root_hash=', `root_hash=${'00'.repeat(32)} root_hash=`),
      'BOOT_ARGS_ROOT_HASH',
    ],
    ['the root hash in upper case', bootArgsText(root.rootHash.toUpperCase()), 'BOOT_ARGS_ROOT_HASH'],
    ['no SEV command lines', good.replaceAll('_TEE', '_OLD'), 'BOOT_ARGS_TEE_MISSING'],
    [
      'a command line that can be read in two ways',
      good.replace('root=/dev/x', 'root=$x'),
      'BOOT_ARGS_AMBIGUOUS',
    ],
  ])('refuses %s', (_, bootArgs, code) => {
    expectCvmError(() => validatePacking(input(release(bootArgs))), code);
  });

  test('refuses a chip id, which only a proposal can list', () => {
    expectCvmError(
      () => validatePacking(input({ ...release(good), chipIds: [CHIP] })),
      'PROPOSAL_ABSENT',
      'usage',
    );
  });

  test('refuses a tree over a part of the file system', () => {
    const whole = rootPartition(3).image;
    const partly = verityPartition(
      sparseSource(1 << 20, [{ offset: 0, source: sourceFromBytes(whole.read(0, 1 << 20)) }]),
      (1 << 20) / VERITY_BLOCK_BYTES - 1,
    );
    expect(partly.image.sizeBytes).toBeGreaterThan(ROOT_HASH_OFFSET);
    expectCvmError(
      () => validatePacking(input({ ...release(bootArgsText(partly.rootHash)), root: partly.image })),
      'ROOT_NOT_COVERED',
      'mismatch',
    );
  });
});

describe('VERSION.TXT', () => {
  test('is the version of the build, marked on dev', () => {
    expect(archiveVersion(utf8Bytes('0a1b2c\n'), 'mainnet')).toBe('0a1b2c\n');
    expect(archiveVersion(utf8Bytes('0a1b2c'), 'mainnet')).toBe('0a1b2c\n');
    expect(archiveVersion(utf8Bytes('0a1b2c\n'), 'dev')).toBe('0a1b2c-dev\n');
    expect(archiveVersion(utf8Bytes('0a1b2c-test\n'), 'dev')).toBe('0a1b2c-test-dev\n');
  });

  test.each(['', '\n', 'a b', 'a\nb', 'a\n\n', '-a', 'a\u001b[2J', 'ü', 'a'.repeat(129)])(
    'refuses %j',
    (text) => {
      expectCvmError(() => archiveVersion(utf8Bytes(text), 'dev'), 'VERSION_TEXT', 'format');
    },
  );

  test('refuses a version marked dev in a mainnet image', () => {
    expectCvmError(() => archiveVersion(utf8Bytes('a-dev\n'), 'mainnet'), 'VERSION_NETWORK', 'mismatch');
  });
});
