import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command } from '../../../tools/commands/snp-explain.ts';
import { command as measureCommand } from '../../../tools/commands/snp-measure.ts';
import type { CvmError } from '../../../tools/errors.ts';
import { readExplanation, type Explanation } from '../../../tools/snp/explanation.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import {
  APPEND,
  buildFirmware,
  firmwareS,
  GUID,
  INITRD,
  KERNEL,
  le32,
  S_ENTRIES,
  S_SECTIONS,
  svsmV,
} from '../../support/firmware.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

let folder = '';
beforeAll(() => {
  folder = scratchFolder();
  const write = (name: string, bytes: Uint8Array): void => writeFileSync(join(folder, name), bytes);
  const fill = (i: number): number => (7 * i + 3) % 256;
  write('S.fd', firmwareS());
  write(
    'long.fd',
    buildFirmware({
      sizeBytes: 12288,
      metadataOffset: 0x2000,
      fill,
      entries: S_ENTRIES,
      sections: S_SECTIONS,
    }),
  );
  const other = firmwareS();
  other[0]! ^= 1;
  write('other.fd', other);
  // Same page hashes up to the metadata: given as a digest, so that only the sections differ.
  write('order.fd', buildFirmware({ fill, entries: S_ENTRIES, sections: S_SECTIONS.toReversed() }));
  write(
    'size.fd',
    buildFirmware({ fill, entries: S_ENTRIES, sections: [[0x800000, 0x3000, 1], ...S_SECTIONS.slice(1)] }),
  );
  write(
    'more.fd',
    buildFirmware({ fill, entries: S_ENTRIES, sections: [...S_SECTIONS, [0x900000, 0x1000, 1]] }),
  );
  const entries = [S_ENTRIES[0], S_ENTRIES[1], [GUID.resetBlock, le32(0x80c000)]] as const;
  write('reset.fd', buildFirmware({ fill, entries, sections: S_SECTIONS }));
  const bases = [S_ENTRIES[0], [GUID.hashTable, le32(0x805800, 0x400)], S_ENTRIES[2]] as const;
  write('base.fd', buildFirmware({ fill, entries: bases, sections: S_SECTIONS }));
  write('V.bin', svsmV());
  write('kernel', KERNEL);
  write('initrd', INITRD);
});

const KIA = { kernel: 'kernel', initrd: 'initrd', append: [APPEND] };
const S7 = '5c592c1cc221f125a6deba8f579e7adcc36f8b06300a09cf6654a06a51f275a8bdddfaf6e8cafd6d73cbf909d8ad65e2';
const BASE: OptionValues = { mode: 'snp', ovmf: 'S.fd', vcpus: '3', vcpuType: 'EPYC-v4', ...KIA };

const run = async (options: OptionValues): Promise<string> => {
  const { code, out, err } = await runCommand(command, folder, [], { ...BASE, ...options });
  expect([code, err]).toEqual([0, '']);
  return out;
};
const explain = async (options: OptionValues): Promise<Explanation> =>
  readExplanation(await run({ ...options, json: true }), 'explanation');

describe('every step', () => {
  test('of S1, as the reference records it', async () => {
    const { steps } = await explain({ vcpus: '1', kernel: undefined, initrd: undefined, append: undefined });
    expect(steps.map((step) => step.digest.slice(0, 16))).toEqual([
      '5c592c1cc221f125',
      'fc397fa16f50a5c8',
      '112a22b9a8065c85',
      '4d7604b76f78507e',
      '7ca59816822b1a89',
      'c9d8d24ffb82815e',
      '3b04caa449884c90',
      'dd66cab7e3399c4a',
    ]);
    expect(steps.map(({ name, gpa, pages, pageType }) => [name, gpa, pages, pageType])).toEqual([
      ['firmware', '0xffffe000', 2, 'normal'],
      ['SNP_SEC_MEM', '0x800000', 2, 'zero'],
      ['SNP_SECRETS', '0x802000', 1, 'secrets'],
      ['CPUID', '0x803000', 1, 'cpuid'],
      ['SVSM_CAA', '0x804000', 1, 'zero'],
      ['SNP_SEC_MEM', '0x806000', 3, 'zero'],
      ['SNP_KERNEL_HASHES', '0x805000', 1, 'zero'],
      ['VMSA 0', '0xfffffffff000', 1, 'vmsa'],
    ]);
  });

  test.each<[string, OptionValues]>([
    ['snp', {}],
    ['snp on EC2', { vmmType: 'ec2' }],
    ['snp on GCE', { vmmType: 'gce' }],
    ['snp from a firmware digest', { snpOvmfHash: S7 }],
    ['snp with zero FPU registers', { vmsaFpu: 'zero' }],
    ['seves', { mode: 'seves' }],
    ['sev', { mode: 'sev' }],
    ['snp:svsm', { mode: 'snp:svsm', svsm: 'V.bin', varsSize: '8192' }],
  ])('%s: the last one is what is measured', async (_, options) => {
    const { measurement, steps } = await explain(options);
    const { out } = await runCommand(measureCommand, folder, [], { ...BASE, ...options });
    expect(out).toBe(`${measurement}\n`);
    expect(steps.at(-1)?.digest).toBe(measurement);
  });

  test('the text shows contents, registers and the command line', async () => {
    const text = await run({});
    expect(text).toContain('SNP_KERNEL_HASHES at 0x805000, 1 normal page');
    expect(text).toContain(
      '  kernel  sha256 2ab7a958964ca0148379baf27c30f21993ca783ee6527f969f8b17c8b1f6c66f',
    );
    expect(text).toContain(`  text    "${APPEND}"`);
    expect(text).toContain('  rdx         0x800f12');
    expect(text).toContain('VMSA 2 at 0xfffffffff000, 1 vmsa page');
  });

  test('into a file', async () => {
    expect(await run({ json: true, outFile: 'kept.json' })).toBe('');
    expect(await run({ against: 'kept.json' })).toMatch(/\nthe same as kept\.json\n$/);
  });
});

describe('where two launches part', () => {
  const difference = async (there: OptionValues, here: OptionValues): Promise<CvmError> => {
    await run({ ...there, json: true, outFile: 'there.json' });
    const error = await expectCvmRejection(
      () => run({ ...here, against: 'there.json' }),
      'SNP_LAUNCH_DIFFERS',
    );
    expect(error.kind).toBe('mismatch');
    return error;
  };
  const hash = { snpOvmfHash: S7 };

  test.each<[string, OptionValues, number, string]>([
    ['another firmware', { ovmf: 'other.fd' }, 0, 'another build of the firmware image, of the same size'],
    ['a longer firmware', { ovmf: 'long.fd' }, 0, 'another firmware image: 2 pages, there 3 pages'],
    [
      'other sections',
      { ...hash, ovmf: 'order.fd' },
      1,
      'other sections or another order: SNP_SEC_MEM at 0x800000',
    ],
    ['a larger section', { ...hash, ovmf: 'size.fd' }, 1, 'another size: 2 pages, there 3'],
    ['more sections', { ...hash, ovmf: 'more.fd' }, 7, 'lists more sections'],
    ['EC2', { vmmType: 'ec2' }, 3, 'other VMMs: QEMU, there ec2 (EC2 measures the CPUID page last)'],
    ['GCE', { vmmType: 'gce' }, 1, 'other VMMs: QEMU, there gce (GCE does not clear'],
    [
      'no kernel',
      { kernel: undefined, initrd: undefined, append: undefined },
      6,
      'the other side measures no kernel and this does: set kernel-hashes=on',
    ],
    ['another kernel', { kernel: 'initrd' }, 6, 'another kernel: sha256 2ab7a958'],
    ['another initrd', { initrd: 'kernel' }, 6, 'another initrd: sha256 78162d67'],
    [
      'another command line',
      { append: ['console=hvc0 loglevel=7'] },
      6,
      'only here "console=ttyS0", only there "console=hvc0"',
    ],
    ['other blanks', { append: [`${APPEND} `] }, 6, 'the same words in another order, or other blanks'],
    ['another hash table base', { ...hash, ovmf: 'base.fd' }, 6, 'another base of the SEV hash table'],
    [
      'another CPU',
      { vcpuType: 'EPYC-Milan' },
      7,
      'other CPU types: type EPYC (signature 0x800f12), there type EPYC-Milan',
    ],
    [
      'other features',
      { guestFeatures: '0x21' },
      7,
      'other guest features: 0x1 (SNPActive), there 0x21 (SNPActive, DebugSwap)',
    ],
    ['an old host', { vmsaFpu: 'zero' }, 7, 'the other side is a host before KVM_SEV_INIT2'],
    ['another reset address', { ...hash, ovmf: 'reset.fd' }, 8, 'vCPUs start elsewhere'],
    ['more vCPUs', { vcpus: '4' }, 10, 'other vCPU counts at launch: 3, there 4'],
    ['fewer vCPUs', { vcpus: '1' }, 8, 'other vCPU counts at launch: 3, there 1'],
    ['another mode', { mode: 'seves' }, 0, 'other modes: snp, there seves'],
  ])('%s', async (_, there, step, meaning) => {
    const here = 'snpOvmfHash' in there ? hash : {};
    const error = await difference(there, here);
    expect([error.nearest, ...error.facts.map(([, value]) => String(value))].join('\n')).toContain(meaning);
    expect(error.facts).toContainEqual(['equal steps', step]);
  });

  test('several parts at once are all named', async () => {
    const error = await difference({ kernel: 'initrd', append: ['other'] }, {});
    expect(error.nearest).toContain('another kernel');
    expect(
      error.facts.some(([name, value]) => name === 'also' && String(value).includes('command line')),
    ).toBe(true);
  });

  test('in modes of SEV and SEV-ES too', async () => {
    const es = await difference({ mode: 'seves', kernel: 'initrd' }, { mode: 'seves' });
    expect(es.nearest).toContain('another kernel');
    const none = { kernel: undefined, initrd: undefined, append: undefined };
    const sev = await difference({ mode: 'sev', ...none }, { mode: 'sev' });
    expect(sev.facts).toContainEqual(['equal steps', 1]);
  });
});

describe('what is no explanation', () => {
  test.each<[string, (explanation: Record<string, unknown>) => unknown]>([
    ['other JSON', () => [1]],
    ['another version', (explanation) => ({ ...explanation, explanation: 2 })],
    ['a field more', (explanation) => ({ ...explanation, more: 1 })],
    ['no steps', (explanation) => ({ ...explanation, steps: [] })],
    ['another measurement', (explanation) => ({ ...explanation, measurement: '0'.repeat(96) })],
    ['a short digest', (explanation) => ({ ...explanation, measurement: '0'.repeat(95) })],
    ['another mode', (explanation) => ({ ...explanation, mode: 'tdx' })],
  ])('%s', async (_, change) => {
    const good = JSON.parse(await run({ json: true })) as Record<string, unknown>;
    const text = JSON.stringify(change(good));
    expectCvmError(() => readExplanation(text, 'x'), 'EXPLANATION_JSON', 'format');
  });

  test('no JSON at all, or no text', async () => {
    expectCvmError(() => readExplanation('{', 'x'), 'EXPLANATION_JSON', 'format');
    writeFileSync(join(folder, 'binary'), Uint8Array.of(0xff));
    await expectCvmRejection(() => run({ against: 'binary' }), 'TEXT_NOT_UTF8');
    await expectCvmRejection(() => run({ against: 'nowhere' }), 'FILE_NOT_FOUND');
  });

  test('a comparison that fails leaves no file', async () => {
    await run({ vcpus: '1', json: true, outFile: 'one.json' });
    await expectCvmRejection(() => run({ against: 'one.json', outFile: 'not.json' }), 'SNP_LAUNCH_DIFFERS');
    expect(() => readFileSync(join(folder, 'not.json'))).toThrow();
  });
});

test.each<[OptionValues, string]>([
  [{ vcpus: '1,2' }, 'cvm snp explain needs one vCPU count'],
  [{ mode: 'snp:ovmf-hash' }, 'cvm snp explain explains whole launches'],
])('refuses %o', async (options, text) => {
  const error = await expectCvmRejection(() => run(options), 'SNP_MEASURE_USAGE');
  expect(error.message).toContain(text);
});

test('help promises no lists: one launch is explained', () => {
  const texts = (command.options ?? []).map(({ description }) => description);
  expect(texts).toContain('kernel command line');
  expect(texts.filter((text) => /measures? each/.test(text))).toEqual([]);
});
