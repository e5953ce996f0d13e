import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { CALL_OPTIONS, expandFlags } from '../../../tools/commands/snp-call.ts';
import { command } from '../../../tools/commands/snp-measure.ts';
import { readLaunchMeasurements } from '../../../tools/guestos/measurements.ts';
import { buildFirmware, firmwareS, S_ENTRIES, svsmV } from '../../support/firmware.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

let folder = '';
beforeAll(() => {
  folder = scratchFolder();
  writeFileSync(join(folder, 'S.fd'), firmwareS());
  writeFileSync(join(folder, 'V.bin'), svsmV());
  writeFileSync(join(folder, 'no-metadata.fd'), buildFirmware({ entries: S_ENTRIES.slice(1) }));
  writeFileSync(join(folder, 'disk.img'), new Uint8Array(8192));
  writeFileSync(
    join(folder, 'odd.fd'),
    buildFirmware({ entries: S_ENTRIES, sections: [[0x1001, 0x1000, 1]] }),
  );
  writeFileSync(join(folder, 'kernel'), 'kernel');
});

async function measure(options: OptionValues): Promise<Outcome> {
  return await runCommand(command, folder, [], { mode: 'snp', ovmf: 'S.fd', ...options });
}
const MANY = { vcpus: '1,3-4', vcpuType: 'EPYC-v4,EPYC-Turin', kernel: 'kernel', append: ['a', 'b  "b"'] };

interface Many {
  readonly measurements: readonly {
    readonly measurement: string;
    readonly vcpus: number;
    readonly vcpuType: string;
    readonly cmdline: string;
  }[];
}

describe('many measurements at once', () => {
  test.each(['snp', 'seves'])(
    'mode %s: types, within them counts, within them command lines',
    async (mode) => {
      const { code, out } = await measure({ ...MANY, mode, json: true });
      expect(code).toBe(0);
      const { measurements } = JSON.parse(out) as Many;
      expect(measurements.map(({ vcpus, vcpuType, cmdline }) => [vcpuType, vcpus, cmdline])).toEqual(
        ['EPYC-v4', 'EPYC-Turin'].flatMap((type) =>
          [1, 3, 4].flatMap((count) => ['a', 'b  "b"'].map((text) => [type, count, text])),
        ),
      );
      for (const { measurement, vcpus, vcpuType, cmdline } of measurements) {
        const alone = await measure({
          mode,
          kernel: 'kernel',
          vcpus: `${vcpus}`,
          vcpuType,
          append: [cmdline],
        });
        expect(alone.out).toBe(`${measurement}\n`);
      }
    },
  );

  test('mode snp:svsm and mode sev take lists too', async () => {
    const svsm = { mode: 'snp:svsm', svsm: 'V.bin', varsSize: '8192', vcpuType: 'EPYC' };
    const both = await measure({ ...svsm, vcpus: '1-2', outputFormat: 'hex' });
    const [one, two] = [await measure({ ...svsm, vcpus: '1' }), await measure({ ...svsm, vcpus: '2' })];
    expect(both.out).toBe(one.out + two.out);
    const sev = await measure({ mode: 'sev', kernel: 'kernel', append: ['a', 'b'], outputFormat: 'base64' });
    expect(sev.out).toMatch(/^(?:[A-Za-z0-9+/]{43}=\n){2}$/);
  });

  test('a table is what many give by themselves', async () => {
    const { out } = await measure(MANY);
    const lines = out.split('\n');
    expect(lines[0]).toMatch(/^measurement +vcpus +vcpu type +command line$/);
    expect(lines).toHaveLength(14);
    expect(lines[2]).toMatch(/^[0-9a-f]{96} {2}1 {6}EPYC-v4 {5}"b {2}\\"b\\""$/);
    expect((await measure({ vcpus: '2', vcpuSig: '7', outputFormat: 'table' })).out).toContain('0x7');
  });

  test('launch-measurements.json, into a file', async () => {
    const { out } = await measure({ ...MANY, outputFormat: 'measurements', outFile: 'out.json' });
    expect(out).toBe('');
    const entries = readLaunchMeasurements(readFileSync(join(folder, 'out.json'), 'utf8'));
    expect(entries).toHaveLength(12);
    expect(entries[11]).toMatchObject({ kernelCmdline: 'b  "b"', vcpuType: 'EPYC-Turin' });
    const hex = (await measure({ ...MANY, outputFormat: 'hex' })).out.trim().split('\n');
    expect(entries.map(({ measurement }) => Buffer.from(measurement).toString('hex'))).toEqual(hex);
  });

  test('nothing is written when nothing can be measured', async () => {
    expect((await measure({ ...MANY, ovmf: 'disk.img', outFile: 'none.json' })).code).toBe(1);
    expect(existsSync(join(folder, 'none.json'))).toBe(false);
  });

  test.each<[OptionValues, string]>([
    [{ vcpus: '1,1' }, '--vcpus is a list of counts and ranges'],
    [{ vcpus: '1,' }, '--vcpus is a list of counts and ranges'],
    [{ vcpus: '8-4' }, '--vcpus is a list of counts and ranges'],
    [{ vcpus: '1-5000' }, '--vcpus is not a decimal number in its range'],
    [{ vcpus: '0-1' }, '--vcpus is not a decimal number in its range'],
    [{ vcpuType: 'EPYC,EPYC' }, '--vcpu-type names a model twice'],
    [{ vcpuType: 'EPYC,' }, 'the vCPU type is not a known EPYC model'],
    [{ append: ['x', 'x'], kernel: 'kernel' }, '--append is given twice with the same text'],
    [{ dumpVmsa: true, vcpus: '1,2' }, '--dump-vmsa needs one vCPU count'],
    [{ mode: 'seves', outputFormat: 'measurements' }, '--output-format measurements has no meaning'],
    [{ compat: 'sev-snp-measure', vcpus: '1,2' }, "argument --vcpus: invalid int value: '1,2'"],
    [{ compat: 'sev-snp-measure', vcpuType: 'EPYC,EPYC-Rome' }, 'the vCPU type is not a known EPYC model'],
    [{ compat: 'virtee' }, "argument --compat: invalid choice: 'virtee'"],
  ])('refuses %o', async (options, text) => {
    const { code, out, err } = await measure({ vcpus: '1', vcpuType: 'EPYC', ...options });
    expect(err.split('\n')[0]).toContain(`: error: ${text}`);
    expect([code, out]).toEqual([2, '']);
  });
});

describe('--compat sev-snp-measure', () => {
  const ONE = { vcpus: '1', vcpuType: 'EPYC-v4' };
  test.each<[string, OptionValues, string]>([
    ['firmware without metadata', { ...ONE, ovmf: 'no-metadata.fd' }, 'OVMF_NO_METADATA'],
    ['no vCPUs', { ...ONE, vcpus: '0' }, 'VCPU_COUNT'],
    ['vCPUs below zero', { ...ONE, vcpus: '-4' }, 'SNP_MEASURE_USAGE'],
    ['features that wrap', { ...ONE, guestFeatures: '0x10000000000000001' }, 'OPTION_NUMBER'],
    ['a signature that wraps', { vcpus: '1', vcpuSig: '-1' }, 'OPTION_NUMBER'],
    ['a section that starts inside a page', { ...ONE, ovmf: 'odd.fd' }, 'OVMF_SECTION_ALIGNMENT'],
    ['a table-less file, as its hash', { mode: 'snp:ovmf-hash', ovmf: 'disk.img' }, 'OVMF_NO_FOOTER'],
    ['an initrd without its kernel', { ...ONE, kernel: '', initrd: 'kernel' }, 'SNP_MEASURE_USAGE'],
  ])('measures %s', async (_, options, house) => {
    const strict = await measure({ ...options, json: true });
    expect(JSON.parse(strict.out)).toMatchObject({ ok: false, error: { code: house } });
    const { code, out } = await measure({ ...options, compat: 'sev-snp-measure' });
    expect(code).toBe(0);
    expect(out).toMatch(/^[0-9a-f]{96}\n$/);
  });

  test('features wrap to 64 bits, and the last command line counts', async () => {
    const wide = { ...ONE, guestFeatures: '0x10000000000000001', kernel: 'kernel', append: ['a', 'b'] };
    const compat = await measure({ ...wide, compat: 'sev-snp-measure' });
    const strict = await measure({ ...wide, guestFeatures: '1', append: ['b'] });
    expect(compat.out).toBe(strict.out);
  });

  test('names the peer when the call is wrong', async () => {
    const { err } = await measure({ compat: 'sev-snp-measure' });
    expect(err).toMatch(/^sev-snp-measure: error: missing --vcpus N/);
  });

  test('what crashes the peer is an error all the same', async () => {
    const { code, err } = await measure({ ...ONE, ovmf: 'kernel', compat: 'sev-snp-measure' });
    expect(code).toBe(1);
    expect(err).toContain('OVMF_TOO_SHORT');
  });

  test('white space in the hash, as fromhex() takes it', async () => {
    const hash = (await measure({ mode: 'snp:ovmf-hash' })).out.trim();
    const snpOvmfHash = ` ${hash.slice(0, 2)} ${hash.slice(2)}`;
    const peer = await measure({ ...ONE, snpOvmfHash, compat: 'sev-snp-measure' });
    expect(peer.out).toBe((await measure({ ...ONE })).out);
    expect((await measure({ ...ONE, snpOvmfHash })).err).toContain('HEX_INVALID');
  });
});

describe('flags may be abbreviated as argparse allows it', () => {
  const expand = (...words: readonly string[]): string[] => expandFlags(words, command.options ?? []);
  test.each<[string[], string[]]>([
    [
      ['--mo', 'snp', '--ov=S.fd'],
      ['--mode', 'snp', '--ovmf=S.fd'],
    ],
    [
      ['--out', 'hex', '--output', 'base64'],
      ['--output-format', 'hex', '--output-format', 'base64'],
    ],
    [
      ['--vm', 'ec2', '--verb', '--vers'],
      ['--vmm-type', 'ec2', '--verbose', '--version'],
    ],
    [
      ['--vcpu', '1', '--vcpu-ty', 'EPYC'],
      ['--vcpu', '1', '--vcpu-type', 'EPYC'],
    ],
    [
      ['--vcpus', '-1', '-v'],
      ['--vcpus', '-1', '--verbose'],
    ],
    // A switch is on or off; of two values the house takes none, and the peer the last.
    [
      ['-vv', '--dump', '--verb', '--dump-vmsa', '--vcpus', '1', '--vcpus=2'],
      ['--verbose', '--dump-vmsa', '--vcpus', '1', '--vcpus=2'],
    ],
    [
      ['--compat', 'sev-snp-measure', '--mode=sev', '--vcpus', '1', '--mode', 'snp', '--vcpus', '--compat'],
      ['--compat', 'sev-snp-measure', '--mode', 'snp', '--vcpus', '--compat'],
    ],
    // Values stay as they are, and so does everything after --.
    [
      ['--append', '--ker', '--app=--ker'],
      ['--append', '--ker', '--append=--ker'],
    ],
    [
      ['--', '--mo'],
      ['--', '--mo'],
    ],
    [
      ['--s', 'x', '--nothing'],
      ['--s', 'x', '--nothing'],
    ],
    // Flags of this house neither stand in the way nor are abbreviated.
    [
      ['--vms', 'zero', '--comp', 'x'],
      ['--vms', 'zero', '--comp', 'x'],
    ],
    [
      ['--vmsa-fpu', 'zero', '--out-file', 'x'],
      ['--vmsa-fpu', 'zero', '--out-file', 'x'],
    ],
  ])('%j', (words, expected) => {
    expect(expand(...words)).toEqual(expected);
  });

  test('every flag stands for itself', () => {
    const words = CALL_OPTIONS.map(({ flags }) => flags.split(' ')[0]!);
    for (const word of words) expect(expand(word)).toEqual([word]);
  });
});

test('--version names what this command stands in for', async () => {
  const { code, out, err } = await runCommand(command, folder, [], { version: true });
  expect([code, out]).toEqual([0, 'sev-snp-measure 0.0.13\n']);
  expect(err).toContain('cvm ');
});

test('mode snp:ovmf-hash looks at no other option', async () => {
  const plain = await measure({ mode: 'snp:ovmf-hash' });
  const options = { initrd: 'missing', vmmType: 'x', dumpVmsa: true, append: ['x'], snpOvmfHash: '0' };
  expect(await measure({ mode: 'snp:ovmf-hash', ...options })).toEqual(plain);
});
