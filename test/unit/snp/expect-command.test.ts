import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { command } from '../../../tools/commands/snp-expect.ts';
import { writeLaunchMeasurements } from '../../../tools/guestos/measurements.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const folder = scratchFolder();
const digest = (byte: number): string => byte.toString(16).padStart(2, '0').repeat(48);
writeFileSync(
  join(folder, 'measurements.json'),
  writeLaunchMeasurements(
    [1, 2].map((byte) => ({
      measurement: new Uint8Array(48).fill(byte),
      kernelCmdline: `slot=${byte}`,
      vcpuType: 'EPYC-Genoa',
    })),
  ),
);
const run = async (expected: readonly string[], measurements = 'measurements.json'): Promise<Outcome> =>
  await runCommand(command, folder, [], { measurements, expected });

describe('cvm snp expect', () => {
  test('takes the same digests in any order', async () => {
    const { code, out } = await run([digest(2), Buffer.alloc(48, 1).toString('base64')]);
    expect([code, out]).toEqual([0, '2 launch measurements, as expected\n']);
  });

  test('one that was not measured', async () => {
    const error = await expectCvmRejection(
      () => run([digest(1), digest(2), digest(3)]),
      'SNP_MEASUREMENTS_DIFFER',
    );
    expect(error.kind).toBe('mismatch');
    expect(error.facts).toEqual([
      ['expected, not measured', digest(3)],
      ['in common', 2],
    ]);
  });

  test('one that was not expected, with what it is', async () => {
    const error = await expectCvmRejection(() => run([digest(2)]), 'SNP_MEASUREMENTS_DIFFER');
    expect(error.facts).toEqual([
      ['measured, not expected', `${digest(1)} (EPYC-Genoa, "slot=1")`],
      ['in common', 1],
    ]);
    expect(error.mend).toContain('--output_groups=explain');
  });

  test.each<[string, readonly string[], string, string]>([
    ['nothing expected', [], 'measurements.json', 'OPTION_MISSING'],
    ['a short digest', ['00'], 'measurements.json', 'HEX_LENGTH'],
    ['no file', [digest(1)], 'nowhere.json', 'FILE_NOT_FOUND'],
    ['a folder', [digest(1)], '.', 'FILE_NOT_REGULAR'],
  ])('refuses %s', async (_, expected, file, code) => {
    await expectCvmRejection(() => run(expected, file), code);
  });
});
