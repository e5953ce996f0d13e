import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import {
  DEFAULT_MARKER,
  encodeMarker,
  markerFields,
  parseMarker,
  parseProvisioner,
  PROVISIONERS,
  REASONS,
} from '../../../tools/vmgs/marker.ts';
import { expectCvmError } from '../../support/errors.ts';

const MARKER = fc.record({
  provisioner: fc.constantFrom(...PROVISIONERS),
  reason: fc.constantFrom(...REASONS),
  tpmVersion: fc.string({ unit: 'binary', maxLength: 40 }),
  tpmNvramSize: fc.nat(0xffff_ffff),
  akcertSize: fc.nat(0xffff_ffff),
  akcertAttrs: fc.integer({ min: 0, max: 0xffff_ffff }),
  provisionerVersion: fc.string({ unit: 'binary', maxLength: 40 }),
});

test('what is written is read, to the byte', () => {
  fc.assert(
    fc.property(MARKER, (marker) => {
      expect(parseMarker(encodeMarker(marker))).toEqual({ marker, deviations: [] });
    }),
    { seed: 1 },
  );
});

test('seven keys in this order, compact, and never OpenHCL by default', () => {
  const text = new TextDecoder().decode(encodeMarker(DEFAULT_MARKER));
  expect(Object.keys(JSON.parse(text) as object)).toEqual([
    'provisioner',
    'reason',
    'tpm_version',
    'tpm_nvram_size',
    'akcert_size',
    'akcert_attrs',
    'provisioner_version',
  ]);
  expect(text).not.toMatch(/\s/);
  expect(text).not.toContain('openhcl');
});

test('the values of both enumerations', () => {
  expect(PROVISIONERS).toEqual([
    'unknown',
    'hcl',
    'openhcl',
    'cpsvmgstoolcvm',
    'havmgstooltvm',
    'hclpostprovisioning',
  ]);
  expect([...REASONS].sort()).toEqual(['empty', 'failure', 'request', 'unknown']);
  const error = expectCvmError(() => parseProvisioner('cpsvmgstooltvm'), 'MARKER_VALUE', 'usage');
  expect(error.nearest).toBe('cpsvmgstoolcvm');
});

test('attributes are lower-case hex without leading zeros', () => {
  expect(markerFields({ ...DEFAULT_MARKER, akcertAttrs: 0xabc }).akcert_attrs).toBe('0xabc');
  expect(markerFields({ ...DEFAULT_MARKER, akcertAttrs: 0xffff_ffff }).akcert_attrs).toBe('0xffffffff');
  expect(markerFields({ ...DEFAULT_MARKER, akcertAttrs: 0 }).akcert_attrs).toBe('0x0');
});

test('the older name of the version is read, and told', () => {
  const text = new TextDecoder().decode(encodeMarker({ ...DEFAULT_MARKER, provisionerVersion: 'rev' }));
  const { marker, deviations } = parseMarker(utf8Bytes(text.replace('provisioner_version', 'hcl_version')));
  expect(marker.provisionerVersion).toBe('rev');
  expect(deviations).toEqual(['the version is called hcl_version, as in drafts']);
});

describe('refusals', () => {
  const good = JSON.parse(new TextDecoder().decode(encodeMarker(DEFAULT_MARKER))) as Record<string, unknown>;
  const cases: readonly (readonly [string, unknown, string])[] = [
    ['a list', [], 'MARKER_JSON'],
    ['null', null, 'MARKER_JSON'],
    ['a text', 'x', 'MARKER_JSON'],
    ['an unknown provisioner', { ...good, provisioner: 'OpenHCL' }, 'MARKER_FIELD'],
    ['an unknown reason', { ...good, reason: '' }, 'MARKER_FIELD'],
    ['a size that is text', { ...good, tpm_nvram_size: '32768' }, 'MARKER_FIELD'],
    ['a size below zero', { ...good, akcert_size: -1 }, 'MARKER_FIELD'],
    ['half a byte', { ...good, akcert_size: 0.5 }, 'MARKER_FIELD'],
    ['attributes as a number', { ...good, akcert_attrs: 0x42060004 }, 'MARKER_FIELD'],
    ['attributes in upper case', { ...good, akcert_attrs: '0xABCD' }, 'MARKER_FIELD'],
    ['attributes with leading zeros', { ...good, akcert_attrs: '0x0abc' }, 'MARKER_FIELD'],
    ['attributes of 36 bits', { ...good, akcert_attrs: '0x142060004' }, 'MARKER_FIELD'],
    ['no TPM version', { ...good, tpm_version: undefined }, 'MARKER_FIELD'],
    ['no version', { ...good, provisioner_version: undefined }, 'MARKER_FIELD'],
    ['a text of 5000 letters', { ...good, tpm_version: 'x'.repeat(5000) }, 'MARKER_TOO_LARGE'],
  ];
  test.each(cases)('%s', (_, value, code) => {
    expectCvmError(() => parseMarker(utf8Bytes(JSON.stringify(value))), code, 'format');
  });

  test('bytes that are no UTF-8, and no bytes at all', () => {
    expectCvmError(() => parseMarker(new Uint8Array([0x22, 0xff, 0x22])), 'MARKER_JSON', 'format');
    expectCvmError(() => parseMarker(new Uint8Array()), 'MARKER_JSON', 'format');
  });

  test('a marker that is too large, or no Unicode, is not written', () => {
    const write = (provisionerVersion: string) => (): unknown =>
      encodeMarker({ ...DEFAULT_MARKER, provisionerVersion });
    expectCvmError(write('x'.repeat(4096)), 'MARKER_TOO_LARGE', 'usage');
    expectCvmError(write('\ud800'), 'MARKER_TEXT', 'usage');
  });

  test('any bytes: a marker, or an error of the house', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const error = expectCvmError(() => parseMarker(bytes), 'MARKER_JSON');
        expect(error.kind).toBe('format');
      }),
      { seed: 1 },
    );
  });
});
