import { describe, expect, test } from 'vitest';
import type { ByteSource } from '../../../tools/bytes/source.ts';
import { sliceSource, sourceFromBytes, sparseSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { validatePacking } from '../../../tools/guestos/packing.ts';
import { refusalOf } from '../../../tools/guestos/validate.ts';
import { writeLock, type Lock } from '../../../tools/lock/lock.ts';
import { examine, type Examined, type ExamineInput } from '../../../tools/report/examine.ts';
import { signProposal } from '../../nns/answer.ts';
import { STATUS } from '../../nns/proposal-reply.ts';
import { expectCvmError } from '../../support/errors.ts';
import { bootArgsText, bootPartition, recovery, rootPartition } from '../../support/guestos-images.ts';
import {
  goodReport,
  nearMissReport,
  recoveryInput,
  releaseReport,
  unvotedReport,
} from '../../support/report-pages.ts';

const good = recovery();
const base = rootPartition(1);

/** The code with which a step ends, or how it decides. */
function outcomeOf(step: () => Examined['outcome']): string {
  try {
    const outcome = step();
    return outcome.kind === 'refused' ? outcome.refusal.error.code : outcome.kind;
  } catch (error) {
    if (error instanceof CvmError) return `throws ${error.code}`;
    throw error;
  }
}

/** What packing decides from the same bytes. */
function packing(input: ExamineInput): Examined['outcome'] {
  try {
    const verdict = validatePacking({ ...input, boot: input.boot as ByteSource });
    return 'matched' in verdict ? { kind: 'blessed', verdict } : { kind: 'release', verdict };
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind === 'usage') throw error;
    return { kind: 'refused', refusal: refusalOf(error, input.network) };
  }
}

/** A source with one byte changed. */
function tampered(source: ByteSource, at: number): ByteSource {
  const byte = source.read(at, 1)[0] as number;
  return sparseSource(source.sizeBytes, [
    { offset: 0, source: sliceSource(source, 0, at) },
    { offset: at, source: sourceFromBytes(Uint8Array.of(byte ^ 1)) },
    { offset: at + 1, source: sliceSource(source, at + 1, source.sizeBytes - at - 1) },
  ]);
}

const CHIP = new Uint8Array(64).fill(0x2a);
/** The title, changed after it was signed. */
const forged = Uint8Array.from(good.certificate);
forged[Buffer.from(forged).indexOf('Bless a recovery')] = 'b'.charCodeAt(0);
const withCertificate = (proposal: Uint8Array): ByteSource =>
  bootPartition({ bootArgs: bootArgsText(base.rootHash), proposal });

describe('a page decides as packing does', () => {
  test.each<[string, ExamineInput, string]>([
    ['a good image', recoveryInput(good), 'blessed'],
    ['without its request on dev', recoveryInput(good, { request: undefined }), 'blessed'],
    ['a chip that is listed', recoveryInput(good, { chipIds: [CHIP] }), 'blessed'],
    ['a chip that is not', recoveryInput(good, { chipIds: [CHIP.map(() => 1)] }), 'CHIP_NOT_LISTED'],
    ['another number of vCPUs', recoveryInput(good, { vcpus: [8] }), 'MEASUREMENT_NOT_BLESSED'],
    ['another CPU', recoveryInput(good, { vcpuTypes: ['EPYC-Turin'] }), 'MEASUREMENT_NOT_BLESSED'],
    ['another root partition', recoveryInput(good, { root: rootPartition(3).image }), 'ROOT_HASH_MISMATCH'],
    ['the root partition of the base', recoveryInput(good, { root: base.image }), 'ROOT_HASH_MISMATCH'],
    [
      'a changed byte of the root partition',
      recoveryInput(good, { root: tampered(good.root, 300_000) }),
      'VERITY_DATA_BLOCK',
    ],
    ['a lost proposal', recoveryInput(good, { boot: good.base, request: undefined }), 'BOOT_ARGS_ROOT_HASH'],
    ['a lost proposal and its request', recoveryInput(good, { boot: good.base }), 'throws PROPOSAL_ABSENT'],
    [
      'the request of another proposal',
      recoveryInput(good, { request: recovery({ proposalId: 7n }).request }),
      'REQUEST_ID',
    ],
    [
      'mainnet, which did not sign it',
      recoveryInput(good, { network: 'mainnet', lock: undefined }),
      'CERT_SIGNATURE',
    ],
    [
      'a title changed after it was signed',
      recoveryInput(good, { boot: withCertificate(forged) }),
      'CERT_SIGNATURE',
    ],
    [
      'bytes that are no certificate',
      recoveryInput(good, { boot: withCertificate(Uint8Array.of(0xa0)) }),
      'CERT_FIELD_MISSING',
    ],
    ['an open proposal', recoveryInput(recovery({ status: STATUS.open })), 'PROPOSAL_NOT_EXECUTED'],
    ['a rejected proposal', recoveryInput(recovery({ status: STATUS.rejected })), 'PROPOSAL_NOT_EXECUTED'],
    ['a release', recoveryInput(good, { boot: good.base, root: base.image, request: undefined }), 'release'],
    [
      'no firmware',
      recoveryInput(good, {
        boot: bootPartition({
          bootArgs: bootArgsText(base.rootHash),
          proposal: good.certificate,
          without: ['OVMF_SEV.fd'],
        }),
      }),
      'throws BOOT_FILE_MISSING',
    ],
  ])('%s', (_, input, expected) => {
    expect(outcomeOf(() => examine(input).outcome)).toBe(expected);
    if (expected === 'throws BOOT_FILE_MISSING') return;
    expect(outcomeOf(() => packing(input))).toBe(expected);
    if (expected.startsWith('throws')) return;
    expect(examine(input).outcome).toEqual(packing(input));
  });

  test('what comes first is what is told', () => {
    const both = recoveryInput(good, { root: tampered(good.root, 300_000), boot: withCertificate(forged) });
    expect(outcomeOf(() => examine(both).outcome)).toBe('VERITY_DATA_BLOCK');
    expect(outcomeOf(() => packing(both))).toBe('VERITY_DATA_BLOCK');
  });
});

describe('what a page says of a refused image', () => {
  test('nothing of a certificate that is not believed', () => {
    const { certification, boot } = examine(recoveryInput(good, { boot: withCertificate(forged) }));
    expect(certification?.facts).toBeNull();
    expect(certification?.stages.at(-1)).toMatchObject({ ok: false });
    expect(boot.otherBlessed).toEqual([]);
    expect(boot.launches.every(({ blessed }) => blessed === null)).toBe(true);
  });

  test('no root hash of a root partition that does not fit its tree', () => {
    expect(examine(recoveryInput(good, { root: tampered(good.root, 300_000) })).root).toBeNull();
  });

  test('what else was measured', () => {
    const { outcome } = nearMissReport();
    expect(outcome).toMatchObject({
      kind: 'refused',
      refusal: { nearestLaunch: { matches: [{ differences: ['64 vCPUs, not 8'] }, {}] } },
    });
  });
});

describe('what a page says of a good one', () => {
  const report = goodReport();

  test('launches and what else is blessed', () => {
    expect(report.boot.launches.map(({ slot, blessed }) => [slot, blessed])).toEqual([
      ['A', true],
      ['B', true],
    ]);
    expect(report.boot.otherBlessed).toEqual([]);
    const strange = { measurement: new Uint8Array(48).fill(9) };
    const more = recovery({ measurements: [...good.proposal.measurements, strange] });
    expect(examine(recoveryInput(more)).boot.otherBlessed).toEqual([
      { measurement: '09'.repeat(48), vcpuType: null, slot: null, hasCommandLine: false },
    ]);
  });

  test('components, where links lead, and that they are the base’s', () => {
    expect(report.boot.components.map(({ name, path, sameAsBase }) => [name, path, sameAsBase])).toEqual([
      ['OVMF_SEV.fd', 'OVMF_SEV.fd', true],
      ['vmlinuz', 'vmlinuz-1', true],
      ['initrd.img', 'initrd.img-1', true],
    ]);
    const other = recovery({}, { boot: { kernel: new Uint8Array(5000).fill(3) } });
    const { boot } = examine(recoveryInput(other));
    expect(boot.components.map(({ sameAsBase }) => sameAsBase)).toEqual([true, false, true]);
    const line = recovery({}, { boot: { bootArgs: bootArgsText('cd'.repeat(32)) } });
    expect(examine(recoveryInput(line)).boot.commandLines.map(({ sameAsBase }) => sameAsBase)).toEqual([
      false,
      false,
    ]);
  });

  test('one launch page by page, the same pages once', () => {
    const names = report.boot.steps.map(({ name, pages }) => [name, pages]);
    expect(names[0]).toEqual(['firmware', 2]);
    expect(names.slice(-2)).toEqual([
      ['VMSA 0', 1],
      ['VMSA 1 to 63', 63],
    ]);
    const last = (vcpus: number) => examine(recoveryInput(good, { vcpus: [vcpus] })).boot.steps.at(-1)?.name;
    expect([last(1), last(2), last(3)]).toEqual(['VMSA 0', 'VMSA 1', 'VMSA 1 to 2']);
  });

  test('the tree against the base', () => {
    const changes = report.tree.rows
      .filter(({ change }) => change !== 'same')
      .map(({ path, change }) => [path, change]);
    expect(changes).toEqual([
      ['alternative_guestos_proposal.cbor', 'added'],
      ['config-1', 'removed'],
      ['grub.cfg', 'changed'],
      ['note.txt', 'added'],
    ]);
  });
});

describe('before the vote', () => {
  test('the base is described, and not compared with itself', () => {
    const { outcome, isBeforeVote, tree, certification, boot } = unvotedReport();
    expect(outcome).toEqual({ kind: 'not-voted' });
    expect({ isBeforeVote, compared: tree.compared, certification }).toEqual({
      isBeforeVote: true,
      compared: false,
      certification: null,
    });
    expect(boot.launches.map(({ blessed }) => blessed)).toEqual([null, null]);
  });

  test('without a boot partition and a base there is nothing to describe', () => {
    expectCvmError(
      () => examine(recoveryInput(good, { boot: undefined, base: undefined })),
      'REPORT_INPUT',
      'usage',
    );
  });

  test('a release has no proposal, no base and no lock', () => {
    expect(releaseReport()).toMatchObject({
      outcome: { kind: 'release' },
      certification: null,
      base: null,
      lock: null,
    });
  });
});

describe('a lock', () => {
  const facts = recoveryInput(recovery({}, { base: { version: `${'ab'.repeat(20)}\n` } }));
  const described = examine(facts);
  const locked: Lock = {
    network: 'dev',
    base: {
      commit: 'ab'.repeat(20),
      urls: ['https://example.com/x'],
      sha256: described.base?.file.sha256 ?? '',
      size: described.base?.file.sizeBytes ?? 0,
    },
    proposal: {
      id: '139001',
      sha256: described.certification?.certificate.sha256 ?? '',
      requestSha256: described.certification?.request?.sha256 ?? '',
      certifiedTimeNs: '1769999760000000000',
    },
  };
  const withLock = (lock: Lock): Examined =>
    examine({ ...facts, lock: { name: 'pins.lock.json', text: writeLock(lock) } });

  test('whose every value is found', () => {
    const { outcome, lock } = withLock(locked);
    expect(outcome.kind).toBe('blessed');
    expect(lock?.checks).toHaveLength(8);
    expect(lock?.checks.every(({ found, pinned }) => found === pinned)).toBe(true);
  });

  const baseFile = locked.base as Exclude<Lock['base'], { target: string }>;
  const proposalFile = locked.proposal as Exclude<NonNullable<Lock['proposal']>, { target: string }>;
  test.each<[string, Lock]>([
    ['network', { ...locked, network: 'mainnet' }],
    ['base.commit', { ...locked, base: { ...baseFile, commit: 'cd'.repeat(20) } }],
    ['base.sha256', { ...locked, base: { ...baseFile, sha256: '0'.repeat(64) } }],
    ['base.size', { ...locked, base: { ...baseFile, size: 7 } }],
    ['proposal.id', { ...locked, proposal: { ...proposalFile, id: '139002' } }],
    ['proposal.sha256', { ...locked, proposal: { ...proposalFile, sha256: '0'.repeat(64) } }],
    ['proposal.requestSha256', { ...locked, proposal: { ...proposalFile, requestSha256: '0'.repeat(64) } }],
    ['proposal.certifiedTimeNs', { ...locked, proposal: { ...proposalFile, certifiedTimeNs: '7' } }],
  ])('that pins another %s is no lock of this image', (name, lock) => {
    const { outcome } = withLock(lock);
    expect(outcome).toMatchObject({ kind: 'refused', refusal: { error: { code: 'LOCK_DIFFERS' } } });
    const names = outcome.kind === 'refused' ? outcome.refusal.error.facts.map(([fact]) => fact) : [];
    expect(names).toEqual(['lock', `${name}, pinned`, `${name}, found`]);
  });

  test('that is none is malformed input', () => {
    expectCvmError(() => examine({ ...facts, lock: { name: 'x', text: '{}' } }), 'LOCK_INVALID', 'format');
  });

  test('proves nothing about what is not at hand', () => {
    const { lock } = examine({ ...facts, request: undefined, lock: { name: 'x', text: writeLock(locked) } });
    expect(lock?.checks.find(({ name }) => name === 'proposal.requestSha256')?.found).toBeNull();
  });

  test('and its proposal’s certificate cannot be another', () => {
    const other = signProposal({ ...good.proposal, title: 'another' });
    const boot = bootPartition({
      bootArgs: bootArgsText(base.rootHash),
      version: `${'ab'.repeat(20)}\n`,
      proposal: other.certificate,
    });
    const { outcome } = examine({ ...facts, boot, lock: { name: 'x', text: writeLock(locked) } });
    expect(outcome).toMatchObject({ kind: 'refused', refusal: { error: { code: 'LOCK_DIFFERS' } } });
  });
});
