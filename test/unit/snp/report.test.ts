import { sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command as check } from '../../../tools/commands/snp-report-check.ts';
import { command as show } from '../../../tools/commands/snp-report-show.ts';
import { command as search } from '../../../tools/commands/snp-search.ts';
import type { CvmError } from '../../../tools/errors.ts';
import { writeLaunchMeasurements } from '../../../tools/guestos/measurements.ts';
import { readReport } from '../../../tools/snp/attestation-report.ts';
import { certificateExtensions, smallInteger } from '../../../tools/snp/certificate-extensions.ts';
import { writeSnpSignature } from '../../../tools/snp/p384.ts';
import { readCertificate } from '../../../tools/snp/report-chain.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { firmwareS } from '../../support/firmware.ts';
import { privateKeyPem } from '../../support/p384-keys.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const S1 = 'dd66cab7e3399c4a6cfb979677daa8d8607c7aad3cfa2c18e18f3a9ec1ffba7eedd162fc38571e23a9ad412185948488';
const vectors = new URL('../../vectors/snp/', import.meta.url);
const pem = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`${name}.pem`, vectors)));

/** A report of the chip and TCB of the test VCEK, signed by the key with this number. */
function makeReport(change: (bytes: Uint8Array) => void = () => undefined, signer = 11n): Uint8Array {
  const report = new Uint8Array(0x4a0);
  const view = new DataView(report.buffer);
  view.setUint32(0, 3, true);
  view.setUint32(4, 7, true);
  view.setBigUint64(8, 0x30000n, true);
  report.fill(0x11, 0x10, 0x20);
  report.fill(0x22, 0x20, 0x30);
  view.setUint32(0x34, 1, true);
  view.setBigUint64(0x40, 5n, true);
  view.setUint32(0x48, signer === 12n ? 1 << 2 : 1, true);
  report.fill(0x33, 0x50, 0x90);
  report.set(hexToBytes(S1), 0x90);
  report.fill(0x44, 0xc0, 0xe0);
  report.fill(0x55, 0xe0, 0x110);
  report.fill(0x66, 0x110, 0x140);
  for (const at of [0x38, 0x180, 0x1e0, 0x1f0]) report.set([4, 0, 0, 0, 0, 0, 22, 213], at);
  report.set([0x19, 0x11, 1], 0x188);
  report.fill(0x5a, 0x1a0, 0x1e0);
  report.set([29, 55, 1, 0, 28, 55, 1], 0x1e8);
  change(report);
  const raw = sign('sha384', report.subarray(0, 0x2a0), {
    key: privateKeyPem(signer),
    dsaEncoding: 'ieee-p1363',
  });
  report.set(writeSnpSignature(new Uint8Array(raw)), 0x2a0);
  return report;
}

let folder = '';
const write = (name: string, bytes: Uint8Array | string): void => writeFileSync(join(folder, name), bytes);
beforeAll(() => {
  folder = scratchFolder();
  write('report.bin', makeReport());
  write('vlek.bin', makeReport(undefined, 12n));
  write('short.bin', makeReport().slice(1));
  for (const name of ['ark', 'ask', 'asvk', 'leaf', 'vcek', 'vlek']) write(`${name}.pem`, pem(name));
  write('vcek.der', new Uint8Array(readCertificate(pem('vcek'), 'vcek').raw));
  write('S.fd', firmwareS());
  const entry = { measurement: hexToBytes(S1), kernelCmdline: null, vcpuType: 'EPYC-v4' };
  write('measurements.json', writeLaunchMeasurements([{ ...entry, measurement: new Uint8Array(48) }, entry]));
});

const CHAIN = { vcek: 'vcek.pem', ask: 'ask.pem', ark: 'ark.pem' };
const run = async (options: OptionValues, file = 'report.bin'): Promise<Outcome> =>
  await runCommand(check, folder, [file], { measurement: [S1], ...options });

describe('what a report says', () => {
  test('version 3', async () => {
    const { out } = await runCommand(show, folder, ['report.bin'], { json: true });
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      version: '3',
      guestSvn: '7',
      policy: '0x30000 (ABI 0.0, SMT)',
      platformInfo: '0x5 (SMT_EN, ECC_EN)',
      authorKey: 'yes',
      signingKey: 'VCEK',
      measurement: S1,
      hostData: '44'.repeat(32),
      idKeyDigest: '55'.repeat(48),
      reportedTcb: 'boot loader 4, TEE 0, SNP 22, microcode 213',
      cpuid: 'family 25, model 17, stepping 1',
      currentFirmware: '1.55.29',
      committedFirmware: '1.55.28',
    });
    expect((await runCommand(show, folder, ['report.bin'], {})).out).toContain(`measurement         ${S1}\n`);
  });

  test('version 2 names no processor, version 5 mitigations', () => {
    expect(readReport(makeReport((bytes) => (bytes[0] = 2))).cpuid).toBeUndefined();
    const five = readReport(
      makeReport((bytes) => {
        bytes.set([5], 0);
        bytes.set([3], 0x1f8);
        bytes.set([1], 0x200);
      }),
    );
    expect([five.launchMitigations, five.currentMitigations]).toEqual([3n, 1n]);
    expect(readReport(makeReport()).launchMitigations).toBeUndefined();
  });

  test('Turin counts its TCB another way', () => {
    const turin = readReport(
      makeReport((bytes) => {
        bytes[0x188] = 0x1a;
        bytes.set([1, 2, 3, 4, 0, 0, 0, 5], 0x180);
      }),
    );
    expect(turin.reportedTcb).toEqual({ fmc: 1, bootLoader: 2, tee: 3, snp: 4, microcode: 5 });
  });

  test.each([0, 1, 6, 255])('version %d is not known', (version) => {
    expectCvmError(() => readReport(makeReport((bytes) => (bytes[0] = version))), 'REPORT_VERSION', 'format');
  });

  test('any length but one is refused', () => {
    for (const length of [0, 1183, 1185, 4096])
      expectCvmError(() => readReport(new Uint8Array(length)), 'REPORT_LENGTH', 'format');
  });
});

describe('what is compared', () => {
  const right: OptionValues = {
    policy: '0x30000',
    guestSvn: '7',
    vmpl: '0',
    hostData: '44'.repeat(32),
    reportData: '33'.repeat(64),
    idKeyDigest: '55'.repeat(48),
    authorKeyDigest: `0x${'66'.repeat(48)}`,
    familyId: '11'.repeat(16),
    imageId: '22'.repeat(16),
    chipId: '5a'.repeat(64),
  };
  test('everything, and it says that the signature was not looked at', async () => {
    const { code, out } = await run({ ...right, guestSvn: '5' });
    expect(code).toBe(0);
    expect(out).toContain(`measurement         ${S1}  as expected`);
    expect(out).toContain('signature           NOT CHECKED');
    const json = JSON.parse((await run({ ...right, json: true })).out) as {
      signature: unknown;
      checks: unknown[];
    };
    expect(json.signature).toBeNull();
    expect(json.checks).toHaveLength(11);
  });

  test.each(Object.keys(right))('another %s is refused', async (name) => {
    const value = String(right[name]);
    const other = { policy: '0x30001', guestSvn: '8', vmpl: '1' }[name] ?? `${value.slice(0, -1)}f`;
    await expectCvmRejection(() => run({ ...right, [name]: other }), 'REPORT_DIFFERS', 'mismatch');
  });

  test('the measurement may be any of several', async () => {
    expect((await run({ measurement: ['00'.repeat(48), S1] })).code).toBe(0);
    expect((await run({ measurement: [], measurements: 'measurements.json' })).code).toBe(0);
    const error = await expectCvmRejection(
      () => run({ measurement: ['00'.repeat(48)] }),
      'REPORT_MEASUREMENT',
      'mismatch',
    );
    expect(error.mend).toContain(`cvm snp search --expected ${S1}`);
  });

  test('a guest that may be debugged is refused, unless that is wanted', async () => {
    write(
      'debug.bin',
      makeReport((bytes) => (bytes[0x0a]! |= 8)),
    );
    await expectCvmRejection(() => run({}, 'debug.bin'), 'REPORT_DEBUG', 'trust');
    expect((await run({ allowDebug: true }, 'debug.bin')).code).toBe(0);
  });

  test.each<[string, OptionValues, string]>([
    ['nothing', { measurement: [] }, 'REPORT_NOTHING'],
    ['nothing but a signature', { measurement: [], ...CHAIN }, 'REPORT_NOTHING'],
    ['a short digest', { measurement: ['00'] }, 'HEX_LENGTH'],
    ['short host data', { hostData: '00' }, 'HEX_LENGTH'],
    ['no ASK', { ...CHAIN, ask: undefined }, 'OPTION_MISSING'],
    ['no ARK', { ...CHAIN, ark: undefined }, 'OPTION_MISSING'],
    ['no key', { ...CHAIN, vcek: undefined }, 'OPTION_MISSING'],
    ['two keys', { ...CHAIN, vlek: 'vlek.pem' }, 'OPTION_MISSING'],
    ['a time without certificates', { at: '2027-01-01T00:00:00Z' }, 'OPTION_MISSING'],
    ['no time', { ...CHAIN, at: 'now' }, 'OPTION_TIME'],
    ['no certificate', { ...CHAIN, vcek: 'S.fd' }, 'CERTIFICATE_FORMAT'],
  ])('refuses %s', async (_, options, code) => {
    await expectCvmRejection(() => run(options), code);
  });
});

describe('who signed it', () => {
  test('a VCEK of this chip and TCB, PEM or DER', async () => {
    for (const vcek of ['vcek.pem', 'vcek.der']) {
      const { code, out } = await run({ ...CHAIN, vcek });
      expect(code).toBe(0);
      expect(out).toMatch(/signature {11}VCEK, ARK with SHA-256 fingerprint [0-9a-f]{64}\n/);
    }
  });

  test('a VLEK', async () => {
    const { out } = await run({ vlek: 'vlek.pem', ask: 'asvk.pem', ark: 'ark.pem', json: true }, 'vlek.bin');
    expect(JSON.parse(out)).toMatchObject({ signature: expect.stringMatching(/^VLEK, ARK/) as unknown });
  });

  test.each<[string, OptionValues, string]>([
    [
      'a VCEK where a VLEK is named',
      { vlek: 'vlek.pem', ask: 'asvk.pem', vcek: undefined },
      'REPORT_SIGNING_KEY',
    ],
    ['an ASK that did not sign the VCEK', { ask: 'asvk.pem' }, 'REPORT_CHAIN'],
    ['an ARK that is none', { ark: 'ask.pem' }, 'REPORT_CHAIN'],
    ['a VCEK as authority', { ark: 'vcek.pem' }, 'REPORT_CHAIN_ISSUER'],
    ['a VCEK in the place of the ASK', { ask: 'vcek.pem' }, 'REPORT_CHAIN'],
    ['the ASK as endorsement key', { vcek: 'ask.pem' }, 'REPORT_CHAIN'],
    ['the VLEK of another chain', { vcek: 'vlek.pem', ask: 'asvk.pem' }, 'REPORT_SIGNATURE'],
    ['certificates of the future', { at: '2020-01-01T00:00:00Z' }, 'REPORT_CHAIN_DATE'],
    ['certificates of the past', { at: '2200-01-01T00:00:00Z' }, 'REPORT_CHAIN_DATE'],
  ])('refused: %s', async (_, options, code) => {
    // The VLEK names no chip: a report without chip id gets as far as the signature.
    write(
      'masked.bin',
      makeReport((bytes) => bytes.fill(0, 0x1a0, 0x1e0)),
    );
    const error = await expectCvmRejection(() => run({ ...CHAIN, ...options }, 'masked.bin'), code, 'trust');
    expect(error.message).not.toBe('');
  });

  test('refused: a root that did not sign itself, and a key of the right size that is no authority', async () => {
    const error = await expectCvmRejection(
      () => run({ ...CHAIN, ark: 'ask.pem', ask: 'vcek.pem' }),
      'REPORT_CHAIN',
    );
    expect(error.message).toBe('the ARK is not signed by the ARK');
    await expectCvmRejection(() => run({ ...CHAIN, ark: 'leaf.pem' }), 'REPORT_CHAIN_ISSUER', 'trust');
  });

  test('valid at a time within', async () => {
    expect((await run({ ...CHAIN, at: '2030-01-01T00:00:00Z' })).code).toBe(0);
  });

  test.each<[string, (bytes: Uint8Array) => void, string]>([
    ['a newer TCB than the key has', (bytes) => (bytes[0x186] = 23), 'REPORT_TCB'],
    ['other microcode', (bytes) => (bytes[0x187] = 214), 'REPORT_TCB'],
    ['another boot loader', (bytes) => (bytes[0x180] = 5), 'REPORT_TCB'],
    ['another TEE', (bytes) => (bytes[0x181] = 1), 'REPORT_TCB'],
    ['the TCB of Turin', (bytes) => (bytes[0x188] = 0x1a), 'REPORT_TCB'],
    ['another chip', (bytes) => (bytes[0x1a0] = 0), 'REPORT_CHIP'],
    ['another algorithm', (bytes) => (bytes[0x34] = 2), 'REPORT_ALGORITHM'],
    ['no signing key', (bytes) => (bytes[0x48] = 7 << 2), 'REPORT_SIGNING_KEY'],
    ['a reserved signing key', (bytes) => (bytes[0x48] = 3 << 2), 'REPORT_SIGNING_KEY'],
  ])('refused, though signed by the key: %s', async (_, change, code) => {
    write('claims.bin', makeReport(change));
    await expectCvmRejection(() => run(CHAIN, 'claims.bin'), code, 'trust');
  });

  test('refused: any changed byte of the signed part, and of the signature', async () => {
    const report = makeReport();
    for (const at of [4, 0x10, 0x50, 0x90, 0xbf, 0xc0, 0x140, 0x1e8, 0x29f, 0x2a0, 0x2a0 + 72]) {
      const changed = report.slice();
      changed[at]! ^= 1;
      write('changed.bin', changed);
      await expectCvmRejection(() => run(CHAIN, 'changed.bin'), 'REPORT_SIGNATURE', 'trust');
    }
  });
});

describe('extensions of a certificate', () => {
  test('are found', () => {
    const extensions = certificateExtensions(new Uint8Array(readCertificate(pem('vcek'), 'x').raw));
    expect(smallInteger(extensions.get('2b060104019c78010308')!)).toBe(213);
    expect(extensions.get('2b060104019c780104')).toEqual(new Uint8Array(64).fill(0x5a));
  });

  test.each([
    [[2, 1, 5], 5],
    [[2, 2, 0, 200], 200],
    [[2, 1, 200], undefined],
    [[2, 2, 1, 0], undefined],
    [[], undefined],
  ])('the integer %j is %s', (bytes, expected) => {
    expect(smallInteger(Uint8Array.from(bytes))).toBe(expected);
  });

  test('no bytes crash the reader', () => {
    const der = new Uint8Array(readCertificate(pem('vcek'), 'x').raw);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(der.length),
        (edits, cut) => {
          const bytes = der.slice(0, cut % 3 === 0 ? cut : der.length);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          try {
            certificateExtensions(bytes);
          } catch (error) {
            expect((error as CvmError).code).toBe('CERTIFICATE_DER');
          }
        },
      ),
      { numRuns: 500, seed: 8 },
    );
  });
});

test('cvm snp search takes the digest from a report', async () => {
  const { out } = await runCommand(search, folder, [], { report: 'report.bin', ovmf: ['S.fd'], vcpus: '1' });
  expect(out).toContain(`found ${S1}`);
  await expectCvmRejection(
    async () => await runCommand(search, folder, [], { report: 'short.bin' }),
    'REPORT_LENGTH',
  );
});
