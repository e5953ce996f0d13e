import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CvmError } from '../../../tools/errors.ts';
import { StageLog } from '../../../tools/nns/stages.ts';
import { isoTime, proposalFactsJson } from '../../../tools/proposal/facts.ts';
import { callRequestId, encodeCallContent } from '../../../tools/proposal/request.ts';
import { DEV_TIME_NS, devCall, signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { encodeProposalReply } from '../../nns/proposal-reply.ts';
import {
  EMPTY,
  STRANGER_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  fork,
  labeled,
  makeCertificate,
  prune,
  subnetIdOf,
} from '../../nns/signer.ts';
import { expectRefusal } from '../../support/refusals.ts';
import { SLOW, ID, good, certify, certifyReply, verify, statuses, replied } from './dev-proposals.ts';

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
    expectRefusal(
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
    expectRefusal(() => verify(forged, { request: good.request }), 'CERT_SIGNATURE', 'trust');
  });
});

describe('which question was answered', () => {
  test('a certificate without its request is refused where it is demanded, with the way to get one', () => {
    const error = expectRefusal(
      () => verify(good.certificate, { demandRequest: true }),
      'REQUEST_MISSING',
      'trust',
    );
    expect(error.mend).toContain('--proposal=139001');
  });

  test('the request of another proposal is refused', () => {
    const { request } = signProposal({ ...GOOD_PROPOSAL, proposalId: 5n });
    expectRefusal(() => verify(good.certificate, { request }), 'REQUEST_ID', 'trust');
  });

  test('a reply about another proposal than was asked for is refused', () => {
    const reply = encodeProposalReply({ ...GOOD_PROPOSAL, proposalId: 5n });
    expectRefusal(() => verify(certifyReply(reply), { request: good.request }), 'REQUEST_ARGUMENT', 'trust');
  });

  test('a request that asks another canister is refused, though its id is the certified one', () => {
    const content = { ...devCall(139001n), canisterId: new Uint8Array(10) };
    const reply = encodeProposalReply(GOOD_PROPOSAL);
    const tree = answerTree({ requestId: callRequestId(content), reply, timeNs: DEV_TIME_NS });
    expectRefusal(
      () => verify(certify(tree), { request: encodeCallContent(content) }),
      'REQUEST_CANISTER',
      'trust',
    );
  });

  test('another proposal than expected is a mismatch', () => {
    expectRefusal(() => verify(good.certificate, { proposalId: 139002n }), 'PROPOSAL_ID', 'mismatch');
  });
});

test('the chain of reasoning is told in order', () => {
  const log = new StageLog();
  verify(good.certificate, { request: good.request, log });
  expect(log.stages.map(({ name }) => name)).toEqual([
    'canister',
    'root key',
    'decode',
    'delegation',
    'signature',
    'time',
    'request id',
    'request',
    'reply',
    'proposal',
    'action',
    'question',
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
