import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { chunks } from '../../../tools/bytes/source.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { writeFileWhole } from '../../../tools/commands/files.ts';
import { command as measureCommand } from '../../../tools/commands/snp-measure.ts';
import { command } from '../../../tools/commands/snp-search.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { APPEND, firmwareS, INITRD, KERNEL, repeatedLine } from '../../support/firmware.ts';
import { bootArgsText, bootPartition, measureSource } from '../../support/guestos-images.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const S2 = '2edc552e1d2071e0e175ae92c0e58a222b18246a1de535e27b58ed4c7cbfccc2aac5180520b9da876bad7c71b76ec043';
const S3 = '7c525d90186b6436d444a2a0189359d2b9decb07d753855cfdf18e9c2cfdd4a2836aacf04c354fd35aeca45a0b970b51';

let folder = '';
beforeAll(() => {
  folder = scratchFolder();
  writeFileSync(join(folder, 'S.fd'), firmwareS());
  writeFileSync(join(folder, "it's a kernel"), KERNEL);
  writeFileSync(join(folder, 'initrd'), INITRD);
});

const FILES = { ovmf: ['S.fd'], kernel: ["it's a kernel"], initrd: ['initrd'], append: [APPEND] };
const search = async (options: OptionValues): Promise<Outcome> =>
  await runCommand(command, folder, [], { ...FILES, ...options });

describe('files of a boot partition', () => {
  const other = repeatedLine('kernel of another release', 5000);
  beforeAll(async () => {
    const bootArgs = bootArgsText('11'.repeat(32));
    await writeFileWhole(join(folder, 'base.img'), chunks(bootPartition({ bootArgs })));
    await writeFileWhole(join(folder, 'other.img'), chunks(bootPartition({ bootArgs, kernel: other })));
  });
  const run = async (options: OptionValues): Promise<string> =>
    (await runCommand(command, folder, [], options)).out;

  test('both slots are tried', async () => {
    const measured = measureSource(bootPartition({ bootArgs: bootArgsText('11'.repeat(32)) }));
    const expected = measured.map(({ measurement }) => Buffer.from(measurement).toString('hex'));
    const out = await run({ expected, boot: ['base.img'] });
    for (const { kernelCmdline } of measured) expect(out).toContain(JSON.stringify(kernelCmdline));
    expect(out).toContain('kernel base.img:/vmlinuz');
    expect(out).not.toContain('not found');
  });

  test('files of two releases are mixed', async () => {
    const image = { bootArgs: bootArgsText('22'.repeat(32)), kernel: other };
    const [{ measurement } = { measurement: new Uint8Array() }] = measureSource(bootPartition(image));
    await writeFileWhole(join(folder, 'lost.img'), chunks(bootPartition({ bootArgs: image.bootArgs })));
    const expected = [Buffer.from(measurement).toString('hex')];
    const out = await run({ expected, boot: ['lost.img', 'other.img'] });
    expect(out).toContain('kernel other.img:/vmlinuz');
    expect(out).toContain('initrd lost.img:/initrd.img');
  });

  test('what is no boot partition is refused', async () => {
    const zeros = '00'.repeat(48);
    await expectCvmRejection(async () => await run({ expected: [zeros], boot: ['S.fd'] }), 'EXT4_MAGIC');
  });
});

interface Found {
  readonly command: readonly string[];
}

describe('cvm snp search', () => {
  test('prints what was found and a command that a shell can run', async () => {
    const { code, out, err } = await search({ expected: [S2], vcpuType: 'EPYC-v4', vcpus: '3' });
    expect([code, err]).toEqual([0, '']);
    expect(out.split('\n')).toEqual([
      `found ${S2} (try 6)`,
      '  3 vCPUs of type EPYC (signature 0x800f12)',
      '  firmware S.fd',
      "  kernel it's a kernel",
      '  initrd initrd',
      `  command line "${APPEND}"`,
      '  guest features 0x21 (SNPActive, DebugSwap)',
      "  cvm snp measure --mode snp --ovmf S.fd --vcpus 3 --vcpu-type EPYC --kernel 'it'\\''s a kernel' " +
        `--initrd initrd --append '${APPEND}' --guest-features 0x21`,
      '6 digests tried',
      '',
    ]);
  });

  test('the command of every kind of guest gives the digest', async () => {
    for (const options of [
      { vcpus: '5', vcpuType: 'EPYC-Milan', kernel: "it's a kernel", initrd: 'initrd', append: APPEND },
      { vcpus: '2', vcpuType: 'EPYC-Rome', vmmType: 'krun' },
      { vcpus: '2', vcpuSig: '0xaa0f02', vmsaFpu: 'zero', guestFeatures: '0x201' },
      { vcpus: '4', vmmType: 'ec2', vmsaRdx: '0' },
      { vcpus: '4', vmmType: 'gce', kernel: "it's a kernel" },
    ]) {
      const measured = await runCommand(measureCommand, folder, [], {
        mode: 'snp',
        ovmf: 'S.fd',
        ...options,
      });
      const { out } = await search({ expected: [measured.out.trim()], json: true });
      const { found } = JSON.parse(out) as { found: readonly Found[] };
      const words = found[0]!.command.slice(3);
      const given: Record<string, string> = {};
      for (let i = 0; i < words.length; i += 2) {
        const name = words[i]!.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
        given[name] = words[i + 1]!;
      }
      expect(await runCommand(measureCommand, folder, [], given)).toEqual(measured);
    }
  });

  test('reads base64 and hex with 0x, and answers several digests', async () => {
    const base64 = Buffer.from(S2, 'hex').toString('base64');
    const { code, out } = await search({ expected: [base64, `0x${S3}`, '00'.repeat(48)], mostVcpus: '4' });
    expect(code).toBe(0);
    expect(out).toContain(`found ${S2}`);
    expect(out).toContain(`found ${S3}`);
    expect(out).toContain('VMM ec2');
    expect(out).toContain(`not found ${'00'.repeat(48)}`);
  });

  test('JSON', async () => {
    const { out } = await search({ expected: [S2], json: true, vcpus: '1-3,4' });
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      complete: true,
      missing: [],
      found: [{ measurement: S2, vcpus: 3, guestFeatures: '0x21', kernel: "it's a kernel", rdx: null }],
    });
  });

  test.each<[string, OptionValues, string]>([
    ['nothing is expected', {}, 'OPTION_MISSING'],
    ['there is no firmware', { expected: [S2], ovmf: [] }, 'OPTION_MISSING'],
    [
      'nothing is given at all',
      { expected: [S2], ovmf: [], kernel: [], initrd: [], append: [] },
      'OPTION_MISSING',
    ],
    ['a digest is cut', { expected: [S2.slice(2)] }, 'HEX_LENGTH'],
    ['a digest is no digest', { expected: ['measurement'] }, 'HEX_INVALID'],
    ['a file is not there', { expected: [S2], kernel: ['missing'] }, 'FILE_NOT_FOUND'],
    ['the firmware is none', { expected: [S2], ovmf: ['initrd'] }, 'OVMF_NO_FOOTER'],
    ['a range runs backwards', { expected: [S2], vcpus: '4-2' }, 'OPTION_LIST'],
    ['a count stands twice', { expected: [S2], vcpus: '1-4,2' }, 'OPTION_LIST'],
    ['a list ends in a comma', { expected: [S2], vcpus: '1,' }, 'OPTION_LIST'],
    ['a range has three ends', { expected: [S2], vcpus: '1-2-3' }, 'OPTION_LIST'],
    ['a type is unknown', { expected: [S2], vcpuType: 'EPYC-Naples' }, 'VCPU_TYPE_UNKNOWN'],
    ['a VMM is unknown', { expected: [S2], vmmType: 'qemu' }, 'VMM_TYPE_UNKNOWN'],
    ['features are no number', { expected: [S2], guestFeatures: '021' }, 'OPTION_NUMBER'],
    ['nothing matches', { expected: ['00'.repeat(48)], mostVcpus: '2', vcpus: '1' }, 'SNP_SEARCH_NOT_FOUND'],
    ['the tries end', { expected: ['00'.repeat(48)], mostTries: '10' }, 'SNP_SEARCH_NOT_FOUND'],
  ])('fails when %s', async (_, options, code) => {
    const error = await expectCvmRejection(() => search(options), code);
    if (options['mostTries'] === '10') expect(error.facts).toContainEqual(['digests tried', 10]);
  });
});
