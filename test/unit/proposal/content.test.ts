import { describe, expect, test } from 'vitest';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { STATUS, encodeReplyValue, proposalInfoValue } from '../../nns/proposal-reply.ts';
import type { DevProposal } from '../../nns/proposal-reply.ts';
import { expectRefusal } from '../../support/refusals.ts';
import { good, certifyReply, verify } from './dev-proposals.ts';

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
    const error = expectRefusal(() => verify(certificate, { request }), 'PROPOSAL_NOT_EXECUTED', 'trust');
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
    expectRefusal(() => verify(certificate, { request }), code, 'trust');
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
    expectRefusal(() => verify(certificate, { request: good.request }), code, 'trust');
  });

  test('with a measurement without metadata is accepted', () => {
    const entry = { measurement: [new Uint8Array(48)], metadata: [] };
    const change = bless({ base_guest_launch_measurements: [{ guest_launch_measurements: [[entry]] }] });
    const certificate = certifyReply(encodeReplyValue([change(proposalInfoValue(GOOD_PROPOSAL))]));
    expect(verify(certificate).measurements[0]?.kernelCmdline).toBeNull();
  });
});
