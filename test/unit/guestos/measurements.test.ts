import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  readLaunchMeasurements,
  writeLaunchMeasurements,
  type LaunchMeasurement,
} from '../../../tools/guestos/measurements.ts';
import { summariseProposalPayload, writeProposalPayload } from '../../../tools/guestos/payload.ts';
import { expectCvmError } from '../../support/errors.ts';

const ENTRY: LaunchMeasurement = {
  measurement: Uint8Array.from({ length: 48 }, (_, i) => i),
  kernelCmdline: 'a "b"',
  vcpuType: 'EPYC-v4',
};
const BYTES = [...ENTRY.measurement].join(',');

describe('launch-measurements.json', () => {
  test('is one compact line with decimals and a newline', () => {
    expect(writeLaunchMeasurements([ENTRY])).toBe(
      `{"guest_launch_measurements":[{"measurement":[${BYTES}],"metadata":{"kernel_cmdline":"a \\"b\\"","vcpu_type":"EPYC-v4"}}]}\n`,
    );
  });

  test('what was written is read back', () => {
    const text = fc.string({ unit: 'grapheme' });
    const entry = fc.record({
      measurement: fc.uint8Array({ minLength: 48, maxLength: 48 }),
      kernelCmdline: fc.option(text),
      vcpuType: fc.option(text),
    });
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 5 }), (entries) => {
        expect(readLaunchMeasurements(writeLaunchMeasurements(entries))).toEqual(entries);
      }),
    );
  });

  test('older releases without vcpu_type, or without metadata, are read', () => {
    const text = `{"guest_launch_measurements":[
      {"measurement":[${BYTES}],"metadata":{"kernel_cmdline":"x"}},
      {"measurement":[${BYTES}],"metadata":{"kernel_cmdline":"x","vcpu_type":null}},
      {"measurement":[${BYTES}]}]}`;
    expect(
      readLaunchMeasurements(text).map(({ kernelCmdline, vcpuType }) => [kernelCmdline, vcpuType]),
    ).toEqual([
      ['x', null],
      ['x', null],
      [null, null],
    ]);
  });

  test.each([
    ['no JSON', '{'],
    ['another shape', '[]'],
    ['null', 'null'],
    ['no measurements', '{"guest_launch_measurements":[]}'],
    ['an unknown field', `{"guest_launch_measurements":[{"measurement":[${BYTES}]}],"x":1}`],
    ['an unknown field of an entry', `{"guest_launch_measurements":[{"measurement":[${BYTES}],"x":1}]}`],
    [
      'an unknown field of metadata',
      `{"guest_launch_measurements":[{"measurement":[${BYTES}],"metadata":{"cmdline":"x"}}]}`,
    ],
    ['47 bytes', `{"guest_launch_measurements":[{"measurement":[${BYTES.slice(2)}]}]}`],
    ['49 bytes', `{"guest_launch_measurements":[{"measurement":[9,${BYTES}]}]}`],
    ['a byte of 256', `{"guest_launch_measurements":[{"measurement":[256${BYTES.slice(1)}]}]}`],
    ['a negative byte', `{"guest_launch_measurements":[{"measurement":[-1${BYTES.slice(1)}]}]}`],
    ['a fraction', `{"guest_launch_measurements":[{"measurement":[0.5${BYTES.slice(1)}]}]}`],
    ['hex text', `{"guest_launch_measurements":[{"measurement":"${'00'.repeat(48)}"}]}`],
    [
      'a command line that is no text',
      `{"guest_launch_measurements":[{"measurement":[${BYTES}],"metadata":{"kernel_cmdline":1}}]}`,
    ],
  ])('refuses %s', (_, text) => {
    expectCvmError(() => readLaunchMeasurements(text), 'MEASUREMENTS_JSON', 'format');
  });

  test('every truncation is refused', () => {
    const text = writeLaunchMeasurements([ENTRY]).trimEnd();
    for (let end = 0; end < text.length; end++) {
      expectCvmError(() => readLaunchMeasurements(text.slice(0, end)), 'MEASUREMENTS_JSON', 'format');
    }
  });
});

describe('proposal-payload.json', () => {
  const payload = { rootHash: '1d'.repeat(32), measurements: [ENTRY], chipIds: [] };

  test("has governance's field names and bytes as decimals", () => {
    expect(JSON.parse(writeProposalPayload({ ...payload, chipIds: [new Uint8Array(64).fill(7)] }))).toEqual({
      chip_ids: [Array.from({ length: 64 }, () => 7)],
      rootfs_hash: '1d'.repeat(32),
      base_guest_launch_measurements: {
        guest_launch_measurements: [
          {
            measurement: [...ENTRY.measurement],
            metadata: { kernel_cmdline: 'a "b"', vcpu_type: 'EPYC-v4' },
          },
        ],
      },
    });
  });

  test('has no chip_ids while none is known, and the summary says so', () => {
    expect(JSON.parse(writeProposalPayload(payload))).not.toHaveProperty('chip_ids');
    expect(summariseProposalPayload(payload)).toContain('none yet');
  });

  test('the summary shows no control characters of a command line', () => {
    const hostile = { ...ENTRY, kernelCmdline: 'dfinity.system=\u001b[2J', vcpuType: 'a\nb' };
    const text = summariseProposalPayload({ ...payload, measurements: [hostile] });
    expect(text).not.toContain('\u001b');
    expect(text.split('\n')).toHaveLength(5);
  });
});
