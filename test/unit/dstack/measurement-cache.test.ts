import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cachedRegisters } from '../../../tools/commands/measurement-cache.ts';
import { DEFAULT_VM_CONFIG, measurementCacheKey } from '../../../tools/dstack/vm-config.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { scratchFolder } from '../../support/run-command.ts';
import { DIGEST } from '../../support/dstack-image.ts';

describe('the measurement cache', () => {
  const registers = (
    n: number,
  ): { mrtd: Uint8Array; rtmr0: Uint8Array; rtmr1: Uint8Array; rtmr2: Uint8Array } => {
    const filled = new Uint8Array(48).fill(n);
    return { mrtd: filled, rtmr0: filled, rtmr1: filled, rtmr2: filled };
  };
  const config = { ...DEFAULT_VM_CONFIG, osImageHash: DIGEST };
  const place = (folder: string): string =>
    join(folder, 'measurements', `${measurementCacheKey(config)}.json`);

  test('keeps what was computed, under the key of the VmConfig', async () => {
    const folder = scratchFolder();
    expect(await cachedRegisters(folder, config, () => registers(1))).toEqual({
      registers: registers(1),
      fromCache: false,
    });
    expect(readdirSync(join(folder, 'measurements'))).toEqual([`${measurementCacheKey(config)}.json`]);
    const never = (): never => {
      throw new Error('computed again');
    };
    expect(await cachedRegisters(folder, config, never)).toEqual({
      registers: registers(1),
      fromCache: true,
    });
  });

  test.each<[string, (text: string) => string]>([
    ['version 1', (text) => text.replace('"version":3', '"version":1')],
    ['version 2', (text) => text.replace('"version":3', '"version":2')],
    ['half a file', (text) => text.slice(0, 50)],
    ['an empty file', () => ''],
    ['a huge file', (text) => text.padEnd(1 << 17)],
  ])('computes again and mends: %s', async (_, spoil) => {
    const folder = scratchFolder();
    await cachedRegisters(folder, config, () => registers(1));
    const text = readFileSync(place(folder), 'utf8');
    writeFileSync(place(folder), spoil(text));
    expect((await cachedRegisters(folder, config, () => registers(2))).registers).toEqual(registers(2));
    expect(readFileSync(place(folder), 'utf8')).toBe(text.replaceAll('01', '02'));
  });

  test('is safe for many at once: every reader sees a whole entry', async () => {
    const folder = scratchFolder();
    const all = await Promise.all(
      Array.from(
        { length: 40 },
        async (_, i) => await cachedRegisters(folder, config, () => registers(i + 1)),
      ),
    );
    for (const { registers: found } of all) expect(found.mrtd).toEqual(found.rtmr2);
    expect(readdirSync(join(folder, 'measurements'))).toHaveLength(1);
  });

  test('does not keep what names no image', async () => {
    const folder = scratchFolder();
    await cachedRegisters(folder, DEFAULT_VM_CONFIG, () => registers(1));
    expect(readdirSync(folder)).toEqual([]);
  });

  test('says when its folder cannot be written', async () => {
    const folder = scratchFolder();
    writeFileSync(join(folder, 'measurements'), 'a file');
    await expectCvmRejection(
      () => cachedRegisters(folder, config, () => registers(1)),
      'FILE_ACCESS',
      'usage',
    );
  });

  test('keeps nothing of a computation that failed', async () => {
    const folder = scratchFolder();
    const failing = cachedRegisters(folder, config, () => {
      throw new Error('no registers');
    });
    await expect(failing).rejects.toThrow('no registers');
    expect(readdirSync(folder)).toEqual([]);
  });
});
