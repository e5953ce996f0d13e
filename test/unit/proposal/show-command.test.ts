import { IDL } from '@dfinity/candid';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { command } from '../../../tools/commands/proposal-show.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import {
  STATUS,
  encodeProposalReply,
  encodeReplyValue,
  proposalInfoValue,
} from '../../nns/proposal-reply.ts';
import { leaf, subtree } from '../../nns/signer.ts';
import { expectRefusalOf } from '../../support/refusals.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import type { Outcome } from '../../support/run-command.ts';
import { ID, certify, certifyReply, good, statuses } from './dev-proposals.ts';

let folder: string;

beforeAll(() => {
  folder = scratchFolder();
  writeFileSync(join(folder, 'p.request.cbor'), good.request);
});

const show = (certificate: Uint8Array, options: Record<string, string | boolean> = {}): Promise<Outcome> => {
  writeFileSync(join(folder, 'p.cbor'), certificate);
  return runCommand(command, folder, ['p.cbor'], { network: 'dev', ...options });
};

const showJson = async (...call: Parameters<typeof show>): Promise<Record<string, unknown>> =>
  JSON.parse((await show(call[0], { ...call[1], json: true })).out) as Record<string, unknown>;

type Value = Record<string, unknown>;
/** The good proposal with another action. */
function withAction(action: Value): Uint8Array {
  const info = proposalInfoValue(GOOD_PROPOSAL);
  const [proposal] = info['proposal'] as [Value];
  return certifyReply(encodeReplyValue([{ ...info, proposal: [{ ...proposal, action: [action] }] }]));
}

describe('cvm proposal show', () => {
  test('shows every field of ProposalInfo, by name', async () => {
    const { proposalInfo } = await showJson(good.certificate, { request: 'p.request.cbor' });
    expect(Object.keys(proposalInfo as Value).sort()).toEqual(
      Object.keys(proposalInfoValue(GOOD_PROPOSAL)).sort(),
    );
    expect(proposalInfo).toMatchObject({
      id: { id: '139001' },
      status: '4',
      ballots: [{ 0: '1', 1: { vote: '1', voting_power: '100' } }],
      latest_tally: { no: '0', yes: '100', total: '100' },
      failure_reason: null,
      proposal: {
        title: GOOD_PROPOSAL.title,
        action: {
          BlessAlternativeGuestOsVersion: {
            chip_ids: ['2a'.repeat(64), '2b'.repeat(64)],
            rootfs_hash: '1d'.repeat(32),
          },
        },
      },
    });
  });

  test('is an outline for people, with names of statuses and dates', async () => {
    const { code, out } = await show(good.certificate, { request: 'p.request.cbor' });
    expect(code).toBe(0);
    expect(out).toContain('\nstatus: 4 (PROPOSAL_STATUS_EXECUTED)\n');
    expect(out).toMatch(/^proposal_timestamp_seconds: 1769990000 \(2026-02-01T23:53:20Z\)$/m);
    expect(out).toContain(`chip_ids\n        [0]: ${'2a'.repeat(64)}\n        [1]: ${'2b'.repeat(64)}\n`);
    expect(out).toMatch(/^ok {10}question {4}governance was asked for proposal 139001/m);
    expect(out).toMatch(/blesses a GuestOS: yes/);
  });

  test('says what is not proven when the request is not at hand', async () => {
    const { out } = await show(good.certificate);
    expect(out).toMatch(/^not proven {2}question/m);
    expect(await showJson(good.certificate)).toMatchObject({ requestBound: false });
  });

  test.each(['open', 'rejected', 'adopted', 'failed'] as const)(
    'shows a proposal that is %s, and why it blesses nothing',
    async (status) => {
      const { certificate } = signProposal({ ...GOOD_PROPOSAL, status: STATUS[status] });
      const { code, out } = await show(certificate);
      expect(code).toBe(0);
      expect(out).toContain('blesses a GuestOS: no, PROPOSAL_NOT_EXECUTED');
      expect(await showJson(certificate)).toMatchObject({
        blessing: { ok: false, error: { code: 'PROPOSAL_NOT_EXECUTED' } },
      });
    },
  );

  test('shows another action whole', async () => {
    const { out } = await show(withAction({ Motion: { motion_text: 'line one\nline two' } }));
    expect(out).toContain('Motion\n      motion_text\n        | line one\n        | line two\n');
    expect(out).toContain('blesses a GuestOS: no, PROPOSAL_ACTION');
  });

  test('shows fields that nobody knows, by number', async () => {
    const type = IDL.Record({
      id: IDL.Opt(IDL.Record({ id: IDL.Nat64 })),
      status: IDL.Int32,
      topic: IDL.Int32,
      executed_timestamp_seconds: IDL.Nat64,
      a_field_of_tomorrow: IDL.Text,
      another: IDL.Vec(IDL.Nat16),
    });
    const value = {
      id: [{ id: 7n }],
      status: 4,
      topic: 5,
      executed_timestamp_seconds: 1n,
      a_field_of_tomorrow: 'kept',
      another: [1, 2],
    };
    const reply = new Uint8Array(IDL.encode([IDL.Opt(type)], [[value]]));
    const { proposalInfo } = await showJson(certifyReply(reply));
    const unknown = Object.entries(proposalInfo as Value).filter(([name]) => /^_[0-9]+_$/.test(name));
    expect(unknown.map(([, shown]) => shown)).toEqual(expect.arrayContaining(['kept', ['1', '2']]));
  });

  test.each<[string, () => Uint8Array, string, 'trust' | 'format']>([
    [
      'a proposal that does not exist',
      () => certifyReply(encodeProposalReply(null)),
      'PROPOSAL_MISSING',
      'trust',
    ],
    ['a reply that is no Candid', () => certifyReply(Uint8Array.of(1, 2, 3)), 'CANDID_MALFORMED', 'format'],
    [
      'a rejected call',
      () => certify(statuses(subtree([ID, subtree(['status', leaf('rejected')])]))),
      'PROPOSAL_NOT_REPLIED',
      'trust',
    ],
  ])('refuses %s, and tells the stages up to there', async (_, certificate, code, kind) => {
    await expectRefusalOf(() => show(certificate()), code, kind);
  });

  test('shows nothing of a certificate that a stranger signed', async () => {
    await expectRefusalOf(() => show(good.certificate, { network: 'mainnet' }), 'CERT_SIGNATURE', 'trust');
  });

  test('refuses a request that was not the one answered', async () => {
    const { request } = signProposal({ ...GOOD_PROPOSAL, proposalId: 5n });
    writeFileSync(join(folder, 'other.request.cbor'), request);
    await expectRefusalOf(
      () => show(good.certificate, { request: 'other.request.cbor' }),
      'REQUEST_ID',
      'trust',
    );
  });

  test('refuses to bind a request when the answer does not say which proposal it is', async () => {
    const nameless = certifyReply(encodeReplyValue([{ ...proposalInfoValue(GOOD_PROPOSAL), id: [] }]));
    await expectRefusalOf(
      () => show(nameless, { request: 'p.request.cbor' }),
      'PROPOSAL_ID_MISSING',
      'trust',
    );
    expect((await show(nameless)).out).toContain('id: null');
  });
});
