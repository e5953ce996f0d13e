import { describe, expect, test } from 'vitest';
import { guestFeatureNames } from '../../../tools/snp/guest-features.ts';
import { cpuSignature, VCPU_TYPES, vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { expectCvmError } from '../../support/errors.ts';

describe('vCPU types', () => {
  test.each([
    ['EPYC', 0x800f12],
    ['EPYC-v4', 0x800f12],
    ['EPYC-IBPB', 0x800f12],
    ['EPYC-v5', 0x800f12],
    ['EPYC-Rome', 0x830f10],
    ['EPYC-Rome-v5', 0x830f10],
    ['EPYC-Milan', 0xa00f11],
    ['EPYC-Milan-v3', 0xa00f11],
    ['EPYC-Genoa', 0xa10f10],
    ['EPYC-Genoa-v2', 0xa10f10],
    ['EPYC-Turin', 0xb00f00],
    ['EPYC-Turin-v2', 0xb00f00],
  ])('%s has its signature', (name, sig) => {
    expect(vcpuTypeSignature(name)).toBe(sig);
  });

  test('family, model and stepping of Turin silicon', () => {
    expect(cpuSignature(26, 2, 1)).toBe(0xb00f21);
  });

  test('families up to 15 have no extended field', () => {
    expect(cpuSignature(15, 0, 0)).toBe(0xf00);
    expect(cpuSignature(6, 0x3a, 9)).toBe(0x306a9);
  });

  test('no name is listed twice', () => {
    expect(new Set(VCPU_TYPES).size).toBe(VCPU_TYPES.length);
  });

  test.each([
    ['epyc-v4', 'EPYC-v4'],
    ['Milan', 'EPYC-Milan'],
    ['genoa', 'EPYC-Genoa'],
    ['EPYC-Turn', 'EPYC-Turin'],
  ])('refuses %s and names %s as the nearest', (name, nearest) => {
    expect(expectCvmError(() => vcpuTypeSignature(name), 'VCPU_TYPE_UNKNOWN', 'usage').nearest).toBe(nearest);
  });

  test('refuses what is no EPYC without guessing', () => {
    expect(expectCvmError(() => vcpuTypeSignature('Skylake'), 'VCPU_TYPE_UNKNOWN').nearest).toBeUndefined();
  });
});

test('guest features are named by bit, reserved ones as such', () => {
  expect(guestFeatureNames(0x221n)).toEqual(['SNPActive', 'DebugSwap', 'SecureTSC']);
  expect(guestFeatureNames(1n << 63n)).toEqual(['bit 63 (reserved)']);
  expect(guestFeatureNames(0n)).toEqual([]);
});
