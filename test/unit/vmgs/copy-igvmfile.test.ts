import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { command as copy } from '../../../tools/commands/vmgs-copy-igvmfile.ts';
import { command as create } from '../../../tools/commands/vmgs-create.ts';
import { command as dump } from '../../../tools/commands/vmgs-dump.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const folder = scratchFolder();
afterAll(() => {
  rmSync(folder, { recursive: true });
});
type Options = Record<string, string | boolean>;
const run = (options: Options) => runCommand(copy, folder, ['a'], { dataPath: 'firmware.dll', ...options });
const firmware = async (): Promise<string> =>
  (await runCommand(dump, folder, ['a'], { fileId: '8', rawStdout: true })).out;

test('copy-igvmfile puts the firmware of a DLL into file 8, and leaves the store alone when it cannot', async () => {
  copyFileSync(
    fileURLToPath(new URL('../../vectors/pe/firmware.dll', import.meta.url)),
    join(folder, 'firmware.dll'),
  );
  writeFileSync(join(folder, 'text'), 'hello');
  await runCommand(create, folder, ['a'], {});
  const copied = await run({ resourceCode: 'SNP', json: true });
  expect(JSON.parse(copied.out)).toMatchObject({ ok: true, id: 8, resource: 'SNP', sizeBytes: 111 });
  expect(await firmware()).toMatch(/^synthetic SNP igvm payload/);

  const before = readFileSync(join(folder, 'a'));
  for (const [options, code, exitCode] of [
    [{ resourceCode: 'SNP' }, 'VMGS_FILE_EXISTS', 1],
    [{ resourceCode: 'NONCONFIDENTIAL', allowOverwrite: true }, 'PE_RESOURCE_ABSENT', 1],
    [{ resourceCode: 'SNP', dataPath: 'text', allowOverwrite: true }, 'PE_SIGNATURE', 1],
    [{ resourceCode: 'SEV' }, 'OPTION_RESOURCE_CODE', 64],
    [{}, 'OPTION_MISSING', 64],
    [{ resourceCode: 'SNP', resourcecode: 'SNP' }, 'OPTION_REPEATED', 64],
  ] as [Options, string, number][]) {
    const error = await expectCvmRejection(() => run(options), code);
    expect(copy.exitCode?.(error), code).toBe(exitCode);
    expect(readFileSync(join(folder, 'a')).equals(before), code).toBe(true);
  }

  await run({ resourcecode: 'tdx', allowoverwrite: true });
  expect(await firmware()).toMatch(/^synthetic TDX igvm payload/);
});
