import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bindRootfs, rootfsHash } from '../../../tools/dstack/cmdline.ts';
import { readMetadata, writeMetadata, type MetadataParameters } from '../../../tools/dstack/metadata.ts';
import { expectCvmError } from '../../support/errors.ts';
import { CMDLINE, parameters, REVISION, ROOTFS_HASH } from '../../support/dstack.ts';

const given = (change: Partial<MetadataParameters> = {}): MetadataParameters => ({
  ...parameters('0.5.11'),
  hasSevFirmware: true,
  ...change,
});
const written = (change: Partial<MetadataParameters> = {}): string =>
  Buffer.from(writeMetadata(given(change))).toString('utf8');
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const document = (change: Record<string, unknown> = {}): Uint8Array =>
  bytes(JSON.stringify({ kernel: 'bzImage', initrd: 'initramfs.cpio.gz', ...change }));

describe('metadata.json is written', () => {
  test('in the form of the reference, with and without bios-sev', () => {
    expect(written()).toBe(`{
    "bios": "ovmf.fd",
    "bios-sev": "ovmf-sev.fd",
    "kernel": "bzImage",
    "cmdline": "${CMDLINE}",
    "initrd": "initramfs.cpio.gz",
    "rootfs": "rootfs.img.parted.verity",
    "version": "0.5.11",
    "git_revision": "${REVISION}",
    "shared_ro": true,
    "is_dev": false,
    "ovmf_variant": "pre202505"
}
`);
    expect(written({ hasSevFirmware: false })).toBe(
      written().replace('    "bios-sev": "ovmf-sev.fd",\n', ''),
    );
  });

  test.each<[string, Partial<MetadataParameters>]>([
    ['a development image', { isDev: true, sharedRo: false }],
    ['an unknown revision', { gitRevision: '<unknown>' }],
    ['a version with a suffix', { version: '0.6.0.a2' }],
    ['the newer firmware', { ovmfVariant: 'stable202505', hasSevFirmware: false }],
  ])('as valid JSON that reads back: %s', (_, change) => {
    const parsed = JSON.parse(written(change)) as Record<string, unknown>;
    const { isDev, sharedRo, gitRevision, version, ovmfVariant } = given(change);
    expect(parsed).toMatchObject({
      is_dev: isDev,
      shared_ro: sharedRo,
      git_revision: gitRevision,
      version,
      ovmf_variant: ovmfVariant,
    });
    expect(readMetadata(bytes(written(change)))).toMatchObject({ isDev, sharedRo, version, ovmfVariant });
  });

  test.each(['"', '\\', '\n', '\t', '\u0000', '\u007f', 'é', '\u2028', '\ud800'])(
    'never with a value that JSON escapes or a terminal obeys: %j',
    (bad) => {
      expectCvmError(() => written({ cmdline: `${CMDLINE} a=${bad}` }), 'METADATA_ESCAPE', 'usage');
      expectCvmError(() => written({ version: `0.5.11.${bad}` }), 'METADATA_ESCAPE', 'usage');
      expectCvmError(() => written({ gitRevision: bad }), 'METADATA_ESCAPE', 'usage');
    },
  );

  test('whatever a command line holds, what comes out is valid JSON of that command line, or an error', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (cmdline) => {
        let text: string;
        try {
          text = written({ cmdline });
        } catch (error) {
          expect(error).toMatchObject({ code: 'METADATA_ESCAPE' });
          return;
        }
        expect((JSON.parse(text) as { cmdline: string }).cmdline).toBe(cmdline);
      }),
      { seed: 7 },
    );
  });

  test.each(['', '0.5', 'v0.5.10', '0.5.10.', '00.5.1', '0.5.1.a b', '1.2.3.4.5', '-1.0.0'])(
    'never with the version %j',
    (version) => {
      expectCvmError(() => written({ version }), 'METADATA_VERSION', 'usage');
    },
  );

  test.each(['', 'abc', REVISION.toUpperCase().replace(/\d/g, 'A'), `${REVISION}0`])(
    'never with the revision %j',
    (gitRevision) => {
      expectCvmError(() => written({ gitRevision }), 'METADATA_REVISION', 'usage');
    },
  );
});

describe('metadata.json is read', () => {
  test('with defaults, and unknown keys ignored', () => {
    expect(readMetadata(document({ future: { a: [1] } }))).toEqual({
      bios: undefined,
      biosSev: undefined,
      kernel: 'bzImage',
      cmdline: undefined,
      initrd: 'initramfs.cpio.gz',
      rootfs: undefined,
      hda: undefined,
      version: '',
      gitRevision: undefined,
      sharedRo: false,
      isDev: false,
      ovmfVariant: undefined,
      kernelHeaderNormalized: false,
    });
  });

  const STRINGS = [
    'bios',
    'bios-sev',
    'kernel',
    'cmdline',
    'initrd',
    'rootfs',
    'hda',
    'version',
    'git_revision',
    'ovmf_variant',
  ];
  const FLAGS = ['shared_ro', 'is_dev', 'kernel_header_normalized'];
  const cases = [
    ...STRINGS.flatMap((key) => [null, 1, true, [], {}].map((value) => [key, value] as const)),
    ...FLAGS.flatMap((key) => [null, 1, 'true', [], {}].map((value) => [key, value] as const)),
  ];
  test.each(cases)('%s of a wrong type: %j', (key, value) => {
    const error = expectCvmError(() => readMetadata(document({ [key]: value })), 'METADATA_TYPE', 'format');
    expect(error.facts[0]).toEqual(['key', key]);
  });

  test.each(['kernel', 'initrd'])('never without %s', (key) => {
    const missing = { kernel: 'k', initrd: 'i', [key]: undefined };
    expectCvmError(() => readMetadata(bytes(JSON.stringify(missing))), 'METADATA_MISSING_KEY', 'format');
  });

  test('never with a variant that no reader knows', () => {
    expectCvmError(
      () => readMetadata(document({ ovmf_variant: 'stable202608' })),
      'METADATA_VARIANT',
      'format',
    );
    expectCvmError(() => readMetadata(document({ ovmf_variant: 'PRE202505' })), 'METADATA_VARIANT', 'format');
  });

  test.each<[string, string, string]>([
    ['nothing', '', 'JSON_INVALID'],
    ['half a document', '{"kernel": "bz', 'JSON_INVALID'],
    ['a value put in without escaping', '{"kernel":"a"b","initrd":"i"}', 'JSON_INVALID'],
    ['a byte order mark', '\ufeff{"kernel":"k","initrd":"i"}', 'JSON_INVALID'],
    ['a list', '[]', 'JSON_NOT_OBJECT'],
    ['null', 'null', 'JSON_NOT_OBJECT'],
    ['text', '"kernel"', 'JSON_NOT_OBJECT'],
    ['a key twice', '{"kernel":"k","initrd":"i","kernel":"other"}', 'JSON_DUPLICATE_KEY'],
    ['a key twice, once escaped', '{"kernel":"k","initrd":"i","k\\u0065rnel":"other"}', 'JSON_DUPLICATE_KEY'],
    ['a fraction', '{"kernel":"k","initrd":"i","x":1.5}', 'JSON_NUMBER'],
    ['an exponent', '{"kernel":"k","initrd":"i","x":1e3}', 'JSON_NUMBER'],
    ['an integer that no double holds', '{"kernel":"k","initrd":"i","x":9007199254740993}', 'JSON_NUMBER'],
    ['nesting without end', `{"x":${'['.repeat(100)}${']'.repeat(100)}}`, 'JSON_DEPTH'],
    ['nesting that would take a stack', '['.repeat(200_000), 'JSON_INVALID'],
  ])('never when malformed: %s', (_, text, code) => {
    expectCvmError(() => readMetadata(bytes(text)), code, 'format');
  });

  test('never when it is not UTF-8, or larger than any', () => {
    expectCvmError(() => readMetadata(Uint8Array.of(0x7b, 0xff, 0x7d)), 'JSON_INVALID', 'format');
    expectCvmError(() => readMetadata(new Uint8Array((16 << 20) + 1)), 'JSON_SIZE', 'format');
  });

  test('equal keys of different objects are no duplicates, and braces in strings no objects', () => {
    const text = '{"kernel":"k{","initrd":"i","a":{"kernel":"}"},"b":[{"a":1},{"a":2}],"c":"\\"a\\":"}';
    expect(readMetadata(bytes(text)).kernel).toBe('k{');
  });
});

describe('the command line', () => {
  test('binds a root file system', () => {
    expect(bindRootfs('a=b', ROOTFS_HASH, 4096)).toBe(
      `a=b dstack.rootfs_hash=${ROOTFS_HASH} dstack.rootfs_size=4096`,
    );
    expect(rootfsHash(CMDLINE, 'metadata.json')).toEqual(new Uint8Array(32).fill(0x11));
    expect(rootfsHash(`\ta\ndstack.rootfs_hash=${'AB'.repeat(32)}`, 'x')).toEqual(
      new Uint8Array(32).fill(0xab),
    );
  });

  test.each<[string, string, RegExp]>([
    ['', 'CMDLINE_NO_ROOTFS', /dstack\.rootfs_hash is required in here/],
    ['xdstack.rootfs_hash=11', 'CMDLINE_NO_ROOTFS', /required/],
    ['dstack.rootfs_hash=', 'CMDLINE_ROOTFS_LENGTH', /must be 32 bytes/],
    ['dstack.rootfs_hash=1111', 'CMDLINE_ROOTFS_LENGTH', /must be 32 bytes/],
    [`dstack.rootfs_hash=${ROOTFS_HASH}11`, 'CMDLINE_ROOTFS_LENGTH', /must be 32 bytes/],
    ['dstack.rootfs_hash=zz', 'CMDLINE_ROOTFS_HEX', /must be valid hex/],
    ['dstack.rootfs_hash=111', 'CMDLINE_ROOTFS_HEX', /must be valid hex/],
    [`dstack.rootfs_hash=${ROOTFS_HASH} dstack.rootfs_hash=${ROOTFS_HASH}`, 'CMDLINE_TWO_ROOTFS', /2 times/],
  ])('%j', (cmdline, code, message) => {
    expect(expectCvmError(() => rootfsHash(cmdline, 'here'), code, 'format').message).toMatch(message);
  });

  test('is refused as a base when it binds one already, and with a hash of another length', () => {
    expectCvmError(() => bindRootfs(CMDLINE, ROOTFS_HASH, 1), 'CMDLINE_BASE', 'usage');
    expectCvmError(() => bindRootfs('a dstack.rootfs_size=1', ROOTFS_HASH, 1), 'CMDLINE_BASE', 'usage');
    expectCvmError(() => bindRootfs('a', '11', 1), 'HEX_LENGTH');
  });
});
