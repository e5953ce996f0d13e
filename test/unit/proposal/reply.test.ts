import { IDL } from '@dfinity/candid';
import { describe, expect, test } from 'vitest';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { PROPOSAL_INFO, encodeProposalReply, proposalInfoValue } from '../../nns/proposal-reply.ts';
import { expectRefusal } from '../../support/refusals.ts';
import { certifyReply, verify } from './dev-proposals.ts';

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
    expectRefusal(() => verify(certifyReply(reply)), code);
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
    expectRefusal(() => verify(certifyReply(reply)), 'CANDID_TYPE', 'format');
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
    const error = expectRefusal(() => verify(certifyReply(reply)), 'CANDID_TYPE', 'format');
    expect(error.message).toContain(field);
  });
});
