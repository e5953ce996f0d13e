import { bytesToHex } from '../bytes/hex.ts';
import { showText } from '../bytes/text.ts';
import { slotOf } from './boot-args.ts';
import { measurementJson, type LaunchMeasurement } from './measurements.ts';

export interface ProposalPayload {
  /** 64 lower-case hex digits: the dm-verity root hash of the new root partition. */
  readonly rootHash: string;
  /** Of the base release, whose boot partition stays. */
  readonly measurements: readonly LaunchMeasurement[];
  /** 64 bytes each: the nodes that may start the image. */
  readonly chipIds: readonly Uint8Array[];
}

/**
 * `proposal-payload.json`: what a proposer submits as BlessAlternativeGuestOsVersion, in governance's field names, with
 * bytes as decimals. `chip_ids` is left out while no chip is known; governance demands at least one.
 */
export function writeProposalPayload(payload: ProposalPayload): string {
  return `${JSON.stringify({
    ...(payload.chipIds.length === 0 ? {} : { chip_ids: payload.chipIds.map((chip) => [...chip]) }),
    rootfs_hash: payload.rootHash,
    base_guest_launch_measurements: {
      guest_launch_measurements: payload.measurements.map(measurementJson),
    },
  })}\n`;
}

/** The same for people, to be read before it is submitted. */
export function summariseProposalPayload(payload: ProposalPayload): string {
  const lines = [
    `root file system  ${payload.rootHash}`,
    `base measurements ${payload.measurements.length}`,
    ...payload.measurements.map(
      ({ measurement, kernelCmdline, vcpuType }) =>
        `  ${bytesToHex(measurement)}  ${showText(vcpuType ?? 'unknown CPU')}  slot ${showText(
          (kernelCmdline === null ? undefined : slotOf(kernelCmdline)) ?? 'unknown',
        )}`,
    ),
    payload.chipIds.length === 0
      ? 'chips             none yet: add chip_ids before submitting'
      : `chips             ${payload.chipIds.length}`,
    ...payload.chipIds.map((chip) => `  ${bytesToHex(chip)}`),
  ];
  return `${lines.join('\n')}\n`;
}
