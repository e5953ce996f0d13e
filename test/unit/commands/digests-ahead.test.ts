import { hash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Extent } from '../../../tools/bytes/source.ts';
import { DigestsAhead, isWorthAThread } from '../../../tools/commands/digests-ahead.ts';

const MIB = 1 << 20;
const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'cvm-ahead-'));
const content = Buffer.alloc(3 * MIB, 'what is hashed twice is hashed alike, ');
const path = join(folder, 'content');
writeFileSync(path, content);

/** A thread on the content; it and the file end with the test. */
function ahead(ranges: readonly Extent[]): DigestsAhead {
  const descriptor = openSync(path, 'r');
  const made = new DigestsAhead(descriptor, ranges);
  onTestFinished(async () => {
    await made.stop();
    closeSync(descriptor);
  });
  return made;
}

const digestOf = ({ offset, length }: Extent): string =>
  hash('sha384', content.subarray(offset, offset + length), 'hex');
const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString('hex');
const pages = (count: number, stride = 4096): Extent[] =>
  Array.from({ length: count }, (_, i) => ({ offset: 7 + i * stride, length: 4096 }));

describe('a thread hashes', () => {
  test.each([
    ['pages that follow one another', pages(700)],
    ['pages with gaps', pages(300, 8192)],
    ['pages in no order', pages(300).toSorted((a, b) => (a.offset % 997) - (b.offset % 997))],
    ['a range larger than its buffer', [{ offset: 1, length: 2 * MIB + 5 }]],
    [
      'small and large ranges',
      [
        { offset: 0, length: 100 },
        { offset: 100, length: MIB },
        { offset: MIB + 100, length: 0 },
        { offset: 5, length: 1 },
      ],
    ],
    ['all of it', [{ offset: 0, length: 3 * MIB }]],
  ])('%s', (_name, ranges) => {
    const thread = ahead(ranges);
    expect(ranges.map((_, i) => hex(thread.wait(i)))).toEqual(ranges.map((range) => digestOf(range)));
  });

  test('from the last range on', async () => {
    const ranges = pages(700);
    const thread = ahead(ranges);
    const known = (): boolean[] => ranges.map((_, i) => thread.at(i) !== undefined);
    expect(known()[0]).toBe(false);
    await thread.stop();
    // However far it came: what is known is the end, without a gap.
    expect(known().lastIndexOf(false)).toBeLessThan(Math.max(known().indexOf(true), known().length));
    ranges.forEach((range, i) => {
      const found = thread.at(i);
      if (found !== undefined) expect(hex(found)).toBe(digestOf(range));
    });
  });

  test('nothing when there is nothing, and knows no range that was not asked for', () => {
    const thread = ahead([]);
    expect(thread.wait(0)).toBeUndefined();
    expect(ahead(pages(2)).wait(2)).toBeUndefined();
  });
});

describe('what a thread cannot read, it does not know', () => {
  test('of a file that ends before', () => {
    const short = join(folder, 'short');
    writeFileSync(short, content.subarray(0, 10_000));
    const descriptor = openSync(short, 'r');
    truncateSync(short, 5000);
    const thread = new DigestsAhead(descriptor, pages(2));
    onTestFinished(async () => {
      await thread.stop();
      closeSync(descriptor);
    });
    expect(thread.wait(1)).toBeUndefined();
    expect(thread.wait(0)).toBeUndefined();
  });

  test('of no file, and the process lives on', async () => {
    const thread = new DigestsAhead(9999, [{ offset: 0, length: MIB }]);
    expect(thread.wait(0)).toBeUndefined();
    await thread.stop();
    await thread.stop();
  });

  test('after it was told to stop', async () => {
    const thread = ahead([
      { offset: 0, length: 3 * MIB },
      { offset: 0, length: 1 },
    ]);
    await thread.stop();
    const first = thread.at(0);
    if (first !== undefined) expect(hex(first)).toBe(digestOf({ offset: 0, length: 3 * MIB }));
  });
});

test('little is not worth a thread', () => {
  expect(isWorthAThread([])).toBe(false);
  expect(isWorthAThread(pages(4095))).toBe(false);
});
