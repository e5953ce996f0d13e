import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { CHUNK_BYTES, sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { rawFromBytes, rawToBytes, utf8Bytes } from '../../../tools/bytes/text.ts';
import { CvmError } from '../../../tools/errors.ts';
import { writeNumber } from '../../../tools/tar/header.ts';
import { readTar } from '../../../tools/tar/reader.ts';
import { writeSparseTar } from '../../../tools/tar/sparse.ts';
import { expectCvmError } from '../../support/errors.ts';
import { header, member, membersOf, padded, pax, record, text } from '../../support/tar-blocks.ts';
import { collect, holeSource, piecesSource } from '../../support/trees.ts';

function packed(...sources: readonly ByteSource[]): Uint8Array {
  return collect(writeSparseTar(sources.map((source, i) => ({ name: `m${i}`, source }))));
}

function unpacked(bytes: Uint8Array): ByteSource[] {
  return [...readTar(sourceFromBytes(bytes))].map(({ content }) => content);
}

function pairs(bytes: Uint8Array, at: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) =>
    rawFromBytes(bytes.subarray(at + 24 * i, at + 24 * i + 24)).replaceAll('\0', '.'),
  );
}

const ones = (length: number): Uint8Array => new Uint8Array(length).fill(1);

describe('writing as dflate does', () => {
  test('1 MiB of zeros, 512 KiB of ones and 2,000,000 zeros make 526,848 bytes', () => {
    const bytes = collect(
      writeSparseTar([
        { name: 'first.txt', source: sourceFromBytes(new Uint8Array(1 << 20)) },
        { name: 'second.txt', source: sourceFromBytes(ones(512 << 10)) },
        { name: 'third.txt', source: sourceFromBytes(new Uint8Array(2_000_000)) },
      ]),
    );
    expect(bytes.length).toBe(526_848);
    expect(unpacked(bytes).map(({ sizeBytes, extents }) => [sizeBytes, extents])).toEqual([
      [1 << 20, []],
      [512 << 10, [{ offset: 0, length: 512 << 10 }]],
      [2_000_000, []],
    ]);
  });

  test('every field of a header', () => {
    const source = piecesSource(4096, [[1024, ones(700)]]);
    const block = collect(writeSparseTar([{ name: 'partition.img', source }])).subarray(0, 512);
    const field = (at: number, length: number): string =>
      rawFromBytes(block.subarray(at, at + length)).replaceAll('\0', '.');
    expect(field(0, 14)).toBe('partition.img.');
    expect(field(100, 24)).toBe('0000644.0000000.0000000.');
    expect(field(124, 12)).toBe('00000002000.');
    expect(field(136, 12)).toBe('10461020230.');
    expect(field(154, 3)).toBe('. S');
    expect(field(257, 8)).toBe('ustar  .');
    expect(field(265, 121)).toBe('.'.repeat(121));
    expect(pairs(block, 386, 4)).toEqual([
      '00000002000.00000002000.',
      '00000010000.00000000000.',
      '.'.repeat(24),
      '.'.repeat(24),
    ]);
    expect(block[482]).toBe(0);
    expect(field(483, 29)).toBe(`00000010000.${'.'.repeat(17)}`);
  });

  test('the stored bytes end where the last piece does: padding follows only once', () => {
    const source = piecesSource(3000, [
      [0, ones(512)],
      [2560, ones(440)],
    ]);
    const bytes = packed(source);
    expect(bytes.length).toBe(512 + 1024 + 1024);
    expect(bytes.subarray(512, 512 + 952)).toEqual(ones(952));
  });

  test('offsets and sizes from 8 GiB on are base-256', () => {
    const offset = 10_603_200_512;
    const source = piecesSource(offset + 512, [[offset, ones(512)]]);
    const bytes = packed(source);
    expect(bytesToHex(bytes.subarray(386, 398))).toBe('800000000000000278000000');
    expect(bytesToHex(bytes.subarray(483, 495))).toBe('800000000000000278000200');
    const [content] = unpacked(bytes);
    expect(content?.sizeBytes).toBe(offset + 512);
    expect(content?.read(offset - 1, 3)).toEqual(new Uint8Array([0, 1, 1]));
  });

  test.each([4, 5, 25, 26])('%d pieces: four in the header, 21 in each block behind it', (count) => {
    const pieces = Array.from({ length: count }, (_, i) => [i * 1024, ones(512)] as const);
    // The last piece ends the file, so no closing piece is added.
    const bytes = packed(piecesSource(count * 1024 - 512, pieces));
    const extensions = Math.ceil((count - 4) / 21);
    expect(bytes.length).toBe(512 * (1 + extensions + count + 2));
    expect(bytes[482]).toBe(extensions > 0 ? 1 : 0);
    for (let i = 0; i < extensions; i++) {
      expect(bytes[512 * (1 + i) + 504]).toBe(i < extensions - 1 ? 1 : 0);
    }
    expect(unpacked(bytes)[0]?.extents).toHaveLength(count);
  });

  test('an empty member has no piece, and an executable one 0755', () => {
    const bytes = collect(writeSparseTar([{ name: 'e', source: holeSource(0), mode: 0o755 }]));
    expect(bytes.length).toBe(1536);
    expect(pairs(bytes, 386, 1)).toEqual(['.'.repeat(24)]);
    expect(rawFromBytes(bytes.subarray(100, 107))).toBe('0000755');
    expect(unpacked(bytes)[0]?.sizeBytes).toBe(0);
  });

  test('no members make two blocks of zeros', () => {
    expect(packed()).toEqual(new Uint8Array(1024));
  });

  test.each(['', 'n'.repeat(101), 'a\0b', 'folder/'])('rejects the name %j', (name) => {
    expectCvmError(
      () => collect(writeSparseTar([{ name, source: holeSource(0) }])),
      'TAR_MEMBER_NAME',
      'usage',
    );
  });
});

/** Content of few distinct blocks, and two ways to cut the same content into extents. */
const content = fc.array(fc.constantFrom(0, 0, 1, 2), { maxLength: 40 }).chain((blocks) =>
  fc.record({
    bytes: fc.nat(600).map((tail) => {
      const bytes = new Uint8Array(Math.max(0, blocks.length * 512 - tail));
      blocks.forEach((kind, i) => {
        const block = bytes.subarray(i * 512, i * 512 + 512);
        if (kind === 1) block.fill(7);
        if (kind === 2 && block.length > 0) block[block.length - 1] = 1;
      });
      return bytes;
    }),
    cuts: fc.array(fc.nat(40 * 512), { maxLength: 6 }),
  }),
);

/** The same bytes with other extents: cut at arbitrary places, leading zeros of every piece known as a hole. */
function recut(bytes: Uint8Array, cuts: readonly number[]): ByteSource {
  const at = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
  const pieces = at.slice(1).flatMap((end, i) => {
    const start = at[i] as number;
    const first = bytes.subarray(start, end).findIndex((byte) => byte !== 0);
    return first < 0
      ? []
      : [{ offset: start + first, source: sourceFromBytes(bytes.subarray(start + first, end)) }];
  });
  return sparseSource(bytes.length, pieces);
}

test('the archive depends on the content, not on how its extents are cut', () => {
  fc.assert(
    fc.property(content, ({ bytes, cuts }) => {
      expect(packed(recut(bytes, cuts))).toEqual(packed(sourceFromBytes(bytes)));
    }),
  );
});

test('what is written is read back, and no piece holds a block of zeros', () => {
  fc.assert(
    fc.property(fc.array(content, { maxLength: 3 }), (contents) => {
      const read = unpacked(packed(...contents.map(({ bytes }) => sourceFromBytes(bytes))));
      expect(read.map((source) => source.read(0, source.sizeBytes))).toEqual(
        contents.map(({ bytes }) => bytes),
      );
      for (const source of read) {
        for (const { offset, length } of source.extents) {
          for (let at = offset; at < offset + length; at += 512) {
            const block = source.read(at, Math.min(512, offset + length - at));
            expect(block.some((byte) => byte !== 0)).toBe(true);
          }
        }
      }
    }),
  );
});

test('a read of any range is that range of the content', () => {
  fc.assert(
    fc.property(content, fc.nat(20_000), fc.nat(5000), ({ bytes }, from, length) => {
      const [source] = unpacked(packed(sourceFromBytes(bytes)));
      const start = Math.min(from, bytes.length);
      const count = Math.min(length, bytes.length - start);
      expect(source?.read(start, count)).toEqual(bytes.subarray(start, start + count));
    }),
  );
});

test('nothing outside the extents is read, and never more than a chunk at once', () => {
  const sizeBytes = 20 * 2 ** 30;
  const inner = piecesSource(sizeBytes, [[12 * 2 ** 30, ones(3 * CHUNK_BYTES)]]);
  let largest = 0;
  const watched: ByteSource = {
    ...inner,
    read(offset, length) {
      expect(offset).toBeGreaterThanOrEqual(12 * 2 ** 30);
      largest = Math.max(largest, length);
      return inner.read(offset, length);
    },
  };
  expect(packed(watched).length).toBe(512 + 3 * CHUNK_BYTES + 1024);
  expect(largest).toBeLessThanOrEqual(CHUNK_BYTES);
});

describe('reading the other notations', () => {
  /** Old GNU by hand. */
  function oldGnu(
    list: readonly (readonly [number, number])[],
    realSize: number,
    body: string,
    patch: (block: Uint8Array) => void = () => undefined,
  ): Uint8Array[] {
    const block = header({ dialect: 'gnu', typeFlag: 'S', sizeBytes: body.length }, (target) => {
      list.forEach(([offset, length], i) => {
        writeNumber(target, 386 + 24 * i, 12, offset);
        writeNumber(target, 398 + 24 * i, 12, length);
      });
      writeNumber(target, 483, 12, realSize);
      patch(target);
    });
    return [block, padded(body)];
  }

  const map10 = (map: string, realSize: string, body: string): Uint8Array[] => {
    const stored = concatBytes(padded(map), utf8Bytes(body));
    return [
      pax(
        record('GNU.sparse.major', '1'),
        record('GNU.sparse.minor', '0'),
        record('GNU.sparse.name', 'real/name'),
        record('GNU.sparse.realsize', realSize),
      ),
      member({ name: 'real/GNUSparseFile.42/name' }, stored),
    ];
  };

  test('old GNU, with a piece that starts anywhere', () => {
    const [found] = membersOf(
      ...oldGnu(
        [
          [3, 2],
          [7, 1],
          [10, 0],
        ],
        10,
        'abc',
      ),
    );
    expect(text(found?.content as ByteSource)).toBe('\0\0\0ab\0\0c\0\0');
    expect(found?.content.extents).toEqual([
      { offset: 3, length: 2 },
      { offset: 7, length: 1 },
    ]);
  });

  test('pax 1.0: the map stands before the data, the name in a record', () => {
    const [found, next] = membersOf(...map10('2\n3\n2\n10\n0\n', '10', 'ab'), header({ name: 'next' }));
    expect(found?.name).toBe('real/name');
    expect(text(found?.content as ByteSource)).toBe('\0\0\0ab\0\0\0\0\0');
    expect(next?.name).toBe('next');
  });

  test('pax 1.0 with a map of several blocks', () => {
    const count = 200;
    const map = [count, ...Array.from({ length: count }, (_, i) => `${1000 * i}\n1`)].join('\n');
    const [found] = membersOf(...map10(`${map}\n`, '200000', 'x'.repeat(count)));
    expect(found?.content.extents).toHaveLength(count);
    expect(found?.content.read(199_000, 2)).toEqual(new Uint8Array([0x78, 0]));
  });

  test('pax 0.1: the map in one record', () => {
    const [found] = membersOf(
      pax(
        record('GNU.sparse.size', '10'),
        record('GNU.sparse.numblocks', '2'),
        record('GNU.sparse.map', '3,2,10,0'),
        record('GNU.sparse.name', 'n'),
      ),
      member({}, 'ab'),
    );
    expect(found?.name).toBe('n');
    expect(text(found?.content as ByteSource)).toBe('\0\0\0ab\0\0\0\0\0');
  });

  test('pax 0.0: repeated records', () => {
    const [found] = membersOf(
      pax(
        record('GNU.sparse.size', '9'),
        record('GNU.sparse.numblocks', '2'),
        record('GNU.sparse.offset', '0'),
        record('GNU.sparse.numbytes', '1'),
        record('GNU.sparse.offset', '8'),
        record('GNU.sparse.numbytes', '1'),
      ),
      member({}, 'ab'),
    );
    expect(text(found?.content as ByteSource)).toBe(`a${'\0'.repeat(7)}b`);
  });

  test('holes of the archive itself stay known inside a piece', () => {
    const whole = collect(writeSparseTar([{ name: 'm', source: sourceFromBytes(ones(4096)) }]));
    const holed = piecesSource(whole.length, [
      [0, whole.subarray(0, 1024)],
      [2048, whole.subarray(2048)],
    ]);
    const [found] = [...readTar(holed)];
    expect(found?.content.extents).toEqual([
      { offset: 0, length: 512 },
      { offset: 1536, length: 2560 },
    ]);
  });

  test.each<[string, readonly Uint8Array[], string]>([
    [
      'pieces that overlap',
      oldGnu(
        [
          [0, 2],
          [1, 1],
        ],
        10,
        'abc',
      ),
      'TAR_SPARSE_MAP',
    ],
    [
      'pieces that descend',
      oldGnu(
        [
          [5, 1],
          [1, 1],
        ],
        10,
        'ab',
      ),
      'TAR_SPARSE_MAP',
    ],
    ['a piece past the size', oldGnu([[9, 2]], 10, 'ab'), 'TAR_SPARSE_MAP'],
    [
      'a last piece past the size',
      oldGnu(
        [
          [0, 1],
          [11, 0],
        ],
        10,
        'a',
      ),
      'TAR_SPARSE_MAP',
    ],
    ['more stored than pieces', oldGnu([[0, 1]], 10, 'ab'), 'TAR_SPARSE_SIZE'],
    ['less stored than pieces', oldGnu([[0, 2]], 10, 'a'), 'TAR_SPARSE_SIZE'],
    [
      'a list that goes on behind its end',
      oldGnu([[0, 1]], 10, 'a', (block) => {
        block[386 + 48] = 0x31;
      }),
      'TAR_SPARSE_MAP',
    ],
    [
      'further blocks behind a list that has ended',
      oldGnu([[0, 1]], 10, 'a', (block) => {
        block[482] = 1;
      }),
      'TAR_SPARSE_MAP',
    ],
    [
      'a mark that is neither 0 nor 1',
      oldGnu(
        [
          [0, 1],
          [1, 0],
          [2, 0],
          [3, 0],
        ],
        10,
        'a',
        (block) => {
          block[482] = 2;
        },
      ),
      'TAR_SPARSE_MAP',
    ],
    [
      'a negative real size',
      oldGnu([[0, 1]], 10, 'a', (block) => {
        block.fill(0xff, 483, 495);
      }),
      'TAR_RANGE',
    ],
    ['a 1.0 map that is not numbers', map10('x\n', '10', ''), 'TAR_SPARSE_MAP'],
    ['a 1.0 map with an empty line', map10('1\n\n1\n', '10', 'a'), 'TAR_SPARSE_MAP'],
    ['a 1.0 map that does not end', map10('9'.repeat(512), '10', ''), 'TAR_SPARSE_MAP'],
    ['a 1.0 map with a wild count', map10('99999999999\n0\n1\n', '10', 'a'), 'TAR_SPARSE_MAP'],
    ['a 1.0 map with more numbers than its block', map10('1\n0\n', '10', ''), 'TAR_SPARSE_MAP'],
    ['a 1.0 size that is missing', map10('0\n', '', ''), 'TAR_PAX_VALUE'],
    [
      'version 2.0',
      [pax(record('GNU.sparse.major', '2'), record('GNU.sparse.minor', '0')), member({}, 'a')],
      'TAR_SPARSE_VERSION',
    ],
    [
      'a 0.1 map with an odd number of numbers',
      [
        pax(
          record('GNU.sparse.size', '1'),
          record('GNU.sparse.numblocks', '1'),
          record('GNU.sparse.map', '0'),
        ),
        member({}, 'a'),
      ],
      'TAR_SPARSE_MAP',
    ],
    [
      '0.0 records out of order',
      [
        pax(
          record('GNU.sparse.size', '1'),
          record('GNU.sparse.numblocks', '1'),
          record('GNU.sparse.numbytes', '1'),
          record('GNU.sparse.offset', '0'),
        ),
        member({}, 'a'),
      ],
      'TAR_PAX_VALUE',
    ],
    [
      'a sparse folder',
      [
        pax(record('GNU.sparse.size', '0'), record('GNU.sparse.numblocks', '0')),
        header({ typeFlag: '5', name: 'd/' }),
      ],
      'TAR_SPARSE_MAP',
    ],
    [
      'both notations at once',
      [
        pax(record('GNU.sparse.size', '10'), record('GNU.sparse.numblocks', '0')),
        ...oldGnu([[0, 1]], 10, 'a'),
      ],
      'TAR_SPARSE_MAP',
    ],
  ])('rejects %s', (_, parts, code) => {
    expectCvmError(() => membersOf(...parts), code, 'format');
  });
});

test('any truncation of a sparse archive is refused', () => {
  const pieces = Array.from({ length: 6 }, (_, i) => [i * 1024, ones(512)] as const);
  const whole = packed(piecesSource(7000, pieces));
  for (let length = 0; length < whole.length; length += 64) {
    expect(() => [...readTar(sourceFromBytes(whole.subarray(0, length)))]).toThrow(CvmError);
  }
});

test('damaged maps throw nothing but format errors', () => {
  const pieces = Array.from({ length: 8 }, (_, i) => [i * 1024, ones(512)] as const);
  const whole = packed(piecesSource(9000, pieces));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(1023), fc.nat(255)), { minLength: 1, maxLength: 5 }), (changes) => {
      const damaged = new Uint8Array(whole);
      for (const [at, value] of changes) if (at < 148 || at > 156) damaged[at] = value;
      // A right checksum, so that the damage reaches the map.
      const sum = damaged.subarray(0, 512).reduce((a, b, i) => a + (i >= 148 && i < 156 ? 32 : b), 0);
      damaged.set(rawToBytes(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
      try {
        for (const { content: source } of readTar(sourceFromBytes(damaged))) {
          source.read(0, Math.min(source.sizeBytes, 1 << 20));
        }
      } catch (error) {
        expect(error).toBeInstanceOf(CvmError);
        expect((error as CvmError).kind).toBe('format');
      }
    }),
    { numRuns: 1000 },
  );
});
