import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { sliceSource, sourceFromBytes } from '../../../tools/bytes/source.ts';
import { rawToBytes, utf8Bytes } from '../../../tools/bytes/text.ts';
import { CvmError } from '../../../tools/errors.ts';
import { readTar } from '../../../tools/tar/reader.ts';
import { treeToTar } from '../../../tools/tar/tree.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  archive,
  END,
  header,
  member,
  membersOf,
  padded,
  pax,
  record,
  text,
} from '../../support/tar-blocks.ts';
import { collect, common, fileEntry, folderEntry } from '../../support/trees.ts';

const longName = (type: 'L' | 'K', name: string): Uint8Array =>
  member({ dialect: 'gnu', typeFlag: type, name: '././@LongLink' }, `${name}\0`);

describe('members', () => {
  test('contents are windows of the archive', () => {
    const [first, second] = membersOf(member({ name: 'a' }, 'alpha'), member({ name: 'b' }, 'x'.repeat(513)));
    expect(first).toMatchObject({ name: 'a', type: 'file', headerOffset: 0 });
    expect(text(first?.content as never)).toBe('alpha');
    expect(second).toMatchObject({ name: 'b', headerOffset: 1024 });
    expect(second?.content.sizeBytes).toBe(513);
  });

  test.each([
    ['0', 'file'],
    ['1', 'hardlink'],
    ['2', 'symlink'],
    ['3', 'char'],
    ['4', 'block'],
    ['5', 'dir'],
    ['6', 'fifo'],
    ['7', 'file'],
  ])('type %s is a %s', (typeFlag, type) => {
    expect(membersOf(header({ typeFlag, linkName: 'target' }))[0]).toMatchObject({ type });
  });

  test('device numbers belong to devices', () => {
    const device = { major: 259, minor: 7 };
    expect(membersOf(header({ typeFlag: '4', device }))[0]).toMatchObject(device);
    expect(membersOf(header({ typeFlag: '0', device }))[0]).toMatchObject({ major: 0, minor: 0 });
  });

  test('a slash at the end makes a folder of what old writers call a file', () => {
    expect(membersOf(header({ name: 'd/' }))[0]?.type).toBe('dir');
  });

  test('file type bits in the mode are dropped, as old writers set them', () => {
    expect(membersOf(header({ mode: 0o104755 }))[0]?.mode).toBe(0o4755);
  });

  test.each(['V', 'M', 'D', 'N', 'X', 'A', '8', '\x80', '_'])('rejects type %j', (typeFlag) => {
    expectCvmError(() => membersOf(header({ typeFlag })), 'TAR_TYPE', 'format');
  });

  test('rejects type S with the POSIX magic, where its fields are the prefix', () => {
    expectCvmError(() => membersOf(header({ typeFlag: 'S' })), 'TAR_TYPE');
  });

  test.each(['1', '2', '3', '4', '5', '6'])(
    'rejects content of type %s: readers differ about it',
    (typeFlag) => {
      expectCvmError(() => membersOf(member({ typeFlag, linkName: 't' }, 'content')), 'TAR_SIZE');
    },
  );

  test('rejects a name or link target that is empty', () => {
    expectCvmError(() => membersOf(header({ name: '' })), 'TAR_NAME');
    expectCvmError(() => membersOf(header({ typeFlag: '2', linkName: '' })), 'TAR_NAME');
  });
});

describe('GNU long names', () => {
  test('apply to the next member alone', () => {
    const long = 'n'.repeat(300);
    const [first, second] = membersOf(
      longName('L', long),
      longName('K', 't'.repeat(200)),
      header({ typeFlag: '2', name: 'short', linkName: 'short' }),
      header({ name: 'next' }),
    );
    expect(first).toMatchObject({ name: long, linkName: 't'.repeat(200) });
    expect(second).toMatchObject({ name: 'next', linkName: '' });
  });

  test('a pax path wins over a GNU name', () => {
    expect(membersOf(longName('L', 'gnu'), pax(record('path', 'pax')), header({}))[0]?.name).toBe('pax');
  });

  test('rejects bytes behind the NUL that ends a name', () => {
    expectCvmError(() => membersOf(longName('L', 'a\0b'), header({})), 'TAR_NAME');
  });

  test('rejects a name longer than any path', () => {
    expectCvmError(() => membersOf(longName('L', 'n'.repeat(4097)), header({})), 'TAR_NAME');
  });

  test('rejects two names for one member, and a name for none', () => {
    expectCvmError(() => membersOf(longName('L', 'a'), longName('L', 'b'), header({})), 'TAR_EXTENSION');
    expectCvmError(() => membersOf(longName('K', 'a'), longName('K', 'b'), header({})), 'TAR_EXTENSION');
    expectCvmError(() => membersOf(header({}), longName('L', 'a')), 'TAR_EXTENSION');
  });
});

describe('pax headers', () => {
  test('every key that describes a file', () => {
    const extended = pax(
      record('path', 'p/ü'),
      record('linkpath', 'somewhere'),
      record('uid', '3000000'),
      record('gid', '4000000'),
      record('mtime', '-1.25'),
      record('atime', '5'),
      record('comment', 'ignored'),
    );
    expect(membersOf(extended, header({ typeFlag: '2', linkName: 'x' }))[0]).toMatchObject({
      name: 'p/Ã¼',
      linkName: 'somewhere',
      uid: 3_000_000,
      gid: 4_000_000,
      mtimeSec: -2,
      mtimeNsec: 750_000_000,
    });
  });

  test('size replaces the field, and with it where the next header is looked for', () => {
    const body = padded('x'.repeat(600));
    const members = membersOf(
      pax(record('size', '600')),
      header({ sizeBytes: 0 }),
      body,
      header({ name: 'next' }),
    );
    expect(members.map(({ name, content }) => [name, content.sizeBytes])).toEqual([
      ['f', 600],
      ['next', 0],
    ]);
  });

  test('apply to the next member alone; an empty value withdraws a global one', () => {
    const globals = member({ typeFlag: 'g', name: 'g' }, concatBytes(record('uid', '7'), record('gid', '8')));
    const [first, second, third] = membersOf(
      globals,
      pax(record('uid', '')),
      header({ uid: 1, gid: 2 }),
      header({}),
      member({ typeFlag: 'g', name: 'g' }, record('gid', '')),
      header({ uid: 1, gid: 2 }),
    );
    expect(first).toMatchObject({ uid: 1, gid: 8 });
    expect(second).toMatchObject({ uid: 7, gid: 8 });
    expect(third).toMatchObject({ uid: 7, gid: 2 });
  });

  test.each(['path', 'linkpath', 'size', 'GNU.sparse.size', 'SCHILY.xattr.user.a', 'RHT.security.selinux'])(
    'rejects a global %s',
    (key) => {
      expectCvmError(
        () => membersOf(member({ typeFlag: 'g' }, record(key, '1')), header({})),
        'TAR_EXTENSION',
      );
    },
  );

  test('rejects global headers that pile up', () => {
    const half = (key: string): Uint8Array => member({ typeFlag: 'g' }, record(key, new Uint8Array(600_000)));
    expect(membersOf(half('a'), half('a'), header({}))).toHaveLength(1);
    expectCvmError(() => membersOf(half('a'), half('b'), header({})), 'TAR_EXTENSION');
  });

  test('rejects many global records, since each member is read with all of them', () => {
    const many = Array.from({ length: 65 }, (_, i) => member({ typeFlag: 'g' }, record(`k${i}`, 'v')));
    expect(membersOf(...many.slice(1), header({}))).toHaveLength(1);
    expectCvmError(() => membersOf(...many, header({})), 'TAR_EXTENSION');
  });

  test('rejects an extended header above 32 MiB before reading it', () => {
    const huge = header({ typeFlag: 'x', sizeBytes: (32 << 20) + 1 });
    expectCvmError(() => membersOf(huge), 'TAR_EXTENSION');
  });

  test('rejects two for one member, and one for none', () => {
    expectCvmError(
      () => membersOf(pax(record('uid', '1')), pax(record('gid', '1')), header({})),
      'TAR_EXTENSION',
    );
    expectCvmError(() => membersOf(pax(record('uid', '1'))), 'TAR_EXTENSION');
  });

  test('rejects a path with a NUL byte', () => {
    expectCvmError(() => membersOf(pax(record('path', 'a\0b')), header({})), 'TAR_NAME');
  });

  test.each([
    ['size', '-1', 'TAR_PAX_VALUE'],
    ['size', '1e3', 'TAR_PAX_VALUE'],
    ['uid', '4294967296', 'TAR_RANGE'],
    ['gid', 'root', 'TAR_PAX_VALUE'],
    ['mtime', 'now', 'TAR_PAX_VALUE'],
  ])('rejects %s=%s', (key, value, code) => {
    expectCvmError(() => membersOf(pax(record(key, value)), header({})), code, 'format');
  });
});

describe('extended attributes', () => {
  const xattrs = (...records: Uint8Array[]): [string, number[]][] =>
    [...(membersOf(pax(...records), header({}))[0]?.xattrs ?? [])].map(([name, value]) => [name, [...value]]);

  test('raw values, empty ones too', () => {
    const value = new Uint8Array([0, 10, 0x3d, 255]);
    expect(xattrs(record('SCHILY.xattr.user.a', value), record('SCHILY.xattr.user.b', ''))).toEqual([
      ['user.a', [0, 10, 0x3d, 255]],
      ['user.b', []],
    ]);
  });

  test('names with the two characters that GNU tar escapes', () => {
    expect(xattrs(record('SCHILY.xattr.user.a%3Db%25c%41', 'v'))).toEqual([['user.a=b%c%41', [0x76]]]);
  });

  test('as libarchive writes them: URL-encoded names, base64 without padding', () => {
    expect(xattrs(record('LIBARCHIVE.xattr.user.a%20b', 'AAo9/w'))).toEqual([
      ['user.a b', [0, 10, 0x3d, 255]],
    ]);
    expect(xattrs(record('LIBARCHIVE.xattr.user.x', 'AAo9/w=='))).toEqual([['user.x', [0, 10, 0x3d, 255]]]);
  });

  test('both notations at once, when they agree', () => {
    expect(xattrs(record('LIBARCHIVE.xattr.user.x', 'dg'), record('SCHILY.xattr.user.x', 'v'))).toHaveLength(
      1,
    );
  });

  test('an SELinux label as text gets the NUL that it has in an inode', () => {
    const label = 'system_u:object_r:etc_t:s0';
    const expected = [['security.selinux', [...utf8Bytes(`${label}\0`)]]];
    expect(xattrs(record('RHT.security.selinux', label))).toEqual(expected);
    expect(xattrs(record('RHT.security.selinux', `${label}\0`))).toEqual(expected);
    expect(
      xattrs(record('RHT.security.selinux', label), record('SCHILY.xattr.security.selinux', `${label}\0`)),
    ).toEqual(expected);
  });

  test.each([
    ['two different values', [record('LIBARCHIVE.xattr.user.x', 'dg'), record('SCHILY.xattr.user.x', 'w')]],
    ['no name', [record('SCHILY.xattr.', 'v')]],
    ['a name above 255 bytes', [record(`SCHILY.xattr.user.${'n'.repeat(251)}`, 'v')]],
    ['a name with a NUL', [record('LIBARCHIVE.xattr.user.%00', 'dg')]],
    ['a value above 64 KiB', [record('SCHILY.xattr.user.x', new Uint8Array(65_537))]],
    ['a value that is not base64', [record('LIBARCHIVE.xattr.user.x', 'd g')]],
    ['base64 of another spelling', [record('LIBARCHIVE.xattr.user.x', 'dh')]],
    ['a name that is not UTF-8', [record('LIBARCHIVE.xattr.user.%ff', 'dg')]],
  ])('rejects %s', (_, records) => {
    expectCvmError(() => xattrs(...records), 'TAR_XATTR', 'format');
  });

  test('rejects access control lists as text rather than lose them', () => {
    const error = expectCvmError(
      () => xattrs(record('SCHILY.acl.access', 'user::rwx,user:lisa:r--')),
      'TAR_ACL',
    );
    expect(error.mend).toMatch(/--xattrs.*without --acls/);
  });
});

describe('the end', () => {
  test('what stands behind the end is not looked at', () => {
    expect([
      ...readTar(sourceFromBytes(concatBytes(member({}, 'x'), END, rawToBytes('garbage')))),
    ]).toHaveLength(1);
  });

  test('rejects no bytes at all, and an archive without an end', () => {
    expectCvmError(() => [...readTar(sourceFromBytes(new Uint8Array(0)))], 'TAR_TRUNCATED', 'format');
    expectCvmError(() => [...readTar(sourceFromBytes(member({}, 'x')))], 'TAR_TRUNCATED');
  });

  test('rejects one block of zeros with members behind it', () => {
    expectCvmError(() => membersOf(member({}, 'x'), new Uint8Array(512), member({}, 'y')), 'TAR_END');
  });

  test('rejects a size past the end of the archive, up to the largest', () => {
    expectCvmError(() => membersOf(header({ sizeBytes: 4096 })), 'TAR_TRUNCATED');
    expectCvmError(() => membersOf(header({ sizeBytes: Number.MAX_SAFE_INTEGER })), 'TAR_TRUNCATED');
    expectCvmError(() => membersOf(pax(record('size', '9007199254740991')), header({})), 'TAR_TRUNCATED');
  });

  test('rejects what is no archive', () => {
    expectCvmError(() => [...readTar(sourceFromBytes(new Uint8Array(4096).fill(0x41)))], 'TAR_CHECKSUM');
  });
});

const whole = collect(
  treeToTar([
    folderEntry('d'),
    fileEntry('d/f', 'content', { xattrs: new Map([['user.x', new Uint8Array([1, 2])]]) }),
    fileEntry('n'.repeat(120), 'y'.repeat(700), { uid: 3_000_000 }),
    { ...common('link'), type: 'symlink', target: 'd/f' },
  ]),
);

test('any truncation is refused', () => {
  for (let length = 0; length < whole.length; length++) {
    const error = (() => {
      try {
        return [...readTar(sliceSource(sourceFromBytes(whole), 0, length))];
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error, `${length} bytes`).toBeInstanceOf(CvmError);
    expect((error as CvmError).kind).toBe('format');
  }
});

test('no damage makes it throw anything else than a format error', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (changes) => {
        const damaged = new Uint8Array(whole);
        for (const [at, value] of changes) damaged[at] = value;
        try {
          for (const { content } of readTar(sourceFromBytes(damaged))) content.read(0, content.sizeBytes);
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test('headers of arbitrary content with a right checksum throw nothing but format errors', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 512, maxLength: 512 }),
      fc.constantFrom('0', 'x', 'g', 'L', 'S', '5'),
      fc.boolean(),
      (bytes, typeFlag, isGnu) => {
        const block = header({ typeFlag, dialect: isGnu ? 'gnu' : 'posix', sizeBytes: 512 }, (target) => {
          target.set(bytes.subarray(0, 100), 0);
          target.set(bytes.subarray(345), 345);
        });
        try {
          membersOf(block, bytes, header({}));
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).toBe('format');
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test('an archive is read the same through any window that holds it', () => {
  const shifted = sliceSource(sourceFromBytes(concatBytes(new Uint8Array(77), whole)), 77, whole.length);
  expect([...readTar(shifted)].map(({ name }) => name)).toEqual(
    [...readTar(archive(whole.subarray(0, -1024)))].map(({ name }) => name),
  );
});
