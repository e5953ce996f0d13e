import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { guidToBytes } from '../../../tools/bytes/guid.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { command } from '../../../tools/commands/ovmf-show.ts';
import { CvmError } from '../../../tools/errors.ts';
import { reportFirmware, type FirmwareReport } from '../../../tools/ovmf/firmware-report.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import {
  buildFirmware,
  firmwareS,
  GUID,
  le32,
  S_ENTRIES,
  S_SECTIONS,
  svsmV,
} from '../../support/firmware.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';

const TDX_GUID = 'e47a6535-984a-4798-865e-4685a7bf8ec2';
const S7 = '5c592c1cc221f125a6deba8f579e7adcc36f8b06300a09cf6654a06a51f275a8bdddfaf6e8cafd6d73cbf909d8ad65e2';

type Row = readonly [data: number, raw: number, gpa: number, size: number, type: number, attributes: number];
const ROWS: readonly Row[] = [
  [0x1000, 0x1000, 0xffff_f000, 0x1000, 0, 1],
  [0, 0x1000, 0xffff_e000, 0x1000, 1, 0],
  [0, 0, 0x810000, 0x3000, 3, 0],
  [0, 0, 0x809000, 0x2000, 2, 2],
];

/** An image with TDX metadata at 0x800. */
function tdxFirmware(
  rows: readonly Row[],
  change: (header: Uint8Array) => void = () => undefined,
): Uint8Array {
  const image = buildFirmware({
    entries: [...S_ENTRIES, [TDX_GUID, le32(8192 - 0x800)]],
    sections: S_SECTIONS,
  });
  const header = concatBytes(Buffer.from('TDVF'), le32(16 + 32 * rows.length, 1, rows.length));
  change(header);
  const sections = rows.map(([data, raw, gpa, size, type, attributes]) =>
    le32(
      data,
      raw,
      gpa % 2 ** 32,
      Math.floor(gpa / 2 ** 32),
      size % 2 ** 32,
      Math.floor(size / 2 ** 32),
      type,
      attributes,
    ),
  );
  image.set(concatBytes(header, ...sections), 0x800);
  return image;
}

const report = (image: Uint8Array): FirmwareReport => reportFirmware(sourceFromBytes(image));

describe('what an image can be used for', () => {
  test('the AmdSev kind measures a kernel', () => {
    const { obstacles, snpFirmwareDigest, tdx } = report(firmwareS());
    const { tdx: tdxObstacle, ...sev } = obstacles;
    expect(sev).toEqual({ snp: undefined, snpKernel: undefined, sevKernel: undefined });
    expect(tdxObstacle?.code).toBe('OVMF_NO_TDX_METADATA');
    expect(Buffer.from(snpFirmwareDigest ?? []).toString('hex')).toBe(S7);
    expect(tdx).toBeUndefined();
  });

  test('OvmfPkgX64: SNP starts, a kernel is not measured', () => {
    const entries = [S_ENTRIES[0], [GUID.hashTable, le32(0, 0)], S_ENTRIES[2]] as const;
    const { obstacles } = report(buildFirmware({ entries, sections: S_SECTIONS.slice(0, 5) }));
    expect(obstacles.snp).toBeUndefined();
    expect(obstacles.snpKernel).toMatchObject({ code: 'OVMF_NO_KERNEL_HASHES' });
    expect(obstacles.snpKernel?.mend).toContain('AmdSev');
    expect(obstacles.sevKernel?.text).toContain('OvmfPkgX64');
  });

  test.each<[string, Uint8Array, string, string, string]>([
    [
      'no entries',
      buildFirmware({ entries: [] }),
      'OVMF_NO_METADATA',
      'OVMF_NO_METADATA',
      'OVMF_NO_HASH_TABLE',
    ],
    [
      'no reset block',
      buildFirmware({ entries: S_ENTRIES.slice(0, 2), sections: S_SECTIONS }),
      'OVMF_NO_RESET_BLOCK',
      'OVMF_NO_RESET_BLOCK',
      '',
    ],
    [
      'a section and no table',
      buildFirmware({ entries: [S_ENTRIES[0], S_ENTRIES[2]], sections: S_SECTIONS }),
      '',
      'OVMF_NO_HASH_TABLE',
      'OVMF_NO_HASH_TABLE',
    ],
    [
      'an unknown section',
      buildFirmware({ entries: S_ENTRIES, sections: [...S_SECTIONS, [0x900000, 0x1000, 9]] }),
      'OVMF_SECTION_TYPE',
      'OVMF_SECTION_TYPE',
      '',
    ],
  ])('%s', (_, image, snp, snpKernel, sevKernel) => {
    const { obstacles } = report(image);
    expect([
      obstacles.snp?.code ?? '',
      obstacles.snpKernel?.code ?? '',
      obstacles.sevKernel?.code ?? '',
    ]).toEqual([snp, snpKernel, sevKernel]);
  });
});

describe('what a file is that is no image', () => {
  const vars = new Uint8Array(8192).fill(0xff);
  vars.fill(0, 0, 16);
  vars.set(guidToBytes('fff12b8d-7696-4c8b-a985-2747075b4f50'), 16);
  vars.set(Buffer.from('_FVH'), 0x28);
  const volume = vars.slice();
  volume.set(guidToBytes('8c8ce578-8a3d-4f1c-9935-896185c32dd3'), 16);
  const at = (offset: number, hex: string): Uint8Array => {
    const bytes = new Uint8Array(8192);
    bytes.set(Buffer.from(hex, 'hex'), offset);
    return bytes;
  };
  test.each<[string, Uint8Array, string]>([
    ['a VARS file', vars, 'this is a VARS file (variable store)'],
    ['a volume', volume, 'a firmware volume without a reset vector'],
    ['a disk', at(510, '55aa'), 'a disk image'],
    ['qcow2', at(0, '514649fb'), 'a qcow2 disk image'],
    ['IGVM', at(0, '4947564d'), 'an IGVM file'],
    ['ELF', at(0, '7f454c46'), 'an ELF program'],
    ['a kernel', at(0x202, '48647253'), 'a Linux kernel'],
    ['gzip', at(0, '1f8b'), 'a gzip file'],
    ['zeros', new Uint8Array(8192), 'the file is not an OVMF image'],
  ])('%s', (_, image, words) => {
    const error = expectCvmError(() => report(image), 'OVMF_NO_FOOTER', 'format');
    expect(error.message).toContain(words);
    expect(error.mend).toBeDefined();
  });

  test('a few bytes', () => {
    expectCvmError(() => report(new Uint8Array(3)), 'OVMF_TOO_SHORT', 'format');
    expectCvmError(() => report(Uint8Array.of(0x1f, 0x8b)), 'OVMF_TOO_SHORT', 'format');
  });
});

test('what is missing is named without an article', () => {
  const { obstacles } = report(buildFirmware({ entries: [S_ENTRIES[0]], sections: S_SECTIONS }));
  expect(obstacles.snp?.text).toBe('the firmware has no SEV-ES reset block');
  expect(obstacles.sevKernel?.text).toBe(
    'the firmware has no place for kernel hashes (SEV hash table entry)',
  );
});

describe('TDX metadata', () => {
  test('is read', () => {
    const { tdx } = report(tdxFirmware(ROWS));
    expect(
      tdx?.map((s) => [s.dataOffset, s.rawSizeBytes, s.gpa, s.memorySizeBytes, s.type, s.attributes]),
    ).toEqual(ROWS);
  });

  test('may be empty here', () => {
    expect(report(tdxFirmware([])).tdx).toEqual([]);
  });

  test.each<[string, Uint8Array, string]>([
    ['signature', tdxFirmware(ROWS, (header) => header.set([0x55])), '"TDVF"'],
    ['version', tdxFirmware(ROWS, (header) => header.set([2], 8)), 'version'],
    ['count', tdxFirmware(ROWS, (header) => header.set([200], 12)), 'length'],
    ['length', tdxFirmware(ROWS, (header) => header.set([1], 4)), 'length'],
    ['65 sections', tdxFirmware([], (header) => header.set(le32(2096, 1, 65), 4)), 'so many sections'],
    ['half a page', tdxFirmware([[0, 0, 0x800, 0x1000, 3, 0]]), 'whole pages'],
    ['a size inside a page', tdxFirmware([[0, 0, 0x1000, 0x1001, 3, 0]]), 'whole pages'],
    ['content larger than memory', tdxFirmware([[0, 0x2000, 0, 0x1000, 0, 1]]), 'more than its memory'],
    ['content outside', tdxFirmware([[0x1800, 0x1000, 0, 0x1000, 0, 1]]), 'outside the image'],
    ['an address beyond memory', tdxFirmware([[0, 0, 2 ** 60, 0x1000, 3, 0]]), 'beyond guest memory'],
    ['a distance beyond the file', buildFirmware({ entries: [[TDX_GUID, le32(9000)]] }), 'outside the image'],
    ['a distance too short', buildFirmware({ entries: [[TDX_GUID, le32(15)]] }), 'outside the image'],
  ])('no TDX guest starts: %s', (_, image, words) => {
    const { tdx, obstacles } = report(image);
    expect(tdx).toBeUndefined();
    expect(obstacles.tdx?.code).toBe('OVMF_TDX_METADATA');
    expect(obstacles.tdx?.text).toContain(words);
    expect(obstacles.tdx?.mend).toContain('IntelTdx');
  });

  test('no TDX guest starts: an entry without a distance, and no entry', () => {
    const short = buildFirmware({ entries: [[TDX_GUID, Uint8Array.of(1)]] });
    expect(report(short).obstacles.tdx?.code).toBe('OVMF_ENTRY_DATA');
    expect(report(firmwareS()).obstacles.tdx?.code).toBe('OVMF_NO_TDX_METADATA');
    expect(report(tdxFirmware(ROWS)).obstacles.tdx).toBeUndefined();
  });

  test('what SEV makes of an image does not hang on it', () => {
    const { obstacles, snpFirmwareDigest } = report(tdxFirmware([[0x1800, 0x1000, 0, 0x1000, 0, 1]]));
    expect([obstacles.snp, obstacles.snpKernel, obstacles.sevKernel]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(snpFirmwareDigest).toHaveLength(48);
  });

  test('an SVSM image is no wrong build of the firmware', () => {
    const { obstacles } = report(svsmV());
    expect(obstacles.snpKernel?.text).toContain('SVSM image');
    expect(obstacles.sevKernel?.mend).toContain('--mode snp:svsm');
  });
});

test('no bytes crash the reader: an answer or an error of the house', () => {
  const base = tdxFirmware(ROWS);
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.oneof(
            fc.integer({ min: 0x1f40, max: 0x1fff }),
            fc.integer({ min: 0x800, max: 0x8a0 }),
            fc.integer({ min: 0x1000, max: 0x1060 }),
          ),
          fc.integer({ min: 0, max: 255 }),
        ),
        { maxLength: 6 },
      ),
      fc.integer({ min: 0, max: 8192 }),
      (edits, cut) => {
        const image = base.slice();
        for (const [at, value] of edits) image[at] = value;
        // Half of the images are whole.
        const file = cut % 2 === 0 ? image : image.slice(cut);
        try {
          report(file);
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      },
    ),
    { numRuns: 500, seed: 7 },
  );
});

describe('cvm ovmf show', () => {
  const folder = scratchFolder();
  writeFileSync(join(folder, 'tdx.fd'), tdxFirmware(ROWS));
  mkdirSync(join(folder, 'folder'));

  test('text', async () => {
    const { code, out, err } = await runCommand(command, folder, ['tdx.fd'], {});
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('0x805000    0x1000    SNP_KERNEL_HASHES');
    expect(out).toContain('0xfffff000  0x1000    BFV, measured');
    expect(out).toContain('TD_HOB, PAGE.AUG');
    expect(out).toContain('measures a kernel     yes');
  });

  test('JSON', async () => {
    const { out } = await runCommand(command, folder, ['tdx.fd'], { json: true });
    const shown = JSON.parse(out) as { sevSections: unknown[]; tdxSections: unknown[] };
    expect(shown).toMatchObject({ ok: true, startsSnp: true, measuresKernelSnp: true, resetEip: '0x80b004' });
    expect(shown.sevSections[5]).toEqual({
      gpa: '0x805000',
      sizeBytes: 4096,
      type: 16,
      name: 'SNP_KERNEL_HASHES',
    });
    expect(shown.tdxSections).toHaveLength(4);
  });

  test.each([
    ['nowhere.fd', 'FILE_NOT_FOUND'],
    ['folder', 'FILE_NOT_REGULAR'],
    ['', 'PATH_INVALID'],
  ])('%j is refused', async (path, code) => {
    await expectCvmRejection(async () => await runCommand(command, folder, [path], {}), code);
  });
});
