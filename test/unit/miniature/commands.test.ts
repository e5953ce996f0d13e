import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Command, Io, OptionValues } from '../../../tools/commands/command.ts';
import { command as blob } from '../../../tools/commands/miniature-blob.ts';
import { command as firmware } from '../../../tools/commands/miniature-firmware.ts';
import { command as kernel } from '../../../tools/commands/miniature-kernel.ts';
import { fillerSource } from '../../../tools/miniature/filler.ts';
import { buildMiniatureFirmware } from '../../../tools/miniature/firmware.ts';
import { buildMiniatureKernel, DEFAULT_RELEASE } from '../../../tools/miniature/kernel.ts';
import { expectCvmRejection } from '../../support/errors.ts';

const unused = (text: string): never => {
  throw new Error(`printed: ${text}`);
};

function scratch(): Io {
  const cwd = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'miniature-'));
  return { out: unused, err: unused, cwd, env: {}, isTerminal: false };
}

async function bytesOf(command: Command, options: OptionValues): Promise<Uint8Array> {
  const io = scratch();
  expect(await command.run([], { ...options, output: 'made' }, io)).toBe(0);
  expect(readdirSync(io.cwd)).toEqual(['made']);
  return new Uint8Array(readFileSync(join(io.cwd, 'made')));
}

describe('cvm miniature', () => {
  test('kernel writes the kernel of the release', async () => {
    expect(await bytesOf(kernel, { release: '1.2.3' })).toEqual(buildMiniatureKernel('1.2.3'));
    expect(await bytesOf(kernel, {})).toEqual(buildMiniatureKernel(DEFAULT_RELEASE));
  });

  test('firmware writes the firmware', async () => {
    expect(Buffer.compare(await bytesOf(firmware, {}), buildMiniatureFirmware())).toBe(0);
  });

  test('blob writes as many bytes as asked for, none too', async () => {
    const whole = fillerSource('s', 2_500_000).read(0, 2_500_000);
    expect(Buffer.compare(await bytesOf(blob, { size: '2500000', seed: 's' }), whole)).toBe(0);
    expect(await bytesOf(blob, { size: '0', seed: 's' })).toHaveLength(0);
  });

  const refused: readonly (readonly [string, Command, OptionValues, string])[] = [
    ['a kernel without an output', kernel, {}, 'OPTION_MISSING'],
    ['a kernel of an impossible release', kernel, { output: 'x', release: 'a b' }, 'KERNEL_RELEASE_INVALID'],
    ['a firmware without an output', firmware, {}, 'OPTION_MISSING'],
    ['a blob without a size', blob, { output: 'x', seed: 's' }, 'OPTION_MISSING'],
    ['a blob without a seed', blob, { output: 'x', size: '1' }, 'OPTION_MISSING'],
    ['a blob of a size with a unit', blob, { output: 'x', seed: 's', size: '1M' }, 'OPTION_NUMBER'],
    ['a blob of negative size', blob, { output: 'x', seed: 's', size: '-1' }, 'OPTION_NUMBER'],
    ['a blob above 1 TiB', blob, { output: 'x', seed: 's', size: '1099511627777' }, 'OPTION_NUMBER'],
  ];
  test.each(refused)('refuses %s and writes nothing', async (_name, command, options, code) => {
    const io = scratch();
    await expectCvmRejection(async () => await command.run([], options, io), code, 'usage');
    expect(readdirSync(io.cwd)).toEqual([]);
  });
});
