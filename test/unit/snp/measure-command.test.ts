import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command } from '../../../tools/commands/snp-measure.ts';
import {
  APPEND,
  buildFirmware,
  firmwareS,
  INITRD,
  KERNEL,
  le32,
  S_ENTRIES,
  S_SECTIONS,
  svsmV,
} from '../../support/firmware.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

let folder = '';
beforeAll(() => {
  folder = scratchFolder();
  const write = (name: string, bytes: Uint8Array): void => writeFileSync(join(folder, name), bytes);
  write('S.fd', firmwareS());
  write('V.bin', svsmV());
  write('kernel', KERNEL);
  write('initrd', INITRD);
  write('vars', new Uint8Array(8192));
  write('disk.img', new Uint8Array(8192));
  write('plain.fd', buildFirmware({ entries: [] }));
  write('x64.fd', buildFirmware({ entries: [S_ENTRIES[0], S_ENTRIES[2]], sections: S_SECTIONS.slice(0, 5) }));
  write('bad-signature.fd', buildFirmware({ entries: S_ENTRIES }));
  write('no-reset.fd', buildFirmware({ entries: S_ENTRIES.slice(0, 2), sections: S_SECTIONS }));
  write('no-hashes.fd', buildFirmware({ entries: [S_ENTRIES[0], S_ENTRIES[2]], sections: S_SECTIONS }));
  const entrySize = firmwareS();
  entrySize.set([17, 0], entrySize.length - 50 - 18);
  write('entry-size.fd', entrySize);
  const version = firmwareS();
  version.set(le32(2), 0x1008);
  write('version.fd', version);
});

async function measure(options: OptionValues): Promise<Outcome> {
  return await runCommand(command, folder, [], { ovmf: 'S.fd', mode: 'snp', ...options });
}

const KIA = { kernel: 'kernel', initrd: 'initrd', append: APPEND };
const S1 = 'dd66cab7e3399c4a6cfb979677daa8d8607c7aad3cfa2c18e18f3a9ec1ffba7eedd162fc38571e23a9ad412185948488';
const S7 = '5c592c1cc221f125a6deba8f579e7adcc36f8b06300a09cf6654a06a51f275a8bdddfaf6e8cafd6d73cbf909d8ad65e2';
const ONE = { vcpus: '1', vcpuType: 'EPYC-v4' };

describe('snp measure prints what sev-snp-measure prints', () => {
  test.each<[string, OptionValues, string]>([
    ['S1', ONE, S1],
    [
      'S2',
      { ...KIA, vcpus: '3', vcpuType: 'EPYC-v4', guestFeatures: '0x21' },
      '2edc552e1d2071e0e175ae92c0e58a222b18246a1de535e27b58ed4c7cbfccc2aac5180520b9da876bad7c71b76ec043',
    ],
    [
      'S3: EC2 needs no CPU type',
      { kernel: 'kernel', vcpus: '3', vmmType: 'ec2' },
      '7c525d90186b6436d444a2a0189359d2b9decb07d753855cfdf18e9c2cfdd4a2836aacf04c354fd35aeca45a0b970b51',
    ],
    [
      'S4',
      { kernel: 'kernel', vcpus: '3', vmmType: 'gce' },
      'ac8a018a5e61faaf408120cf2f19131513b23b4752b5230d5b74298988e9c3a2bd3c1dfe6309e79d6020217a32be80d4',
    ],
    [
      'S5',
      { mode: 'seves', ...KIA, vcpus: '3', vcpuType: 'EPYC-Milan' },
      '73492d6440169c116855c1133a264642d510dbb21880540b312273d7f3af8e04',
    ],
    [
      'S6: SEV needs neither vCPUs nor a CPU type',
      { mode: 'sev', kernel: 'kernel' },
      '55b311d809c34b87510e766f02ffe0268c65fb5311e844e2884a02d52d800775',
    ],
    [
      'S7, whatever the format and the verbosity',
      { mode: 'snp:ovmf-hash', outputFormat: 'base64', verbose: true },
      S7,
    ],
    [
      'S8',
      { mode: 'snp:svsm', svsm: 'V.bin', varsSize: '8192', vcpus: '2', vcpuType: 'EPYC-v4' },
      '8b855e4df01634134e6d06b9a55032628b08b802b60f93f3222986548a78e4721e76b0c65eb83a055cb7ac8e909c6d77',
    ],
    [
      'S8 with the size of a file',
      { mode: 'snp:svsm', svsm: 'V.bin', varsFile: 'vars', vcpus: '2', vcpuType: 'EPYC-v4' },
      '8b855e4df01634134e6d06b9a55032628b08b802b60f93f3222986548a78e4721e76b0c65eb83a055cb7ac8e909c6d77',
    ],
    ['S1 from the firmware digest', { ...ONE, snpOvmfHash: S7 }, S1],
    ['S1 by signature', { vcpus: '1', vcpuSig: '0x800f12' }, S1],
    ['S1 by signature in decimal', { vcpus: '01', vcpuSig: '8392466' }, S1],
    [
      'S1 by family, which wins over the others',
      {
        vcpus: '1',
        vcpuSig: '1',
        vcpuType: 'EPYC-Rome',
        vcpuFamily: '23',
        vcpuModel: '1',
        vcpuStepping: '2',
      },
      S1,
    ],
    [
      'S1 by signature, which wins over the type',
      { vcpus: '1', vcpuSig: '0x800f12', vcpuType: 'EPYC-Rome' },
      S1,
    ],
    [
      'S1 with empty texts, which count as absent',
      { ...ONE, kernel: '', initrd: '', append: '', snpOvmfHash: '' },
      S1,
    ],
    ['S1 with features in binary', { ...ONE, guestFeatures: '0b1' }, S1],
  ])('%s', async (_, options, expected) => {
    const { code, out, err } = await measure(options);
    expect([code, out]).toEqual([0, `${expected}\n`]);
    // EC2 and GCE have no direct boot.
    const isWarned = options['kernel'] !== undefined && options['kernel'] !== '' && 'vmmType' in options;
    expect(err).toBe(
      isWarned
        ? `warning: ${String(options['vmmType'])} starts no kernel directly: its guests have no kernel hashes\n`
        : '',
    );
  });

  test('base64 of the bytes', async () => {
    const { out } = await measure({ ...ONE, outputFormat: 'base64' });
    expect(Buffer.from(out.trim(), 'base64').toString('hex')).toBe(S1);
  });

  test.each<[string, OptionValues]>([
    ['SEV', { mode: 'sev' }],
    ['SEV_ES', { mode: 'seves', ...ONE }],
    ['SEV_SNP', ONE],
    ['SEV_SNP_SVSM', { mode: 'snp:svsm', svsm: 'V.bin', varsSize: '8192', ...ONE }],
  ])('verbose: %s', async (name, options) => {
    const { out } = await measure({ ...options, verbose: true });
    expect(out).toMatch(new RegExp(`^Calculated ${name} guest measurement: [0-9a-f]+\\n$`));
  });

  test('JSON', async () => {
    const { out } = await measure({ ...ONE, json: true });
    expect(JSON.parse(out)).toEqual({ ok: true, mode: 'snp', measurement: S1 });
  });

  test('the VMSA pages that were measured', async () => {
    const cwd = scratchFolder();
    const ovmf = join(folder, 'S.fd');
    await runCommand(command, cwd, [], {
      mode: 'snp',
      ovmf,
      vcpus: '2',
      vcpuType: 'EPYC-v4',
      dumpVmsa: true,
    });
    expect(readdirSync(cwd).sort()).toEqual(['vmsa0.bin', 'vmsa1.bin']);
    const hash = (name: string): string =>
      bytesToHex(digestBytes('sha384', readFileSync(join(cwd, name)))).slice(0, 16);
    expect([hash('vmsa0.bin'), hash('vmsa1.bin')]).toEqual(['77920c4c629ff47e', '8413b852790765a3']);
  });

  test('features that no guest starts with are measured, with a warning', async () => {
    const { code, err } = await measure({ ...ONE, guestFeatures: '0x800' });
    expect(code).toBe(0);
    expect(err).toContain('SNPActive');
    expect(err).toContain('bit 11 (reserved)');
  });
});

describe('a wrong call exits with 2', () => {
  test.each<[OptionValues, string]>([
    [{ mode: undefined }, 'the following arguments are required: --mode'],
    [{ ovmf: undefined }, 'the following arguments are required: --ovmf'],
    [{ mode: 'tdx' }, "argument --mode: invalid choice: 'tdx' (choose from 'sev', "],
    [{ ...ONE, initrd: 'initrd' }, '--kernel required when using --initrd'],
    [{ ...ONE, append: 'x' }, '--kernel required when using --append'],
    [{}, "missing --vcpus N in guest mode 'snp'"],
    [{ mode: 'seves' }, "missing --vcpus N in guest mode 'seves'"],
    [{ vcpus: '1' }, "missing --vcpu-type or --vcpu-sig or --vcpu-family in guest mode 'snp'"],
    [{ ...ONE, vmmType: 'qemu' }, "unknown VMM type 'qemu'"],
    [{ ...ONE, vcpuType: 'EPYC-v9' }, 'the vCPU type is not a known EPYC model'],
    [{ ...ONE, vcpus: 'two' }, "argument --vcpus: invalid int value: 'two'"],
    [{ ...ONE, vcpus: '-1' }, 'argument --vcpus: -1 is negative'],
    [
      { vcpus: '1', vcpuFamily: '23', vcpuModel: '300', vcpuStepping: '2' },
      'argument --vcpu-model: 300 is above 255',
    ],
    [{ ...ONE, vcpus: '0' }, 'the vCPU count is out of range'],
    [{ vcpus: '1', vcpuSig: '010' }, '--vcpu-sig is not an integer of 32 bits'],
    [{ vcpus: '1', vcpuSig: '0x100000000' }, '--vcpu-sig is not an integer of 32 bits'],
    [{ vcpus: '1', vcpuFamily: '25' }, '--vcpu-family, --vcpu-model and --vcpu-stepping belong together'],
    [{ ...ONE, guestFeatures: '0x10000000000000000' }, '--guest-features is not an integer of 64 bits'],
    [{ ...ONE, outputFormat: 'HEX' }, "argument --output-format: invalid choice: 'HEX'"],
    [{ mode: 'sev', dumpVmsa: true }, '--dump-vmsa is not available in the selected mode'],
    [{ mode: 'snp:svsm', svsm: 'V.bin', ...ONE }, 'snp:svsm mode requires --vars-size or --vars-file'],
    [{ mode: 'snp:svsm', varsSize: '1', ...ONE }, 'snp:svsm mode requires --svsm'],
    [
      { mode: 'snp:svsm', svsm: 'V.bin', varsSize: '1', varsFile: 'vars', ...ONE },
      'argument --vars-file: not allowed with argument --vars-size',
    ],
    [{ mode: 'snp:svsm', svsm: 'V.bin', vmmType: 'ec2', ...ONE }, "VMM type 'ec2' has no mode 'snp:svsm'"],
  ])('%o', async (options, text) => {
    const { code, out, err } = await measure(options);
    expect(err.split('\n')[0]).toContain(`cvm snp measure: error: ${text}`);
    expect([code, out]).toEqual([2, '']);
  });
});

describe('files that cannot be measured exit with 1', () => {
  test.each<[OptionValues, string, string]>([
    [
      { ovmf: 'x64.fd', kernel: 'kernel', ...ONE },
      "Error: Kernel specified but OVMF metadata doesn't include SNP_KERNEL_HASHES section",
      'OVMF_NO_KERNEL_HASHES',
    ],
    [
      { ovmf: 'x64.fd', mode: 'sev', kernel: 'kernel' },
      "Error: Kernel specified but OVMF doesn't support kernel/initrd/cmdline measurement",
      'OVMF_NO_HASH_TABLE',
    ],
    [
      { ovmf: 'x64.fd', mode: 'seves', kernel: 'kernel', ...ONE },
      "Error: Kernel specified but OVMF doesn't support kernel/initrd/cmdline measurement",
      'OVMF_NO_HASH_TABLE',
    ],
    [
      { ovmf: 'no-hashes.fd', kernel: 'kernel', ...ONE },
      "Error: Can't find SEV_HASH_TABLE_RV_GUID entry in OVMF table",
      'OVMF_NO_HASH_TABLE',
    ],
    [
      { ovmf: 'no-reset.fd', ...ONE },
      "Error: Can't find SEV_ES_RESET_BLOCK_GUID entry in OVMF table",
      'OVMF_NO_RESET_BLOCK',
    ],
    [
      { mode: 'snp:svsm', svsm: 'S.fd', varsSize: '4096', ...ONE },
      "Error: Can't find SVSM_INFO_GUID entry in SVSM table",
      'OVMF_NO_SVSM_INFO',
    ],
    [{ ovmf: 'entry-size.fd', ...ONE }, 'Error: Invalid entry size', 'OVMF_ENTRY_SIZE'],
    [{ ovmf: 'bad-signature.fd', ...ONE }, 'Error: Wrong SEV metadata signature', 'OVMF_METADATA_SIGNATURE'],
    [{ ovmf: 'version.fd', ...ONE }, 'Error: Wrong SEV metadata version', 'OVMF_METADATA_VERSION'],
    [{ ovmf: 'disk.img', ...ONE }, 'Error: the file is not an OVMF image', 'OVMF_NO_FOOTER'],
    [{ ovmf: 'plain.fd', ...ONE }, 'Error: the firmware has no SEV metadata', 'OVMF_NO_METADATA'],
    [
      { mode: 'sev', snpOvmfHash: '00' },
      "Error: --snp-ovmf-hash has no meaning in guest mode 'sev'",
      'OVMF_HASH_MODE',
    ],
    [{ ...ONE, snpOvmfHash: '00' }, 'Error: --snp-ovmf-hash has the wrong length', 'HEX_LENGTH'],
    [{ ...ONE, snpOvmfHash: 'xx' }, 'Error: --snp-ovmf-hash is not hex text', 'HEX_INVALID'],
  ])('%o', async (options, first, house) => {
    const plain = await measure(options);
    expect(plain.err.split('\n')[0]).toContain(first);
    expect([plain.code, plain.out]).toEqual([1, '']);
    const json = await measure({ ...options, json: true });
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({ ok: false, error: { code: house } });
  });

  test('a file that is not there', async () => {
    const { code, err } = await measure({ ...ONE, ovmf: 'missing.fd' });
    expect(err).toMatch(/^Error: /);
    expect(err).toContain('missing.fd');
    expect(code).toBe(1);
  });

  test('control characters of a file name are shown as codes', async () => {
    const { err } = await measure({ ...ONE, ovmf: 'a\u001b[2Jb' });
    expect(err).not.toContain('\u001b');
  });
});
