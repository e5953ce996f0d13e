import { describe, expect, test } from 'vitest';
import { rawFromUtf8 } from '../../../tools/bytes/text.ts';
import {
  applyFileContexts,
  limitFileContexts,
  parseFileContexts,
  SELINUX_XATTR,
} from '../../../tools/selinux/file-contexts.ts';
import { compilePathRegex } from '../../../tools/selinux/path-regex.ts';
import { expectCvmError } from '../../support/errors.ts';
import { dirEntry, fileEntry, hardlinkEntry, linkEntry } from '../../support/ext4-trees.ts';

const label = (type: string): string => `system_u:object_r:${type}_t:s0`;

const POLICY = `
# a comment, then the catch-all
/.*	system_u:object_r:default_t:s0
/	-d	system_u:object_r:root_t:s0
/usr/bin/exact	--	system_u:object_r:exact_t:s0
/usr/.*	system_u:object_r:usr_t:s0
/usr/bin(/.*)?	system_u:object_r:bin_t:s0
/usr/(s)?bin/mount	--	system_u:object_r:mount_t:s0
/dev/[^/]*	-c	system_u:object_r:device_t:s0
/dev/[^/]*	-b	system_u:object_r:disk_t:s0
/dev/tty[0-9]+	-c	system_u:object_r:tty_t:s0:c0.c5,c7
/proc(/.*)?	<<none>>
/etc/resolv\\.conf	--	system_u:object_r:net_conf_t:s0
/boot(/.*)?	system_u:object_r:boot_t:s0
/boot/efi(/.*)?	<<none>>
/boot/vmlinuz-.*	--	system_u:object_r:kernel_t:s0
/boot	-d	system_u:object_r:boot_root_t:s0
`;

describe('which line wins', () => {
  const contexts = parseFileContexts(POLICY);
  test.each([
    ['the last one that matches', '/usr/bin/ls', 'file', label('bin')],
    ['the last one, though an earlier one is longer', '/usr/share/x', 'file', label('usr')],
    ['an exact path, though a pattern stands later', '/usr/bin/exact', 'file', label('exact')],
    ['a pattern, when the exact path is for another type', '/usr/bin/exact', 'dir', label('bin')],
    ['one with an optional part before its stem ends', '/usr/sbin/mount', 'file', label('mount')],
    ['one of the right type', '/dev/sda', 'block', label('disk')],
    ['the other of the right type', '/dev/null', 'char', label('device')],
    ['one with categories', '/dev/tty10', 'char', 'system_u:object_r:tty_t:s0:c0.c5,c7'],
    ['the catch-all, for a type that no special line has', '/dev/null', 'file', label('default')],
    ['no label, by <<none>>', '/proc/1/status', 'file', undefined],
    ['the root', '/', 'dir', label('root')],
    ['an escaped dot as a dot', '/etc/resolv.conf', 'file', label('net_conf')],
    ['an escaped dot as nothing else', '/etc/resolvxconf', 'file', label('default')],
    ['a directory by its group', '/boot/grub', 'dir', label('boot')],
  ] as const)('%s', (_, path, type, expected) => {
    expect(contexts.labelFor(path, type)).toBe(expected);
  });

  test('nothing, where no line matches', () => {
    expect(parseFileContexts('/etc/.* a:b:c').labelFor('/usr', 'dir')).toBeUndefined();
  });

  test('the later of two equal exact paths', () => {
    const twice = parseFileContexts('/a x:y:one\n/a x:y:two\n/a -d x:y:three');
    expect(twice.labelFor('/a', 'file')).toBe('x:y:two');
    expect(twice.labelFor('/a', 'dir')).toBe('x:y:three');
  });
});

describe('limited to a subdirectory', () => {
  const contexts = parseFileContexts(limitFileContexts(POLICY, '/boot'));
  test.each([
    ['/vmlinuz-6.1', 'file', label('kernel')],
    ['/grub.cfg', 'file', label('boot')],
    ['/', 'dir', label('boot_root')],
    // The line with <<none>> is gone, so the one before it counts.
    ['/efi/x', 'file', label('boot')],
  ] as const)('%s', (path, type, expected) => {
    expect(contexts.labelFor(path, type)).toBe(expected);
  });
});

describe('labels of a tree', () => {
  const old = new Map([
    [SELINUX_XATTR, new Uint8Array(3)],
    ['user.kept', new Uint8Array(1)],
  ]);
  const tree = [
    dirEntry(''),
    dirEntry('proc', { xattrs: old }),
    fileEntry('vmlinuz-6.1', new Uint8Array(), { xattrs: old }),
    hardlinkEntry('zz', 'vmlinuz-6.1'),
    linkEntry('vmlinuz', 'vmlinuz-6.1'),
  ];
  const labels = (prefix?: string): (string | undefined)[] =>
    applyFileContexts(tree, parseFileContexts(POLICY), prefix === undefined ? {} : { prefix }).map(
      ({ xattrs }) => {
        const value = xattrs.get(SELINUX_XATTR);
        return value === undefined ? undefined : Buffer.from(value).toString('latin1');
      },
    );

  test('end with a NUL, replace older ones, and leave what has no label alone', () => {
    expect(labels()).toEqual([
      `${label('root')}\0`,
      '\0\0\0',
      `${label('default')}\0`,
      `${label('default')}\0`,
      `${label('default')}\0`,
    ]);
  });

  test('are looked up below the mount point', () => {
    expect(labels('/boot')).toEqual([
      `${label('boot_root')}\0`,
      `${label('boot')}\0`,
      `${label('kernel')}\0`,
      `${label('kernel')}\0`,
      `${label('boot')}\0`,
    ]);
  });

  test('other attributes stay', () => {
    const [, , kernel] = applyFileContexts(tree, parseFileContexts(POLICY));
    expect(kernel?.xattrs.get('user.kept')).toEqual(new Uint8Array(1));
  });

  test.each(['boot', '/boot/', '/'])('refuses the mount point %j', (prefix) => {
    expectCvmError(() => labels(prefix), 'SELINUX_PREFIX', 'format');
  });

  test('refuses a hard link to nothing', () => {
    const contexts = parseFileContexts('');
    expectCvmError(
      () => applyFileContexts([hardlinkEntry('a', 'b')], contexts),
      'SELINUX_HARDLINK',
      'format',
    );
  });
});

describe('lines that cannot be read', () => {
  test.each([
    ['/a', 'SELINUX_CONTEXTS_LINE'],
    ['/a -x a:b:c', 'SELINUX_CONTEXTS_LINE'],
    ['/a -- a:b:c d', 'SELINUX_CONTEXTS_LINE'],
    ['/a a:b', 'SELINUX_CONTEXTS_LINE'],
    ['/a <<some>>', 'SELINUX_CONTEXTS_LINE'],
    ['/a(b a:b:c', 'SELINUX_REGEX'],
    ['/a)b a:b:c', 'SELINUX_REGEX'],
    ['/a[b a:b:c', 'SELINUX_REGEX'],
    ['/a[z-a] a:b:c', 'SELINUX_REGEX'],
    ['/a[[:nope:]] a:b:c', 'SELINUX_REGEX'],
    ['*a a:b:c', 'SELINUX_REGEX'],
    ['/a.*+ a:b:c', 'SELINUX_REGEX'],
    ['/a(?=b) a:b:c', 'SELINUX_REGEX'],
    ['/.a$b a:b:c', 'SELINUX_REGEX'],
    ['/.a\\ a:b:c', 'SELINUX_REGEX'],
    ['/.\\1 a:b:c', 'SELINUX_REGEX'],
    ['/.a{3,2} a:b:c', 'SELINUX_REGEX'],
    ['/.a{256} a:b:c', 'SELINUX_REGEX'],
    [`/.${'(a'.repeat(60)}${')'.repeat(60)} a:b:c`, 'SELINUX_REGEX'],
    ['/.((((a{99}){99}){99}){99}) a:b:c', 'SELINUX_REGEX'],
    ['/.(((){255}){255}){255} a:b:c', 'SELINUX_REGEX'],
  ])('%s', (line, code) => {
    const error = expectCvmError(() => parseFileContexts(`# first\n${line}\n`), code, 'format');
    expect(error.facts[0]).toEqual(['line', 2]);
  });
});

describe('patterns match as PCRE does on whole paths', () => {
  const PATTERNS = [
    '/a',
    '/a.c',
    '/a\\.c',
    '/a*',
    '/(ab)+',
    '/(a|bc|)d?',
    '/a|/b',
    '/[a-c]{2,3}',
    '/[^/]*',
    '/x{0}y',
    '/(a{2}){2}',
    '/[]a]+',
    '/[a\\-z]+',
    '/\\d+\\w*',
    '/(a*)*b',
    '/lib(64|32)?/.*\\.so(\\.[^/]*)*',
    '^/a$',
    '/.*?b',
    '/(?:a|b)c',
  ];
  const PATHS = [
    '/',
    '/a',
    '/b',
    '/abc',
    '/a.c',
    '/aaa',
    '/abab',
    '/d',
    '/bcd',
    '/bc',
    '/ab',
    '/abcd',
    '/a/b',
    '/y',
    '/xy',
    '/aaaa',
    '/]a',
    '/a-z',
    '/12ab',
    '/aaab',
    '/lib/x.so',
    '/lib64/a/b.so.1.2',
    '/libx/a.so',
    '/ac',
    '/a\nb',
  ];
  test.each(PATTERNS)('%s', (pattern) => {
    const ours = compilePathRegex(pattern);
    // What these patterns use means the same in JavaScript, but for an empty-looking class.
    const theirs = new RegExp(`^(?:${pattern.replace('[]a]', '[\\]a]')})$`, 's');
    for (const path of PATHS) expect(ours.matches(path), JSON.stringify(path)).toBe(theirs.test(path));
  });

  test('POSIX classes', () => {
    const regex = compilePathRegex('/[[:alpha:]_]+[^[:digit:]]');
    expect(['/ab', '/a_-', '/a1', '/1a'].map((path) => regex.matches(path))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test('bytes, not characters: a name beyond ASCII matches a pattern of its UTF-8', () => {
    const regex = compilePathRegex(rawFromUtf8('/é.'));
    expect(regex.matches(rawFromUtf8('/éx'))).toBe(true);
    expect(regex.matches(rawFromUtf8('/éß'))).toBe(false);
  });

  test('a pattern that makes backtracking engines hang answers at once', () => {
    const regex = compilePathRegex('/((a+)+)+b');
    expect(regex.matches(`/${'a'.repeat(4000)}`)).toBe(false);
  });
});
