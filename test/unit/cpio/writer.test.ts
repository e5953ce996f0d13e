import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { rawFromBytes, utf8Bytes } from '../../../tools/bytes/text.ts';
import { writeCpio } from '../../../tools/cpio/writer.ts';
import { NO_XATTRS, type TreeEntry } from '../../../tools/tree/entry.ts';

const common = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS };
const file = (path: string, text: string): TreeEntry => ({
  ...common,
  type: 'file',
  path,
  content: sourceFromBytes(utf8Bytes(text)),
});
const write = (entries: readonly TreeEntry[]): Uint8Array => concatBytes(...writeCpio(entries));

interface Member {
  readonly name: string;
  readonly fields: readonly number[];
  readonly content: string;
}

/** Reads newc by the format's description alone: 110 bytes of header, name, content, padding to 4. */
function members(archive: Uint8Array): Member[] {
  const text = rawFromBytes(archive);
  const found: Member[] = [];
  for (let at = 0; ;) {
    expect(text.slice(at, at + 6)).toBe('070701');
    const fields = Array.from({ length: 13 }, (_, i) =>
      Number.parseInt(text.slice(at + 6 + 8 * i, at + 14 + 8 * i), 16),
    );
    const nameEnd = at + 110 + fields[11]!;
    const name = text.slice(at + 110, nameEnd - 1);
    expect(text[nameEnd - 1]).toBe('\u0000');
    const start = (nameEnd + 3) & ~3;
    const end = start + fields[6]!;
    if (name === 'TRAILER!!!') {
      expect([...archive.subarray(start)].every((byte) => byte === 0)).toBe(true);
      return found;
    }
    found.push({ name, fields, content: text.slice(start, end) });
    at = (end + 3) & ~3;
  }
}

test('an archive without entries is a trailer, padded to 512 bytes', () => {
  const archive = write([]);
  expect(archive.length).toBe(512);
  expect(members(archive)).toEqual([]);
});

test('types, modes, ids and devices stand in their fields', () => {
  const found = members(
    write([
      { ...common, type: 'dir', path: '' },
      { ...common, type: 'dir', path: 'dev', mode: 0o755 },
      { ...common, type: 'char', path: 'dev/console', mode: 0o600, gid: 5, major: 5, minor: 1 },
      { ...common, type: 'symlink', path: 'bin', mode: 0o777, target: 'usr/bin' },
      { ...file('init', 'hello'), uid: 1000 },
    ]),
  );
  expect(found.map(({ name }) => name)).toEqual(['dev', 'dev/console', 'bin', 'init']);
  expect(found.map(({ fields }) => fields[1]!.toString(8))).toEqual(['40755', '20600', '120777', '100644']);
  expect(found[1]!.fields.slice(9, 11)).toEqual([5, 1]);
  expect(found[2]!.content).toBe('usr/bin');
  expect(found[3]!.content).toBe('hello');
  expect(found[3]!.fields[2]).toBe(1000);
});

test('hard links share an inode, count each other, and the content stands once', () => {
  const found = members(
    write([file('a', 'text'), { ...common, type: 'hardlink', path: 'b', linkPath: 'a' }, file('c', 'other')]),
  );
  expect(found.map(({ fields }) => [fields[0], fields[4]])).toEqual([
    [1, 2],
    [1, 2],
    [2, 1],
  ]);
  expect(found.map(({ content }) => content)).toEqual(['text', '', 'other']);
  expect(found[1]!.fields[1]!.toString(8)).toBe('100644');
});

test('a hard link to nothing is refused', () => {
  expect(() => write([{ ...common, type: 'hardlink', path: 'b', linkPath: 'a' }])).toThrow(
    expect.objectContaining({ code: 'CPIO_LINK' }) as Error,
  );
});

test.each([-1, 2 ** 32, 0.5])('a time of %s, which 32 bits do not hold, is refused', (mtimeSec) => {
  expect(() => write([{ ...file('a', ''), mtimeSec }])).toThrow(
    expect.objectContaining({ code: 'CPIO_FIELD' }) as Error,
  );
});

test('whatever the contents are, they are read back', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary-ascii', maxLength: 20 }), { maxLength: 8 }), (texts) => {
      const archive = write(texts.map((text, i) => file(`f${i}`, text)));
      expect(archive.length % 512).toBe(0);
      expect(members(archive).map(({ content }) => content)).toEqual(texts);
    }),
  );
});
