import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { editIgvm } from '../../../tools/igvm/edit.ts';
import { explainMeasurement } from '../../../tools/igvm/explain.ts';
import { measureIgvm } from '../../../tools/igvm/measure.ts';
import { loadedMemory } from '../../../tools/igvm/memory.ts';
import { PAGE_FLAGS, supportedPlatform, type IgvmFile, type PageData } from '../../../tools/igvm/model.ts';
import { PageWindow } from '../../../tools/igvm/page-window.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import { pseudoRandom } from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';
import { filled, page, vmsa } from '../../support/igvm-files.ts';

const PAGE = 4096;

function counted(bytes: Uint8Array): ByteSource & { total: number } {
  const inner = sourceFromBytes(bytes);
  const source = {
    ...inner,
    total: 0,
    read(offset: number, length: number): Uint8Array {
      source.total += length;
      return inner.read(offset, length).slice();
    },
  };
  return source;
}

const CONTENT = pseudoRandom(600 * PAGE, 'window');
const at = (offset: number): Uint8Array => CONTENT.subarray(offset, offset + PAGE);

describe('pages through one buffer', () => {
  test('in any order they are what the file has, and cost no more than four times their bytes', () => {
    const places = fc.array(
      fc.oneof(
        fc.nat(599 * PAGE),
        fc.nat(599).map((n) => n * PAGE),
      ),
      { maxLength: 60 },
    );
    const runs = fc.array(
      fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 99 }), fc.integer({ min: 1, max: 9 })),
      {
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(places, runs, (jumps, steps) => {
        const offsets = [
          ...jumps,
          ...steps.flatMap(([from, count, stride]) =>
            Array.from({ length: count }, (_, i) => Math.min(599, from + i * stride) * PAGE),
          ),
        ];
        const source = counted(CONTENT);
        const window = new PageWindow(source);
        for (const offset of offsets)
          expect(Buffer.from(window.read(offset, PAGE)).equals(at(offset))).toBe(true);
        expect(source.total).toBeLessThanOrEqual(4 * PAGE * offsets.length);
      }),
      { seed: 6, numRuns: 150 },
    );
  });

  test('in order, few reads are made', () => {
    let reads = 0;
    const inner = sourceFromBytes(CONTENT);
    const window = new PageWindow({
      ...inner,
      read: (offset, length) => (reads++, inner.read(offset, length)),
    });
    for (let offset = 0; offset < CONTENT.length; offset += PAGE) window.read(offset, PAGE);
    expect(reads).toBeLessThan(15);
  });

  test('a stride that skips more than it takes is not read ahead for', () => {
    const source = counted(CONTENT);
    const window = new PageWindow(source);
    for (let offset = 0; offset < CONTENT.length; offset += 8 * PAGE) window.read(offset, PAGE);
    expect(source.total).toBeLessThanOrEqual((CONTENT.length / 8) * 4);
  });

  test('a file that is measured so measures as it does in memory', () => {
    const pages = Array.from({ length: 300 }, (_, i) =>
      page(i * PAGE, 1, i % 7 === 0 ? undefined : i % 5 === 0 ? filled(1) : at(i * PAGE)),
    );
    const bytes = writeIgvm({
      version: 1,
      architecture: 'x64',
      headers: [
        supportedPlatform('SEV_SNP', 1),
        ...pages.toReversed(),
        ...pages.map((p) => ({ ...p, gpa: p.gpa + 2 ** 32 })),
        vmsa(),
      ],
    });
    const whole = measureIgvm(readIgvm(bytes), { platform: 'sev-snp' });
    const streamed = measureIgvm(readIgvm(counted(bytes), { sharesPageBuffer: true }), {
      platform: 'sev-snp',
    });
    expect(explainMeasurement(streamed)).toBe(explainMeasurement(whole));
  });

  test('headers that point to the same bytes again and again are refused, not read', () => {
    const big = new Uint8Array(1 << 20).fill(7);
    const area = (index: number): IgvmFile['headers'][number] => ({
      kind: 'parameter-area',
      sizeBytes: big.length,
      index,
      data: big,
    });
    const bytes = writeIgvm({
      version: 1,
      architecture: 'x64',
      headers: [supportedPlatform('SEV_SNP', 1), ...Array.from({ length: 300 }, (_, i) => area(i)), vmsa()],
    });
    expect(bytes.length).toBeLessThan(2 * big.length);
    expectCvmError(() => readIgvm(bytes), 'IGVM_DATA_TOTAL', 'format');
  });
});

describe('a page of 2 MiB', () => {
  const large: PageData = { ...page(2 ** 21, 1), flags: PAGE_FLAGS.is2MbPage };
  const file: IgvmFile = {
    version: 1,
    architecture: 'x64',
    headers: [supportedPlatform('SEV_SNP', 1), page(0, 1, filled(3)), large, vmsa()],
  };

  test('is loaded as a whole', () => {
    const parts = loadedMemory(file, 1, 2 ** 22 - PAGE, PAGE);
    expect(Buffer.concat(parts).equals(new Uint8Array(PAGE))).toBe(true);
    expectCvmError(() => loadedMemory(file, 1, 2 ** 22, PAGE), 'IGVM_PAGE_MISSING', 'mismatch');
  });

  test('is not added to', () => {
    const add = (gpa: number): IgvmFile => editIgvm(file, { add: [{ gpa, data: filled(1) }] });
    expectCvmError(() => add(2 ** 22 - PAGE), 'IGVM_PAGE_EXISTS', 'mismatch');
    expect(add(2 ** 22).headers).toHaveLength(5);
  });
});
