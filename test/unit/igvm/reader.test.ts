import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CvmError } from '../../../tools/errors.ts';
import { supportedPlatform, type IgvmFile, type IgvmHeader } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { checkStructure } from '../../../tools/igvm/structure.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import { writeNativeContext } from '../../../tools/igvm/vp-context.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  allPageKinds,
  filled,
  MINIMAL,
  page,
  stage2CpuidPage,
  vmsa,
  VSM_FIXTURE,
} from '../../support/igvm-files.ts';

const minimal = writeIgvm(MINIMAL);
const all = writeIgvm(allPageKinds(stage2CpuidPage()));

/** Changes bytes of the headers and makes the checksum right again, so that what is behind it gets tested. */
function patched(bytes: Uint8Array, change: (view: DataView) => void, fixedBytes = 24): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  change(view);
  view.setUint32(20, 0, true);
  const variable = copy.subarray(view.getUint32(8, true), view.getUint32(8, true) + view.getUint32(12, true));
  view.setUint32(20, crc32(variable, crc32(copy.subarray(0, fixedBytes))), true);
  return copy;
}

/** Byte offset of a header's content. */
function contentOf(bytes: Uint8Array, number: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = view.getUint32(8, true);
  for (let i = 0; i < number; i++) at += 8 + Math.ceil(view.getUint32(at + 4, true) / 8) * 8;
  return at + 8;
}

describe('fixed header', () => {
  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), 'IGVM_MAGIC'],
    ['another file', filled(0x41), 'IGVM_MAGIC'],
    ['the magic alone', minimal.slice(0, 4), 'IGVM_TRUNCATED'],
    ['half a header', minimal.slice(0, 20), 'IGVM_TRUNCATED'],
    ['a V2 header of 24 bytes', all.slice(0, 24), 'IGVM_TRUNCATED'],
    ['a byte less', minimal.slice(0, -1), 'IGVM_TRUNCATED'],
    ['a byte more', new Uint8Array([...minimal, 0]), 'IGVM_FILE_SIZE'],
    ['version 3', patched(minimal, (view) => view.setUint32(4, 3, true)), 'IGVM_VERSION'],
    [
      'headers inside the fixed one',
      patched(minimal, (view) => view.setUint32(8, 20, true)),
      'IGVM_HEADER_BOUNDS',
    ],
    [
      'headers behind the end',
      patched(minimal, (view) => view.setUint32(12, 0xfffffff8, true)),
      'IGVM_HEADER_BOUNDS',
    ],
    [
      'no file data',
      patched(minimal, (view) => view.setUint32(12, minimal.length - 24, true)),
      'IGVM_NO_FILE_DATA',
    ],
    ['another architecture', patched(all, (view) => view.setUint32(24, 2, true), 32), 'IGVM_ARCHITECTURE'],
    ['large pages', patched(all, (view) => view.setUint32(28, 65536, true), 32), 'IGVM_PAGE_SIZE'],
  ])('%s', (_name, bytes, code) => {
    expectCvmError(() => readIgvm(bytes), code, 'format');
  });

  test('any flipped bit in any header breaks the checksum', () => {
    const end = 24 + new DataView(minimal.buffer).getUint32(12, true);
    fc.assert(
      fc.property(fc.integer({ min: 20, max: end - 1 }), fc.integer({ min: 0, max: 7 }), (at, bit) => {
        const bytes = minimal.slice();
        bytes[at] = (bytes[at] as number) ^ (1 << bit);
        expectCvmError(() => readIgvm(bytes), 'IGVM_CHECKSUM', 'format');
      }),
      { seed: 1 },
    );
  });
});

describe('variable headers', () => {
  const at = (number: number): number => contentOf(minimal, number);
  test.each<[string, Uint8Array, string]>([
    [
      'a length one too short',
      patched(minimal, (view) => view.setUint32(at(2) - 4, 23, true)),
      'IGVM_HEADER_LENGTH',
    ],
    [
      'a length one too long',
      patched(minimal, (view) => view.setUint32(at(0) - 4, 17, true)),
      'IGVM_HEADER_LENGTH',
    ],
    [
      'a length behind the end',
      patched(minimal, (view) => view.setUint32(at(6) - 4, 0xffffffff, true)),
      'IGVM_TRUNCATED_HEADER',
    ],
    [
      'half a header at the end',
      patched(minimal, (view) => view.setUint32(12, 208 - 4, true)),
      'IGVM_TRUNCATED_HEADER',
    ],
    ['a reserved field', patched(minimal, (view) => view.setUint32(at(1) + 12, 1, true)), 'IGVM_RESERVED'],
    ['padding', patched(minimal, (view) => view.setUint8(at(6) + 20, 1)), 'IGVM_PADDING'],
    [
      'data in front of the file data',
      patched(minimal, (view) => view.setUint32(at(3) + 12, 8, true)),
      'IGVM_DATA_BOUNDS',
    ],
    [
      'data behind the end',
      patched(minimal, (view) => view.setUint32(at(3) + 12, minimal.length - 4095, true)),
      'IGVM_DATA_BOUNDS',
    ],
    [
      'data at 4 GiB',
      patched(minimal, (view) => view.setUint32(at(3) + 12, 0xffffffff, true)),
      'IGVM_DATA_BOUNDS',
    ],
    [
      'a VMSA without data',
      patched(minimal, (view) => view.setUint32(at(6) + 12, 0, true)),
      'IGVM_DATA_BOUNDS',
    ],
    [
      'an address of 53 bits',
      patched(minimal, (view) => view.setUint32(at(2) + 4, 0x100000, true)),
      'IGVM_ADDRESS',
    ],
    ['an odd address', patched(minimal, (view) => view.setUint32(at(2), 1, true)), 'IGVM_ALIGNMENT'],
    [
      'an unknown data type',
      patched(minimal, (view) => view.setUint16(at(2) + 20, 4, true)),
      'IGVM_PAGE_DATA_TYPE',
    ],
    [
      'a context for two platforms',
      patched(minimal, (view) => view.setUint32(at(6) + 8, 3, true)),
      'IGVM_VP_CONTEXT',
    ],
    [
      'a section that goes back',
      patched(minimal, (view) => view.setUint32(at(2) - 8, 0x101, true)),
      'IGVM_HEADER_LENGTH',
    ],
    ['an unknown platform', patched(minimal, (view) => view.setUint8(at(0) + 5, 7)), 'IGVM_VP_CONTEXT'],
  ])('%s', (_name, bytes, code) => {
    expectCvmError(() => readIgvm(bytes), code, 'format');
  });

  test('a native context with something behind it', () => {
    const bytes = all.slice();
    const offset = new DataView(bytes.buffer).getUint32(contentOf(all, 11) + 12, true);
    bytes[offset + 232] = 1;
    expectCvmError(() => readIgvm(bytes), 'IGVM_VP_CONTEXT', 'format');
  });

  test('a register list that is longer than the file', () => {
    const headers: IgvmHeader[] = [
      ...VSM_FIXTURE.headers,
      { kind: 'vp-context', gpa: 0, mask: 1, vpIndex: 0, data: new Uint8Array(36).fill(1, 0, 1) },
    ];
    const bytes = writeIgvm({ ...VSM_FIXTURE, headers });
    for (const count of [0, 2, 0x10000000, 0xffffffff]) {
      const copy = bytes.slice();
      new DataView(copy.buffer).setUint32(bytes.length - 36, count, true);
      expectCvmError(() => readIgvm(copy), count === 0 ? 'IGVM_VP_CONTEXT' : 'IGVM_DATA_BOUNDS', 'format');
    }
  });

  test('headers of unknown types are kept where they stand', () => {
    const unknown: IgvmHeader = { kind: 'unknown', type: 0x80000377, content: filled(7, 5) };
    const headers = [...MINIMAL.headers.slice(0, 3), unknown, ...MINIMAL.headers.slice(3)];
    const file = readIgvm(writeIgvm({ ...MINIMAL, headers }));
    expect(file.headers[3]).toEqual(unknown);
    expect(file.headers).toHaveLength(headers.length);
  });
});

describe('structure', () => {
  const native = { kind: 'vp-context', gpa: 0, mask: 2, vpIndex: 0, data: writeNativeContext({}) } as const;
  const area = { kind: 'parameter-area', sizeBytes: 4096, index: 0, data: undefined } as const;
  const insert = { kind: 'parameter-insert', gpa: 0x1000, mask: 1, index: 0 } as const;
  const count = { kind: 'parameter', parameter: 'VP_COUNT', index: 0, byteOffset: 0 } as const;
  const region = {
    kind: 'relocatable-region',
    mask: 1,
    vpIndex: 0,
    vtl: 0,
    flags: 0,
    alignment: 4096,
    gpa: 0x1000,
    sizeBytes: 0x2000,
    minimumGpa: 0,
    maximumGpa: 0x100000,
  } as const;
  const table = {
    kind: 'page-table-relocation',
    mask: 1,
    vpIndex: 0,
    vtl: 0,
    gpa: 0x4000,
    sizeBytes: 0x2000,
    usedBytes: 0x1000,
  } as const;
  const cca = {
    kind: 'cca-policy',
    mask: 1,
    requiredZeroes: 1n,
    requiredOnes: 2n,
    hashAlgorithm: 0,
    lfaPolicy: 0,
  } as const;
  const snp = supportedPlatform('SEV_SNP', 1);
  const file = (...headers: IgvmHeader[]): IgvmFile => ({ version: 2, architecture: 'x64', headers });

  test.each<[string, IgvmFile]>([
    ['parameters that are declared, used and inserted', file(snp, area, count, insert)],
    ['an area that is never inserted', file(snp, area)],
    ['relocations with a context', file(snp, region, table, vmsa())],
    ['a native context', file(supportedPlatform('NATIVE', 2), native)],
    ['CCA on Arm', { ...file(supportedPlatform('CCA', 1), cca), architecture: 'aarch64' }],
  ])('sound: %s', (_name, sound) => {
    expect(() => checkStructure(sound)).not.toThrow();
  });

  test.each<[string, IgvmFile, string]>([
    ['no platform', file(page(0, 1, filled(1))), 'IGVM_NO_PLATFORM'],
    ['a platform of two bits', file(supportedPlatform('SEV_SNP', 3)), 'IGVM_PLATFORM'],
    ['a platform of no bit', file(supportedPlatform('SEV_SNP', 0)), 'IGVM_PLATFORM'],
    ['a platform version', file({ ...snp, platformVersion: 2 }), 'IGVM_PLATFORM'],
    ['VTL 1', file({ ...snp, highestVtl: 1 }), 'IGVM_PLATFORM'],
    ['an unknown platform', file({ ...snp, platformType: 7 }), 'IGVM_PLATFORM'],
    [
      'native with a boundary',
      file(supportedPlatform('NATIVE', 2, { sharedGpaBoundary: 4096 })),
      'IGVM_PLATFORM',
    ],
    ['CCA on x64', file(supportedPlatform('CCA', 1)), 'IGVM_PLATFORM'],
    ['SNP on Arm', { ...file(snp), architecture: 'aarch64' }, 'IGVM_PLATFORM'],
    ['a platform twice', file(snp, supportedPlatform('SEV_SNP', 2)), 'IGVM_PLATFORM_TWICE'],
    ['a mask twice', file(snp, supportedPlatform('TDX', 1)), 'IGVM_PLATFORM_TWICE'],
    [
      'a policy behind a page',
      file(snp, page(0, 1), { kind: 'guest-policy', policy: 0n, mask: 1 }),
      'IGVM_SECTION_ORDER',
    ],
    [
      'a platform behind a policy',
      file({ kind: 'guest-policy', policy: 0n, mask: 1 }, snp),
      'IGVM_SECTION_ORDER',
    ],
    [
      'an unknown header of an earlier section',
      file(snp, page(0, 1), { kind: 'unknown', type: 0x150, content: filled(0, 8) }),
      'IGVM_SECTION_ORDER',
    ],
    ['a parameter without an area', file(snp, count), 'IGVM_PARAMETER_AREA'],
    ['an area twice', file(snp, area, area), 'IGVM_PARAMETER_AREA'],
    ['an insert without an area', file(snp, insert), 'IGVM_PARAMETER_AREA'],
    ['an insert twice', file(snp, area, insert, insert), 'IGVM_PARAMETER_AREA'],
    ['a parameter behind the insert', file(snp, area, insert, count), 'IGVM_PARAMETER_AREA'],
    [
      'an insert into page tables',
      file(snp, table, area, { ...insert, gpa: 0x5000 }, vmsa()),
      'IGVM_PARAMETER_AREA',
    ],
    ['an area of half a page', file(snp, { ...area, sizeBytes: 2048 }), 'IGVM_ALIGNMENT'],
    ['an area with too much data', file(snp, { ...area, data: filled(1, 4097) }), 'IGVM_DATA_SIZE'],
    ['an insert between pages', file(snp, area, { ...insert, gpa: 1 }), 'IGVM_ALIGNMENT'],
    ['a page with 4097 bytes', file(snp, page(0, 1, filled(1, 4097))), 'IGVM_DATA_SIZE'],
    ['a page between pages', file(snp, page(8, 1)), 'IGVM_ALIGNMENT'],
    [
      'required memory between pages',
      file(snp, { kind: 'required-memory', gpa: 8, mask: 1, sizeBytes: 4096, flags: 0 }),
      'IGVM_ALIGNMENT',
    ],
    [
      'required memory of half a page',
      file(snp, { kind: 'required-memory', gpa: 0, mask: 1, sizeBytes: 2048, flags: 0 }),
      'IGVM_ALIGNMENT',
    ],
    [
      'an error range between pages',
      file(snp, { kind: 'error-range', gpa: 8, mask: 1, sizeBytes: 1 }),
      'IGVM_ALIGNMENT',
    ],
    ['a VMSA between pages', file(snp, vmsa({ segments: {}, registers: {} }, 8)), 'IGVM_ALIGNMENT'],
    ['a context of no platform', file(snp, native), 'IGVM_VP_CONTEXT'],
    ['a context of TDX', file(supportedPlatform('TDX', 2), native), 'IGVM_VP_CONTEXT'],
    ['half a VMSA', file(snp, { ...native, mask: 1, data: filled(0, 2048) }), 'IGVM_VP_CONTEXT'],
    ['a region of half a page', file(snp, { ...region, sizeBytes: 2048 }, vmsa()), 'IGVM_RELOCATION'],
    ['a region without alignment', file(snp, { ...region, alignment: 0 }, vmsa()), 'IGVM_RELOCATION'],
    ['a region off its alignment', file(snp, { ...region, alignment: 0x2000 }, vmsa()), 'IGVM_RELOCATION'],
    ['regions that overlap', file(snp, region, { ...region, gpa: 0x2000 }, vmsa()), 'IGVM_RELOCATION'],
    ['two page tables', file(snp, table, { ...table, gpa: 0x10000 }, vmsa()), 'IGVM_RELOCATION'],
    [
      'page tables that are fuller than full',
      file(snp, { ...table, usedBytes: 0x3000 }, vmsa()),
      'IGVM_RELOCATION',
    ],
    ['page tables between pages', file(snp, { ...table, gpa: 0x4800 }, vmsa()), 'IGVM_RELOCATION'],
    ['a region without a context', file(snp, region), 'IGVM_NO_VP_CONTEXT'],
    ['a CCA policy on x64', file(snp, cca), 'IGVM_CCA_POLICY'],
    [
      'a CCA policy that contradicts itself',
      { ...file(supportedPlatform('CCA', 1), { ...cca, requiredOnes: 1n }), architecture: 'aarch64' },
      'IGVM_CCA_POLICY',
    ],
    [
      'a CCA policy for others',
      { ...file(supportedPlatform('CCA', 2), cca), architecture: 'aarch64' },
      'IGVM_CCA_POLICY',
    ],
  ])('unsound: %s', (_name, unsound, code) => {
    expectCvmError(() => checkStructure(unsound), code, 'format');
    // The writer never makes what the reader refuses.
    expectCvmError(() => writeIgvm(unsound), code, 'format');
  });

  test('at most 8192 start states', () => {
    const contexts = Array.from({ length: 8192 }, () => vmsa());
    expect(() => checkStructure(file(snp, ...contexts))).not.toThrow();
    expectCvmError(() => checkStructure(file(snp, ...contexts, vmsa())), 'IGVM_VP_CONTEXT', 'format');
  });

  test('files that cannot be written', () => {
    expectCvmError(() => writeIgvm(file(snp)), 'IGVM_NO_FILE_DATA', 'format');
    const arm: IgvmFile = {
      version: 1,
      architecture: 'aarch64',
      headers: [supportedPlatform('CCA', 1), page(0, 1, filled(1))],
    };
    expectCvmError(() => writeIgvm(arm), 'IGVM_VERSION', 'format');
  });
});

describe('equal payloads are stored once', () => {
  test('three equal pages and another one: two payloads', () => {
    const headers = [0, 1, 2, 3].map((i) => page(4096 * i, 1, filled(i === 2 ? 2 : 1)));
    const bytes = writeIgvm({
      version: 1,
      architecture: 'x64',
      headers: [supportedPlatform('SEV_SNP', 1), ...headers],
    });
    expect(bytes.length).toBe(24 + 24 + 4 * 32 + 2 * 4096);
    const offsets = [1, 2, 3, 4].map((number) =>
      new DataView(bytes.buffer).getUint32(contentOf(bytes, number) + 12, true),
    );
    expect(offsets).toEqual([176, 176, 176 + 4096, 176]);
  });

  test('across pages, parameter areas and start states', () => {
    const headers: IgvmHeader[] = [
      supportedPlatform('SEV_SNP', 1),
      { kind: 'parameter-area', sizeBytes: 4096, index: 0, data: filled(0) },
      page(0, 1, new Uint8Array(0)),
      vmsa({ segments: {}, registers: {} }),
    ];
    expect(writeIgvm({ version: 1, architecture: 'x64', headers }).length).toBe(
      24 + 24 + 24 + 32 + 32 + 4096,
    );
  });
});

/** Headers of any kind whose structure is sound. */
const directives: fc.Arbitrary<IgvmHeader> = fc.oneof(
  fc
    .record({
      gpa: fc.nat(2 ** 20).map((n) => n * 4096),
      mask: fc.constantFrom(1, 2, 3),
      flags: fc.nat(7),
      dataType: fc.nat(3),
      data: fc.option(
        fc.nat(255).map((byte) => filled(byte)),
        { nil: undefined },
      ),
    })
    .map((fields) => ({ kind: 'page-data', ...fields }) as const),
  fc
    .record({
      gpa: fc.nat(100).map((n) => n * 4096),
      sizeBytes: fc.nat(100).map((n) => n * 4096),
      flags: fc.nat(1),
    })
    .map((fields) => ({ kind: 'required-memory', mask: 3, ...fields }) as const),
  fc
    .record({ gpa: fc.nat(100).map((n) => n * 4096), sizeBytes: fc.nat(2 ** 31) })
    .map((fields) => ({ kind: 'error-range', mask: 1, ...fields }) as const),
  fc
    .record({ type: fc.integer({ min: 0x380, max: 0x400 }), content: fc.uint8Array({ maxLength: 40 }) })
    .map((fields) => ({ kind: 'unknown', ...fields }) as const),
  fc.constant(vmsa()),
);
const files: fc.Arbitrary<IgvmFile> = fc.record({
  version: fc.constantFrom(1 as const, 2 as const),
  architecture: fc.constant('x64' as const),
  headers: fc
    .array(directives, { maxLength: 30 })
    .map((more) => [
      supportedPlatform('SEV_SNP', 1),
      supportedPlatform('NATIVE', 2),
      ...more,
      page(0x1000, 1, filled(9)),
    ]),
});

describe('any file', () => {
  test('comes back as it was written, and its bytes too', () => {
    fc.assert(
      fc.property(files, (file) => {
        const bytes = writeIgvm(file);
        const again = readIgvm(bytes);
        expect(again).toEqual(file);
        expect(writeIgvm(again)).toEqual(bytes);
      }),
      { seed: 2, numRuns: 200 },
    );
  });

  test('truncated anywhere is a named error', () => {
    fc.assert(
      fc.property(files, fc.double({ min: 0, max: 0.9999, noNaN: true }), (file, part) => {
        const bytes = writeIgvm(file);
        const error = expectAnyCvmError(() => readIgvm(bytes.slice(0, Math.floor(bytes.length * part))));
        expect(error.code).toMatch(/^IGVM_(MAGIC|TRUNCATED)$/);
      }),
      { seed: 3 },
    );
  });

  test('with wild bytes in its headers is read or refused by name, never anything else', () => {
    const end = 24 + new DataView(minimal.buffer).getUint32(12, true);
    const wild = fc.array(
      fc.tuple(fc.integer({ min: 24, max: end - 1 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    fc.assert(
      fc.property(wild, (changes) => {
        const bytes = patched(minimal, (view) => {
          for (const [at, byte] of changes) view.setUint8(at, byte);
        });
        try {
          readIgvm(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      }),
      { seed: 4, numRuns: 2000 },
    );
  });
});

function expectAnyCvmError(action: () => unknown): CvmError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(CvmError);
    return error as CvmError;
  }
  throw new Error('nothing was thrown');
}
