import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { buildBundle, type Bundle } from '../../../tools/dstack/bundle.ts';
import { bundleMetadata, chooseFirmware, type BundleItem } from '../../../tools/dstack/contents.ts';
import { verifyBundle } from '../../../tools/dstack/verify.ts';
import {
  contentsOf,
  fileOf,
  parameters,
  sevFirmwareS,
  tdvf1,
  textParts,
  wholeParts,
} from '../../support/dstack.ts';
import { expectCvmError } from '../../support/errors.ts';

const whole = buildBundle(wholeParts(), parameters('0.6.0'), 'cbor');
const four = buildBundle(textParts(true), parameters('0.5.11'), 'four');
const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

/** A bundle whose metadata is another, with manifest and digest to fit. */
function withMetadata(
  bundle: Bundle,
  edit: (metadata: Record<string, unknown>) => void,
): Record<string, string> {
  const metadata = JSON.parse(Buffer.from(fileOf(bundle, 'metadata.json')).toString()) as Record<
    string,
    unknown
  >;
  edit(metadata);
  const text = JSON.stringify(metadata);
  const sums = Buffer.from(fileOf(bundle, 'sha256sum.txt'))
    .toString()
    .replace(/^.{64}(?= {2}metadata\.json$)/m, sha256(Buffer.from(text)));
  return { 'metadata.json': text, 'sha256sum.txt': sums, 'digest.txt': `${sha256(Buffer.from(sums))}\n` };
}

describe('good bundles', () => {
  test('of both generations', () => {
    expect(verifyBundle(contentsOf(whole), { osImageHash: whole.digest.toUpperCase() })).toMatchObject({
      osImageHash: whole.digest,
      role: 'vmm',
      rootfsHash: '11'.repeat(32),
    });
    const report = verifyBundle(contentsOf(four));
    expect(report.osImageHash).toBe(four.digest);
    // Four files say nothing of the content of the SEV firmware.
    expect(report.files.find(({ name }) => name === 'ovmf-sev.fd')?.binding).toBe('none');
  });

  test('say how each file is bound', () => {
    const { files } = verifyBundle(contentsOf(whole));
    expect(Object.fromEntries(files.map(({ name, binding }) => [name, binding]))).toEqual({
      'ovmf.fd': 'listed',
      'ovmf-sev.fd': 'measured',
      bzImage: 'listed',
      'initramfs.cpio.gz': 'listed',
      'metadata.json': 'listed',
      'rootfs.img.parted.verity': 'referenced',
      'measurement.tdx.cbor': 'listed',
      'measurement.snp.cbor': 'listed',
      'sha256sum.txt': 'digest',
      'digest.txt': 'digest',
    });
  });

  test('a verifier’s copy may lack what it does not measure', () => {
    const change = {
      'rootfs.img.parted.verity': undefined,
      'ovmf-sev.fd': undefined,
      'digest.txt': undefined,
    };
    expect(verifyBundle(contentsOf(whole, change, 'flat')).role).toBe('verifier');
    expect(verifyBundle(contentsOf(whole, change), { role: 'verifier' }).osImageHash).toBe(whole.digest);
  });
});

describe('one named error for', () => {
  const folder: BundleItem = { kind: 'other', what: 'a folder' };
  const escape: BundleItem = { kind: 'escape', target: '../../etc/shadow' };
  const dangling: BundleItem = { kind: 'dangling', target: 'nowhere' };
  test.each<[string, Parameters<typeof contentsOf>[1], string]>([
    ['no manifest', { 'sha256sum.txt': undefined }, 'BUNDLE_NO_SUMS'],
    ['a manifest that is a folder', { 'sha256sum.txt': folder }, 'ARTIFACT_NOT_A_FILE'],
    ['a manifest elsewhere', { 'sha256sum.txt': escape }, 'ARTIFACT_ESCAPES'],
    ['a digest that is another', { 'digest.txt': `${'0'.repeat(64)}\n` }, 'BUNDLE_DIGEST'],
    ['a digest that is none', { 'digest.txt': 'x' }, 'DIGEST_INVALID'],
    ['a changed kernel', { bzImage: 'other' }, 'BUNDLE_CHECKSUM'],
    ['a changed firmware', { 'ovmf.fd': tdvf1().fill(1, 0, 1) }, 'BUNDLE_CHECKSUM'],
    ['changed metadata', { 'metadata.json': '{}' }, 'BUNDLE_CHECKSUM'],
    ['a changed measurement', { 'measurement.snp.cbor': 'x' }, 'BUNDLE_CHECKSUM'],
    ['an initrd that is gone', { 'initramfs.cpio.gz': undefined }, 'BUNDLE_LISTED_MISSING'],
    ['metadata that are gone', { 'metadata.json': undefined }, 'BUNDLE_LISTED_MISSING'],
    ['a kernel that leads out', { bzImage: escape }, 'ARTIFACT_ESCAPES'],
    ['a kernel that leads nowhere', { bzImage: dangling }, 'ARTIFACT_MISSING'],
    ['a kernel that is a folder', { bzImage: folder }, 'ARTIFACT_NOT_A_FILE'],
    ['a missing root file system', { 'rootfs.img.parted.verity': undefined }, 'ARTIFACT_MISSING'],
    ['a root file system that leads out', { 'rootfs.img.parted.verity': escape }, 'ARTIFACT_ESCAPES'],
    ['a missing SEV firmware', { 'ovmf-sev.fd': undefined }, 'ARTIFACT_MISSING'],
    ['another SEV firmware', { 'ovmf-sev.fd': sevFirmwareS().fill(1, 0, 1) }, 'BUNDLE_MATERIAL'],
    ['a SEV firmware that is none', { 'ovmf-sev.fd': 'x' }, 'OVMF_TOO_SHORT'],
    ['a file that nobody lists', { 'backdoor.ko': 'x' }, 'BUNDLE_UNLISTED'],
    ['a folder that nobody lists', { modules: folder }, 'ARTIFACT_NOT_A_FILE'],
    ['a link that leads out, whatever its name', { 'disk.raw': escape }, 'ARTIFACT_ESCAPES'],
  ])('%s', (_, change, code) => {
    expectCvmError(() => verifyBundle(contentsOf(whole, change)), code);
  });

  test('another digest than the one demanded', () => {
    const error = expectCvmError(
      () => verifyBundle(contentsOf(whole), { osImageHash: '0'.repeat(64) }),
      'OS_IMAGE_HASH',
      'mismatch',
    );
    expect(error.message).toBe('os_image_hash does not match sha256(sha256sum.txt)');
  });

  test('every changed file is named', () => {
    const contents = contentsOf(whole, { bzImage: 'x', 'ovmf.fd': 'y' });
    const error = expectCvmError(() => verifyBundle(contents), 'BUNDLE_CHECKSUM', 'mismatch');
    expect(error.message).toBe('Checksum verification failed: ovmf.fd, bzImage');
    expect(error.facts).toHaveLength(2);
  });

  test('a manifest that leaves out what is measured', () => {
    for (const [name, code] of [
      ['ovmf.fd', 'BUNDLE_UNCOMMITTED'],
      ['bzImage', 'BUNDLE_UNCOMMITTED'],
      ['initramfs.cpio.gz', 'BUNDLE_UNCOMMITTED'],
      ['metadata.json', 'BUNDLE_UNCOMMITTED'],
    ] as const) {
      const lines = Buffer.from(fileOf(whole, 'sha256sum.txt')).toString().split('\n');
      const sums = lines.filter((line) => !line.endsWith(`  ${name}`)).join('\n');
      expectCvmError(
        () => verifyBundle(contentsOf(whole, { 'sha256sum.txt': sums, 'digest.txt': undefined })),
        code,
        'trust',
      );
    }
  });

  test.each<[string, (metadata: Record<string, unknown>) => void, string]>([
    ['metadata that are none', (m) => (m['kernel'] = 1), 'METADATA_TYPE'],
    ['a kernel that leads out', (m) => (m['kernel'] = '../bzImage'), 'ARTIFACT_ESCAPES'],
    ['an absolute kernel', (m) => (m['kernel'] = '/boot/bzImage'), 'ARTIFACT_ESCAPES'],
    ['an initrd in a folder', (m) => (m['initrd'] = 'boot/initrd'), 'ARTIFACT_NOT_FLAT'],
    ['a hda that is gone', (m) => (m['hda'] = 'hda.img'), 'ARTIFACT_MISSING'],
    ['an empty bios-sev', (m) => (m['bios-sev'] = ''), 'ARTIFACT_NOT_FLAT'],
    ['a bios-sev that is gone', (m) => (m['bios-sev'] = 'other.fd'), 'ARTIFACT_MISSING'],
    ['a kernel that nobody lists', (m) => (m['kernel'] = 'rootfs.img.parted.verity'), 'BUNDLE_UNCOMMITTED'],
    ['no command line', (m) => delete m['cmdline'], 'CMDLINE_MISSING'],
    ['a blank command line', (m) => (m['cmdline'] = ' '), 'CMDLINE_MISSING'],
    ['a command line that binds nothing', (m) => (m['cmdline'] = 'console=ttyS0'), 'CMDLINE_NO_ROOTFS'],
    [
      'another command line than was measured',
      (m) => (m['cmdline'] = `${String(m['cmdline'])} x`),
      'BUNDLE_MATERIAL',
    ],
    ['another variant than was measured', (m) => (m['ovmf_variant'] = 'stable202505'), 'BUNDLE_MATERIAL'],
  ])('%s', (_, edit, code) => {
    expectCvmError(() => verifyBundle(contentsOf(whole, withMetadata(whole, edit))), code);
  });

  test('a verifier’s bundle without TDX firmware', () => {
    const change = withMetadata(four, (m) => delete m['bios']);
    // It stays listed, so nothing else is wrong.
    expect(verifyBundle(contentsOf(four, change)).metadata.bios).toBeUndefined();
    expectCvmError(
      () => verifyBundle(contentsOf(four, change), { role: 'verifier' }),
      'FIRMWARE_MISSING',
      'format',
    );
  });

  test('the VMM’s words stand where it has some', () => {
    const message = (change: Parameters<typeof contentsOf>[1], code: string): string =>
      expectCvmError(() => verifyBundle(contentsOf(whole, change)), code).message;
    expect(message({ 'ovmf-sev.fd': undefined }, 'ARTIFACT_MISSING')).toBe(
      'SEV bios does not exist: ovmf-sev.fd',
    );
    expect(message({ 'ovmf-sev.fd': folder }, 'ARTIFACT_NOT_A_FILE')).toBe(
      'SEV bios is not a file: ovmf-sev.fd',
    );
    expect(message({ 'ovmf-sev.fd': escape }, 'ARTIFACT_ESCAPES')).toBe(
      'SEV bios escapes image directory: ovmf-sev.fd',
    );
  });
});

describe('the firmware of a platform', () => {
  const both = bundleMetadata(contentsOf(whole));
  test('TDX takes bios, SEV-SNP takes bios-sev and falls back to bios', () => {
    expect(chooseFirmware(both, 'tdx')).toMatchObject({ firmware: 'ovmf.fd', field: 'bios' });
    expect(chooseFirmware(both, 'sev-snp')).toMatchObject({ firmware: 'ovmf-sev.fd', field: 'bios-sev' });
    expect(chooseFirmware({ ...both, biosSev: undefined }, 'sev-snp')).toMatchObject({
      firmware: 'ovmf.fd',
      field: 'bios',
    });
    expect(chooseFirmware({ ...both, bios: undefined }, 'sev-snp')).toMatchObject({
      firmware: 'ovmf-sev.fd',
    });
  });
  test('TDX never takes bios-sev', () => {
    expectCvmError(() => chooseFirmware({ ...both, bios: undefined }, 'tdx'), 'FIRMWARE_MISSING', 'format');
    const none = { ...both, bios: undefined, biosSev: undefined };
    const error = expectCvmError(() => chooseFirmware(none, 'sev-snp'), 'FIRMWARE_MISSING', 'format');
    expect(error.message).toBe('bios-sev/bios is required for amd sev-snp os_image_hash');
  });
});
