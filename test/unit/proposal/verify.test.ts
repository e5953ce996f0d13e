import { IDL } from '@dfinity/candid';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { CvmError } from '../../../tools/errors.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import type { Trust } from '../../../tools/nns/networks.ts';
import { StageLog } from '../../../tools/nns/stages.ts';
import { isoTime, proposalFactsJson } from '../../../tools/proposal/facts.ts';
import type { ProposalFacts } from '../../../tools/proposal/facts.ts';
import { callRequestId, encodeCallContent } from '../../../tools/proposal/request.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import type { VerifyProposalOptions } from '../../../tools/proposal/verify.ts';
import { DEV_TIME_NS, devCall, signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import {
  PROPOSAL_INFO,
  STATUS,
  encodeProposalReply,
  encodeReplyValue,
  proposalInfoValue,
} from '../../nns/proposal-reply.ts';
import type { DevProposal } from '../../nns/proposal-reply.ts';
import {
  DEV_SECRET,
  EMPTY,
  STRANGER_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  fork,
  labeled,
  leaf,
  makeCertificate,
  prune,
  subnetIdOf,
  subtree,
  timeLeaf,
} from '../../nns/signer.ts';
import { expectCvmError } from '../../support/errors.ts';

/** Pairings by the hundred: a busy machine is no failure. */
const SLOW = { timeout: 120_000 };
const DEV: Trust = { network: 'dev' };
const ID = callRequestId(devCall(GOOD_PROPOSAL.proposalId));
const good = signProposal(GOOD_PROPOSAL);

const certify = (tree: HashTree): Uint8Array => makeCertificate({ tree, secret: DEV_SECRET });
const certifyReply = (reply: Uint8Array): Uint8Array =>
  certify(answerTree({ requestId: ID, reply, timeNs: DEV_TIME_NS }));

function verify(certificate: Uint8Array, options: Partial<VerifyProposalOptions> = {}): ProposalFacts {
  return verifyProposal({ certificate, trust: DEV, ...options });
}

/** The state tree whose `request_status` holds these children. */
const statuses = (below: HashTree): HashTree =>
  subtree(['request_status', below], ['time', timeLeaf(DEV_TIME_NS)]);
const replied = (reply = encodeProposalReply(GOOD_PROPOSAL)): HashTree =>
  subtree(['reply', leaf(reply)], ['status', leaf('replied')]);

describe('an executed proposal', () => {
  test('verifies with its request, and gives what it blesses', () => {
    const facts = verify(good.certificate, {
      request: good.request,
      demandRequest: true,
      proposalId: GOOD_PROPOSAL.proposalId,
    });
    expect(proposalFactsJson(facts)).toEqual({
      proposalId: '139001',
      network: 'dev',
      status: 'executed',
      certifiedTime: '2026-02-02T02:36:00.000000000Z',
      requestId: '55f593c6a7f55e437f4b039cc52dd6f7fee3f04d4b8f479377901c7d51962716',
      requestBound: true,
      title: 'Bless a recovery GuestOS',
      chipIds: ['2a'.repeat(64), '2b'.repeat(64)],
      rootfsHash: '1d'.repeat(32),
      measurements: [
        { measurement: '42'.repeat(48), kernelCmdline: 'root=/dev/vda', vcpuType: 'EPYC-Genoa' },
        { measurement: '43'.repeat(48), kernelCmdline: null, vcpuType: null },
      ],
    });
  });

  test('verifies without its request, and says that it is not bound to one', () => {
    expect(verify(good.certificate).requestBound).toBe(false);
  });

  test('is signed to the same bytes every time', () => {
    expect(signProposal(GOOD_PROPOSAL)).toEqual(good);
  });

  test('verifies when request and certificate are views of one pool', () => {
    const pool = Buffer.concat([Buffer.from('x'), good.certificate, good.request]);
    const end = 1 + good.certificate.length;
    verify(pool.subarray(1, end), { request: pool.subarray(end), demandRequest: true });
  });

  test('verifies though other requests are pruned beside it, with or without their labels', () => {
    const ours = labeled(ID, replied());
    const hiddenLabel = prune(labeled(new Uint8Array(32), EMPTY));
    const hiddenState = labeled(new Uint8Array(32).fill(0xff), prune(replied()));
    verify(certify(statuses(fork(hiddenLabel, fork(ours, hiddenState)))), { request: good.request });
  });

  test('may have a rootfs hash in upper case, which is compared in lower case', () => {
    const { certificate } = signProposal({ ...GOOD_PROPOSAL, rootfsHash: 'AB'.repeat(32) });
    expect(verify(certificate).rootfsHash).toBe('ab'.repeat(32));
  });

  test('may be without title', () => {
    expect(verify(signProposal({ ...GOOD_PROPOSAL, title: null }).certificate).title).toBeNull();
  });

  test('gives hostile texts as they are: escaping is for those who show them', () => {
    const title = '\u001b[2J\u202e<script>\u0000';
    expect(verify(signProposal({ ...GOOD_PROPOSAL, title }).certificate).title).toBe(title);
  });

  test('is believed through a delegation whose ranges hold governance', () => {
    const subnetId = subnetIdOf(SUBNET_SECRET);
    const ranges = [{ start: new Uint8Array(10), end: new Uint8Array(10).fill(0xff) }];
    const inner = certify(delegationTree({ form: 'sharded', subnetId, ranges, timeNs: DEV_TIME_NS }));
    const tree = answerTree({
      requestId: ID,
      reply: encodeProposalReply(GOOD_PROPOSAL),
      timeNs: DEV_TIME_NS,
    });
    verify(makeCertificate({ tree, secret: SUBNET_SECRET, delegation: delegationCbor(subnetId, inner) }), {
      request: good.request,
    });
  });
});

describe('whom to believe', () => {
  test('a dev proposal is nothing on mainnet', () => {
    expectCvmError(
      () => verify(good.certificate, { trust: { network: 'mainnet' } }),
      'CERT_SIGNATURE',
      'trust',
    );
  });

  test('a stranger cannot sign for dev', () => {
    const tree = answerTree({
      requestId: ID,
      reply: encodeProposalReply(GOOD_PROPOSAL),
      timeNs: DEV_TIME_NS,
    });
    const forged = makeCertificate({ tree, secret: STRANGER_SECRET });
    expectCvmError(() => verify(forged, { request: good.request }), 'CERT_SIGNATURE', 'trust');
  });
});

describe('the answer in the certificate', () => {
  const other = new Uint8Array(32).fill(9);

  test.each<[string, HashTree, string, string]>([
    [
      'no request_status',
      subtree(['time', timeLeaf(DEV_TIME_NS)]),
      'PROPOSAL_REQUEST_STATUS',
      'request_status not found in certificate',
    ],
    [
      'request_status pruned with its label',
      fork(prune(labeled('request_status', replied())), labeled('time', timeLeaf(DEV_TIME_NS))),
      'PROPOSAL_REQUEST_STATUS',
      'request_status not found in certificate',
    ],
    [
      'request_status pruned below its label',
      statuses(prune(replied())),
      'PROPOSAL_REQUEST_STATUS',
      'request_status not found in certificate',
    ],
    [
      'no request below it',
      statuses(EMPTY),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 0',
    ],
    [
      'only pruned requests below it',
      statuses(subtree([ID, prune(replied())])),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 0',
    ],
    [
      'a leaf for a request',
      statuses(leaf('replied')),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 0',
    ],
    [
      'two requests',
      statuses(subtree([ID, replied()], [other, replied()])),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 2',
    ],
    [
      'a second request that shows only its status',
      statuses(subtree([ID, replied()], [other, subtree(['status', leaf('done')])])),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 2',
    ],
    [
      'a request id of 31 bytes',
      statuses(subtree([ID.subarray(1), replied()])),
      'PROPOSAL_REQUEST_ID',
      'length',
    ],
    [
      'no status',
      statuses(subtree([ID, subtree(['reply', leaf('x')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a rejected call',
      statuses(subtree([ID, subtree(['status', leaf('rejected')], ['reject_message', leaf('no')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a call that is still processing',
      statuses(subtree([ID, subtree(['status', leaf('processing')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a status that only starts like replied',
      statuses(subtree([ID, subtree(['reply', leaf('x')], ['status', leaf('replied\0')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a pruned reply, though the signature holds',
      statuses(subtree([ID, subtree(['reply', prune(leaf('x'))], ['status', leaf('replied')])])),
      'PROPOSAL_REPLY_MISSING',
      'cut out',
    ],
    [
      'no reply',
      statuses(subtree([ID, subtree(['status', leaf('replied')])])),
      'PROPOSAL_REPLY_MISSING',
      'cut out',
    ],
  ])('is refused with %s', (_, tree, code, message) => {
    const error = expectCvmError(() => verify(certify(tree), { request: good.request }), code, 'trust');
    expect(error.message).toContain(message);
  });

  test('a rejection is told with its message', () => {
    const tree = statuses(
      subtree([ID, subtree(['status', leaf('rejected')], ['reject_message', leaf('busy')])]),
    );
    const error = expectCvmError(() => verify(certify(tree)), 'PROPOSAL_NOT_REPLIED', 'trust');
    expect(error.facts).toContainEqual(['reject message', 'busy']);
  });
});

describe('the reply', () => {
  test.each<[string, Uint8Array, string]>([
    ['says that there is no such proposal', encodeProposalReply(null), 'PROPOSAL_MISSING'],
    ['is a text', new Uint8Array(IDL.encode([IDL.Text], ['hi'])), 'PROPOSAL_MISSING'],
    [
      'is a consent message',
      new Uint8Array(IDL.encode([IDL.Variant({ Ok: IDL.Text, Err: IDL.Text })], [{ Ok: 'x' }])),
      'PROPOSAL_MISSING',
    ],
    ['is empty', new Uint8Array(), 'CANDID_MALFORMED'],
    ['is no Candid', utf8Bytes('DIDM'), 'CANDID_MALFORMED'],
    ['has bytes left over', Uint8Array.of(...encodeProposalReply(GOOD_PROPOSAL), 0), 'CANDID_MALFORMED'],
    ['has no value', Uint8Array.of(...utf8Bytes('DIDL'), 0, 0), 'CANDID_MALFORMED'],
    [
      'has a second value behind a good proposal',
      new Uint8Array(
        IDL.encode([IDL.Opt(PROPOSAL_INFO), IDL.Text], [[proposalInfoValue(GOOD_PROPOSAL)], 'x']),
      ),
      'CANDID_TYPE',
    ],
  ])('is refused when it %s', (_, reply, code) => {
    expectCvmError(() => verify(certifyReply(reply)), code);
  });

  /** A reply in which one field has the type and value that a test gives it. */
  function replyWith(field: string, type: IDL.Type, value: unknown): Uint8Array {
    const base: Record<string, IDL.Type> = {
      id: IDL.Opt(IDL.Record({ id: IDL.Nat64 })),
      status: IDL.Int32,
      topic: IDL.Int32,
      executed_timestamp_seconds: IDL.Nat64,
    };
    const values = { id: [{ id: 139001n }], status: 4, topic: 5, executed_timestamp_seconds: 1n };
    const record = IDL.Record({ ...base, [field]: type });
    return new Uint8Array(IDL.encode([IDL.Opt(record)], [[{ ...values, [field]: value }]]));
  }

  test.each<[string, Uint8Array]>([
    ['proposal is optional text', replyWith('proposal', IDL.Opt(IDL.Text), ['x'])],
    ['proposal is not optional', replyWith('proposal', IDL.Record({}), {})],
    ['id is optional text', replyWith('id', IDL.Opt(IDL.Text), ['x'])],
  ])('is refused when %s, where Candid would read null', (_, reply) => {
    expectCvmError(() => verify(certifyReply(reply)), 'CANDID_TYPE', 'format');
  });

  test.each<[string, IDL.Type, unknown]>([
    ['chip_ids', IDL.Opt(IDL.Vec(IDL.Text)), [['x']]],
    ['rootfs_hash', IDL.Opt(IDL.Vec(IDL.Nat8)), [[1]]],
    ['base_guest_launch_measurements', IDL.Opt(IDL.Text), ['x']],
  ])('is refused when %s has another type', (field, type, value) => {
    const action = IDL.Variant({ BlessAlternativeGuestOsVersion: IDL.Record({ [field]: type }) });
    const proposal = IDL.Record({
      url: IDL.Text,
      title: IDL.Opt(IDL.Text),
      summary: IDL.Text,
      action: IDL.Opt(action),
    });
    const reply = replyWith('proposal', IDL.Opt(proposal), [
      { url: '', title: [], summary: '', action: [{ BlessAlternativeGuestOsVersion: { [field]: value } }] },
    ]);
    const error = expectCvmError(() => verify(certifyReply(reply)), 'CANDID_TYPE', 'format');
    expect(error.message).toContain(field);
  });
});

describe('the proposal', () => {
  test.each([
    [STATUS.open, 'PROPOSAL_STATUS_OPEN'],
    [STATUS.rejected, 'PROPOSAL_STATUS_REJECTED'],
    [STATUS.adopted, 'PROPOSAL_STATUS_ADOPTED'],
    [STATUS.failed, 'PROPOSAL_STATUS_FAILED'],
    [0, 'PROPOSAL_STATUS_UNSPECIFIED'],
    [6, '6'],
    [-1, '-1'],
  ])('with status %i is refused', (status, name) => {
    const { certificate, request } = signProposal({ ...GOOD_PROPOSAL, status });
    const error = expectCvmError(() => verify(certificate, { request }), 'PROPOSAL_NOT_EXECUTED', 'trust');
    expect(error.message).toBe(`Proposal status must be PROPOSAL_STATUS_EXECUTED, but is ${name}`);
  });

  const chip = new Uint8Array(64);
  const measured = { measurement: new Uint8Array(48) };

  test.each<[string, Partial<DevProposal>, string]>([
    ['without chips', { chipIds: [] }, 'PROPOSAL_CHIP_IDS'],
    ['with a chip id of 63 bytes', { chipIds: [chip, chip.subarray(1)] }, 'PROPOSAL_CHIP_IDS'],
    ['with a chip id of 65 bytes', { chipIds: [new Uint8Array(65)] }, 'PROPOSAL_CHIP_IDS'],
    ['with an empty rootfs hash', { rootfsHash: '' }, 'PROPOSAL_ROOTFS_HASH'],
    ['with a rootfs hash of 63 digits', { rootfsHash: '1'.repeat(63) }, 'PROPOSAL_ROOTFS_HASH'],
    ['with a rootfs hash of 66 digits', { rootfsHash: '1'.repeat(66) }, 'PROPOSAL_ROOTFS_HASH'],
    ['with a rootfs hash that is not hex', { rootfsHash: 'g'.repeat(64) }, 'PROPOSAL_ROOTFS_HASH'],
    ['with a rootfs hash behind a line break', { rootfsHash: `${'1'.repeat(63)}\n` }, 'PROPOSAL_ROOTFS_HASH'],
    ['without measurements', { measurements: [] }, 'PROPOSAL_MEASUREMENTS'],
    [
      'with a measurement of 47 bytes',
      { measurements: [measured, { measurement: new Uint8Array(47) }] },
      'PROPOSAL_MEASUREMENTS',
    ],
    [
      'with a measurement of 96 bytes, as hex text would be',
      { measurements: [{ measurement: new Uint8Array(96) }] },
      'PROPOSAL_MEASUREMENTS',
    ],
    [
      'with a command line above 100 KiB',
      { measurements: [{ ...measured, kernelCmdline: 'x'.repeat((100 << 10) + 1) }] },
      'PROPOSAL_MEASUREMENTS',
    ],
    [
      'with a command line above 100 KiB in bytes, though not in characters',
      { measurements: [{ ...measured, kernelCmdline: 'ü'.repeat(60 << 10) }] },
      'PROPOSAL_MEASUREMENTS',
    ],
    ['with an empty vCPU type', { measurements: [{ ...measured, vcpuType: '' }] }, 'PROPOSAL_MEASUREMENTS'],
    [
      'with a vCPU type of 101 bytes',
      { measurements: [{ ...measured, vcpuType: 'x'.repeat(101) }] },
      'PROPOSAL_MEASUREMENTS',
    ],
  ])('%s is refused', (_, change, code) => {
    const { certificate, request } = signProposal({ ...GOOD_PROPOSAL, ...change });
    expectCvmError(() => verify(certificate, { request }), code, 'trust');
  });

  test('at the limits of governance is accepted', () => {
    const { certificate } = signProposal({
      ...GOOD_PROPOSAL,
      measurements: [
        { ...measured, kernelCmdline: 'x'.repeat(100 << 10), vcpuType: 'x'.repeat(100) },
        { ...measured, kernelCmdline: '', vcpuType: 'x' },
      ],
    });
    expect(verify(certificate).measurements).toHaveLength(2);
  });

  type Value = Record<string, unknown>;
  const bless = (change: Value): ((info: Value) => Value) => {
    return (info) => {
      const [proposal] = info['proposal'] as [Value];
      const [action] = proposal['action'] as [{ BlessAlternativeGuestOsVersion: Value }];
      const changed = {
        BlessAlternativeGuestOsVersion: { ...action.BlessAlternativeGuestOsVersion, ...change },
      };
      return { ...info, proposal: [{ ...proposal, action: [changed] }] };
    };
  };
  const action = (value: readonly unknown[]): ((info: Value) => Value) => {
    return (info) => ({ ...info, proposal: [{ ...(info['proposal'] as [Value])[0], action: value }] });
  };

  test.each<[string, (info: Value) => Value, string]>([
    ['without an id', (info) => ({ ...info, id: [] }), 'PROPOSAL_ID_MISSING'],
    ['without a proposal inside', (info) => ({ ...info, proposal: [] }), 'PROPOSAL_CONTENT'],
    ['without an action', action([]), 'PROPOSAL_ACTION'],
    ['with the action of a motion', action([{ Motion: { motion_text: 'hi' } }]), 'PROPOSAL_ACTION'],
    [
      'with the action of a function',
      action([{ ExecuteNnsFunction: { nns_function: 1, payload: [] } }]),
      'PROPOSAL_ACTION',
    ],
    ['with chip_ids null', bless({ chip_ids: [] }), 'PROPOSAL_CHIP_IDS'],
    ['with rootfs_hash null', bless({ rootfs_hash: [] }), 'PROPOSAL_ROOTFS_HASH'],
    ['with measurements null', bless({ base_guest_launch_measurements: [] }), 'PROPOSAL_MEASUREMENTS'],
    [
      'with the list of measurements null',
      bless({ base_guest_launch_measurements: [{ guest_launch_measurements: [] }] }),
      'PROPOSAL_MEASUREMENTS',
    ],
    [
      'with a measurement null',
      bless({
        base_guest_launch_measurements: [
          { guest_launch_measurements: [[{ measurement: [], metadata: [] }]] },
        ],
      }),
      'PROPOSAL_MEASUREMENTS',
    ],
  ])('%s is refused', (_, change, code) => {
    const certificate = certifyReply(encodeReplyValue([change(proposalInfoValue(GOOD_PROPOSAL))]));
    expectCvmError(() => verify(certificate, { request: good.request }), code, 'trust');
  });

  test('with a measurement without metadata is accepted', () => {
    const entry = { measurement: [new Uint8Array(48)], metadata: [] };
    const change = bless({ base_guest_launch_measurements: [{ guest_launch_measurements: [[entry]] }] });
    const certificate = certifyReply(encodeReplyValue([change(proposalInfoValue(GOOD_PROPOSAL))]));
    expect(verify(certificate).measurements[0]?.kernelCmdline).toBeNull();
  });
});

describe('which question was answered', () => {
  test('a certificate without its request is refused where it is demanded, with the way to get one', () => {
    const error = expectCvmError(
      () => verify(good.certificate, { demandRequest: true }),
      'REQUEST_MISSING',
      'trust',
    );
    expect(error.mend).toContain('--proposal=139001');
  });

  test('the request of another proposal is refused', () => {
    const { request } = signProposal({ ...GOOD_PROPOSAL, proposalId: 5n });
    expectCvmError(() => verify(good.certificate, { request }), 'REQUEST_ID', 'trust');
  });

  test('a reply about another proposal than was asked for is refused', () => {
    const reply = encodeProposalReply({ ...GOOD_PROPOSAL, proposalId: 5n });
    expectCvmError(() => verify(certifyReply(reply), { request: good.request }), 'REQUEST_ARGUMENT', 'trust');
  });

  test('a request that asks another canister is refused, though its id is the certified one', () => {
    const content = { ...devCall(139001n), canisterId: new Uint8Array(10) };
    const reply = encodeProposalReply(GOOD_PROPOSAL);
    const tree = answerTree({ requestId: callRequestId(content), reply, timeNs: DEV_TIME_NS });
    expectCvmError(
      () => verify(certify(tree), { request: encodeCallContent(content) }),
      'REQUEST_CANISTER',
      'trust',
    );
  });

  test('another proposal than expected is a mismatch', () => {
    expectCvmError(() => verify(good.certificate, { proposalId: 139002n }), 'PROPOSAL_ID', 'mismatch');
  });
});

test('the chain of reasoning is told in order', () => {
  const log = new StageLog();
  verify(good.certificate, { request: good.request, log });
  expect(log.stages.map(({ name }) => name)).toEqual([
    'decode',
    'delegation',
    'signature',
    'time',
    'request id',
    'reply',
    'proposal',
    'action',
    'request',
  ]);
});

test('a certificate with any flipped bit is refused by name', SLOW, () => {
  fc.assert(
    fc.property(fc.nat(good.certificate.length * 8 - 1), (bit) => {
      const flipped = new Uint8Array(good.certificate);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      let error: unknown;
      try {
        verify(flipped, { request: good.request });
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(CvmError);
      expect(['format', 'trust']).toContain((error as CvmError).kind);
    }),
    { numRuns: 60 },
  );
});

test('a request with any flipped bit is refused by name', SLOW, () => {
  for (let bit = 0; bit < good.request.length * 8; bit += 7) {
    const flipped = new Uint8Array(good.request);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    let error: unknown;
    try {
      verify(good.certificate, { request: flipped });
    } catch (thrown) {
      error = thrown;
    }
    expect(error, `bit ${bit}`).toBeInstanceOf(CvmError);
  }
});

test('times are shown in full', () => {
  expect(isoTime(1_753_272_354_975_173_830n)).toBe('2025-07-23T12:05:54.975173830Z');
  expect(isoTime(2n ** 64n - 1n)).toBe('2554-07-21T23:34:33.709551615Z');
});
