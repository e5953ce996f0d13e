import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readElf, type ElfFile } from '../../../tools/elf/file.ts';
import { CvmError } from '../../../tools/errors.ts';
import { buildMiniatureSvsm } from '../../../tools/miniature/svsm.ts';
import { BLDR_KERNEL, buildElf, fill, KERNEL_BASE, type SegmentPlan } from '../../support/coconut-parts.ts';
import { expectCvmError } from '../../support/errors.ts';

const read = (bytes: Uint8Array): ElfFile => readElf(bytes, 'x.elf');

test('segments, entry and memory of the kernel of the vectors', () => {
  const elf = read(BLDR_KERNEL);
  expect(elf.entry).toBe(KERNEL_BASE);
  expect(
    elf.segments.map(({ vaddr, memBytes, executable, writable, content }) => [
      vaddr - KERNEL_BASE,
      memBytes,
      executable,
      writable,
      content.sizeBytes,
    ]),
  ).toEqual([
    [0n, 100n, true, false, 100],
    [0x1000n, 0x4000n, false, true, 5000],
  ]);
  expect(elf.symbols).toBeUndefined();
  expect(elf.dynamic).toBeUndefined();
});

test('the symbols of a linked file', () => {
  const { symbols } = read(buildMiniatureSvsm());
  expect(symbols?.count).toBe(4);
  expect(Buffer.from(symbols!.strings.read(0, symbols!.strings.sizeBytes)).toString()).toBe(
    '\0start\0notice\0heap\0',
  );
});

const SEGMENT: SegmentPlan = { flags: 5, offset: 0x1000, vaddr: KERNEL_BASE, fileBytes: 16, memBytes: 16 };
const one = (changes: Partial<SegmentPlan>): Uint8Array =>
  buildElf([{ ...SEGMENT, ...changes }], [[0x1000, fill(16, 1)]]);

test('segments come in the order of their addresses; those without memory do not come', () => {
  const elf = read(
    buildElf(
      [
        { ...SEGMENT, vaddr: KERNEL_BASE + 0x2000n },
        { ...SEGMENT, vaddr: KERNEL_BASE + 0x5000n, fileBytes: 0, memBytes: 0 },
        SEGMENT,
      ],
      [[0x1000, fill(16, 1)]],
    ),
  );
  expect(elf.segments.map(({ vaddr }) => vaddr - KERNEL_BASE)).toEqual([0n, 0x2000n]);
});

describe('refusals', () => {
  const patched = (at: number, ...values: readonly number[]): Uint8Array => {
    const bytes = BLDR_KERNEL.slice();
    bytes.set(values, at);
    return bytes;
  };
  const linked = (change: (view: DataView, sections: number) => void): Uint8Array => {
    const bytes = buildMiniatureSvsm();
    const view = new DataView(bytes.buffer);
    change(view, Number(view.getBigUint64(40, true)));
    return bytes;
  };
  const rows: readonly (readonly [string, Uint8Array, string])[] = [
    ['an empty file', new Uint8Array(), 'ELF_MAGIC'],
    ['63 bytes', BLDR_KERNEL.subarray(0, 63), 'ELF_MAGIC'],
    ['a flat binary', fill(5000, 0x90), 'ELF_MAGIC'],
    ['32 bits', patched(4, 1), 'ELF_KIND'],
    ['big-endian', patched(5, 2), 'ELF_KIND'],
    ['version 2', patched(6, 2), 'ELF_KIND'],
    ['an object file', patched(16, 1), 'ELF_KIND'],
    ['AArch64', patched(18, 183), 'ELF_KIND'],
    ['program headers outside', patched(32, 0, 0, 0, 0, 1), 'ELF_BOUNDS'],
    ['program headers of 55 bytes', patched(54, 55), 'ELF_BOUNDS'],
    ['65535 program headers', patched(56, 0xff, 0xff), 'ELF_BOUNDS'],
    ['a segment outside', one({ offset: 0x7000 }), 'ELF_BOUNDS'],
    ['a segment of 2^63 bytes', patched(64 + 39, 0x80), 'ELF_SEGMENT'],
    ['more in the file than in memory', one({ memBytes: 15 }), 'ELF_SEGMENT'],
    ['a segment above the address space', one({ vaddr: 2n ** 64n - 8n, align: 1n }), 'ELF_SEGMENT'],
    ['an odd alignment', one({ align: 3n }), 'ELF_SEGMENT'],
    ['an address that does not fit its offset', one({ vaddr: KERNEL_BASE + 8n }), 'ELF_SEGMENT'],
    [
      'segments that overlap',
      buildElf([SEGMENT, { ...SEGMENT, vaddr: KERNEL_BASE }], [[0x1000, fill(16, 1)]]),
      'ELF_SEGMENT',
    ],
    ['section headers outside', linked((view) => view.setBigUint64(40, 1n << 40n, true)), 'ELF_BOUNDS'],
    ['short section headers', linked((view) => view.setUint16(58, 40, true)), 'ELF_BOUNDS'],
    ['names in no section', linked((view) => view.setUint16(62, 9, true)), 'ELF_SECTION'],
    ['names in a symbol table', linked((view) => view.setUint16(62, 1, true)), 'ELF_SECTION'],
    ['a name outside the names', linked((view, at) => view.setUint32(at + 2 * 64, 999, true)), 'ELF_SECTION'],
    [
      'contents outside',
      linked((view, at) => view.setBigUint64(at + 64 + 32, 1n << 40n, true)),
      'ELF_BOUNDS',
    ],
    ['symbols of 23 bytes', linked((view, at) => view.setBigUint64(at + 64 + 56, 23n, true)), 'ELF_SYMBOLS'],
    [
      'symbols of 2^40 bytes',
      linked((view, at) => view.setBigUint64(at + 64 + 56, 1n << 40n, true)),
      'ELF_SYMBOLS',
    ],
    [
      'too many sections',
      linked((view, at) => {
        view.setUint16(60, 0, true);
        view.setBigUint64(at + 32, 1n << 33n, true);
      }),
      'ELF_SECTION',
    ],
  ];
  test.each(rows)('%s', (_, bytes, code) => {
    const error = expectCvmError(() => read(bytes), code, 'format');
    expect(Object.fromEntries(error.facts)['file']).toBe('x.elf');
  });
});

test('section counts and the index of names may stand in the first section', () => {
  const bytes = buildMiniatureSvsm();
  const view = new DataView(bytes.buffer);
  const sections = Number(view.getBigUint64(40, true));
  view.setUint16(60, 0, true);
  view.setBigUint64(sections + 32, 4n, true);
  view.setUint16(62, 0xffff, true);
  view.setUint32(sections + 40, 3, true);
  expect(read(bytes).symbols?.count).toBe(4);
});

test('fuzz: any change and any cut is read or refused by name', () => {
  const whole = buildMiniatureSvsm();
  const headers = fc.oneof(
    fc.nat(64 + 3 * 56 - 1),
    fc.nat(4 * 64 - 1).map((at) => whole.length - 1 - at),
  );
  const changes = fc.array(fc.tuple(headers, fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(changes, fc.option(fc.nat(whole.length), { freq: 3 }), (given, cut) => {
      const bytes = whole.slice(0, cut ?? whole.length);
      for (const [at, value] of given) if (at < bytes.length) bytes[at] = value;
      try {
        const { segments, symbols } = read(bytes);
        for (const { content } of segments) content.read(0, content.sizeBytes);
        if (symbols !== undefined)
          expect(symbols.count * symbols.entryBytes).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
        expect((error as CvmError).kind).toBe('format');
      }
    }),
    { seed: 8, numRuns: 5000 },
  );
});
