import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { command as hyperv } from '../../../tools/commands/miniature-hyperv-firmware.ts';
import { command as svsm } from '../../../tools/commands/miniature-svsm.ts';
import { readElf } from '../../../tools/elf/file.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});

test('the ELF file has code, constants, data with memory behind it, and names', async () => {
  await runCommand(svsm, folder, [], { output: 'svsm.elf' });
  const elf = readElf(new Uint8Array(readFileSync(join(folder, 'svsm.elf'))), 'svsm.elf');
  expect(elf.segments.map(({ executable, writable }) => [executable, writable])).toEqual([
    [true, false],
    [false, false],
    [false, true],
  ]);
  expect(Number(elf.segments[2]?.memBytes)).toBeGreaterThan(elf.segments[2]?.content.sizeBytes ?? 0);
  expect(elf.symbols?.count).toBe(4);
});

test('the firmware is an IGVM file with pages, parameters and a start state', async () => {
  await runCommand(hyperv, folder, [], { output: 'fw.igvm' });
  expect(existsSync(join(folder, 'fw.igvm'))).toBe(true);
  const kinds = new Set(
    readIgvm(new Uint8Array(readFileSync(join(folder, 'fw.igvm')))).headers.map(({ kind }) => kind),
  );
  for (const kind of ['page-data', 'parameter', 'vp-context'] as const) expect(kinds).toContain(kind);
});
