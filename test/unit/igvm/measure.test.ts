import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { checkKvm } from '../../../tools/igvm/kvm-check.ts';
import { measureIgvm, type MeasureOptions } from '../../../tools/igvm/measure.ts';
import {
  PAGE_DATA_TYPES,
  PAGE_FLAGS,
  supportedPlatform,
  type IgvmFile,
  type IgvmHeader,
} from '../../../tools/igvm/model.ts';
import { measureSnp } from '../../../tools/igvm/measure-snp.ts';
import { writeVmsa } from '../../../tools/snp/vmsa-page.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  allPageKinds,
  filled,
  MINIMAL,
  MINIMAL_TDX,
  page,
  stage2CpuidPage,
  STANDARD_VMSA,
  vmsa,
  VSM_FIXTURE,
} from '../../support/igvm-files.ts';

const digest = (file: IgvmFile, options: Partial<MeasureOptions> = {}): string =>
  bytesToHex(measureIgvm(file, { platform: 'sev-snp', ...options }).digest).toUpperCase();

const withHeaders = (file: IgvmFile, change: (headers: IgvmHeader[]) => IgvmHeader[]): IgvmFile => ({
  ...file,
  headers: change([...file.headers]),
});

const allKinds = allPageKinds(stage2CpuidPage());

describe('vectors', () => {
  test('minimal (T4): after each step, at the end, with native zeroes', () => {
    const steps = [
      '3B5DB2165614578DF5BE1B3A7656A147A57CF73CF1A03BCAEBB0F12C00C7D1E3CB2885AD03F030AA62D0467EBE76FDA3',
      'DE67FA050FA150E7881E5BFCA7483F9DA73B8A934612CCA7BA5A2B4D5382137825DCFEABEEA44F2DC4796D77A0264E78',
      '435C6FBE4A4463A9171B4E4A0921B01FC9CB0C8B44C4242B802C170CF516AF63926BEB134165819C551E307287EC9A67',
      'A1294095979B132FA5DE6F68ABFC7782D87B5D32BDB38869E9A61F5143A750835924BC200A513A4EE946E71E33C3777E',
      'CE9200E1CA7DCB290F7FEDB4F88B6FAB321307C40B784BD8F824345ED6FA0C25F0281C158235B86F506D4D548F310EA0',
    ];
    steps.forEach((expected, i) => {
      const first = withHeaders(MINIMAL, (headers) => headers.slice(0, 3 + i));
      expect(bytesToHex(measureSnp(first, 1).digest).toUpperCase(), `step ${i}`).toBe(expected);
    });
    expect(digest(MINIMAL)).toBe(steps[4]);
    expect(digest(MINIMAL, { compat: 'igvmmeasure' })).toBe(steps[4]);
    expect(digest(MINIMAL, { nativeZero: true })).toBe(
      '6EF1AFFFDCD74A666B3D29FF85CCA8A5A78E7596E2671117E6CCA9EA1A72D111139E4E8C36222D44D88DA0DD30364827',
    );
    expect(() => checkKvm(MINIMAL, 1)).not.toThrow();
  });

  test('MRTD (T4-TDX)', () => {
    expect(digest(MINIMAL_TDX, { platform: 'tdx' })).toBe(
      '8007EBD24034DB0BBDF78F8A21E431946541CE9EBE22C00ADB52C01AD74D4C94863ACEC838F7CA2FD812176BC22367BA',
    );
  });

  test('VBS boot digest (T3)', () => {
    expect(digest(VSM_FIXTURE, { platform: 'vbs' })).toBe(
      'EADEAC0D646AF12097D798C06AAE26F37A484C04482E88BE2B81ED266F3E2275',
    );
  });

  test('all page kinds (T5): loaders measure whole parameter areas, igvmmeasure their first pages', () => {
    expect(digest(allKinds)).toBe(
      '8298CC02603FFBDC2BA67CD1895416F4F7B501B3EA2921E3F67ABB877BDF20BAF96479DB3CDF4E3C8C9DE92FD81A3DBB',
    );
    expect(digest(allKinds, { compat: 'igvmmeasure' })).toBe(
      'C6313F5D3E7869269DF515B215C02721895EFA06D320139EE2ABD927527317055108E4071BDC3A860D38AEE387D4A39D',
    );
    expect(digest(allKinds, { compat: 'igvmmeasure', nativeZero: true })).toBe(
      '01DA237600D56CB1C8363866F2E15441C450CF4DFE61255506FAD47125176613FEDA857955058B55C3C95983DE39DE46',
    );
  });
});

describe('what is measured', () => {
  const all = digest(MINIMAL);
  const changed = (
    change: (headers: IgvmHeader[]) => IgvmHeader[],
    options: Partial<MeasureOptions> = {},
  ): string => digest(withHeaders(MINIMAL, change), options);

  test.each<[string, IgvmHeader]>([
    ['the policy', { kind: 'guest-policy', policy: 0xb0000n, mask: 1 }],
    ['required memory', { kind: 'required-memory', gpa: 0, mask: 1, sizeBytes: 4096, flags: 0 }],
    ['a page of another platform', page(0x900000, 8, filled(1))],
    ['an ignorable unknown header', { kind: 'unknown', type: 0x80000399, content: filled(1, 8) }],
  ])('not %s', (_name, header) => {
    expect(changed((headers) => [...headers, header])).toBe(all);
  });

  test.each<[string, IgvmHeader]>([
    ['a page', page(0x900000, 1, filled(1))],
    ['an empty page', page(0x900000, 1)],
    ['an unmeasured page, by its address', page(0x900000, 1, filled(1), { flags: PAGE_FLAGS.unmeasured })],
    ['a secrets page, by its address', page(0x900000, 1, undefined, { dataType: PAGE_DATA_TYPES.SECRETS })],
    ['a CPUID page, by its address', page(0x900000, 1, undefined, { dataType: PAGE_DATA_TYPES.CPUID_XF })],
    ['a page shared with another platform', page(0x900000, 9, filled(1))],
  ])('%s', (_name, header) => {
    expect(changed((headers) => [...headers, header])).not.toBe(all);
  });

  test('the contents of secrets, CPUID and unmeasured pages do not count', () => {
    for (const more of [
      { flags: PAGE_FLAGS.unmeasured },
      { dataType: PAGE_DATA_TYPES.SECRETS },
      { dataType: PAGE_DATA_TYPES.CPUID_DATA },
    ]) {
      const [one, other] = [filled(1), undefined].map((bytes) =>
        changed((headers) => [...headers, page(0x900000, 1, bytes, more)]),
      );
      expect(one).toBe(other);
    }
  });

  test('shared pages: not by loaders, but by igvmmeasure', () => {
    const add = (headers: IgvmHeader[]): IgvmHeader[] => [
      ...headers,
      page(0x900000, 1, filled(1), { flags: PAGE_FLAGS.shared }),
    ];
    expect(changed(add)).toBe(all);
    expect(changed(add, { compat: 'igvmmeasure' })).not.toBe(all);
  });

  test('VMSAs of other platforms: not by loaders, but by igvmmeasure', () => {
    const add = ([platform, ...headers]: IgvmHeader[]): IgvmHeader[] => [
      platform as IgvmHeader,
      supportedPlatform('SEV_ES', 2),
      ...headers,
      vmsa(STANDARD_VMSA, 0, 2),
    ];
    expect(changed(add)).toBe(all);
    expect(changed(add, { compat: 'igvmmeasure' })).not.toBe(all);
  });

  test('an explicit page of zeros is an empty one, except with native zeroes', () => {
    const explicit = (headers: IgvmHeader[]): IgvmHeader[] =>
      headers.map((header) =>
        header.kind === 'page-data' && header.data === undefined ? { ...header, data: filled(0) } : header,
      );
    expect(changed(explicit)).toBe(all);
    expect(changed(explicit, { nativeZero: true })).toBe(all);
    expect(digest(MINIMAL, { nativeZero: true })).not.toBe(all);
  });

  test('an empty page of 2 MiB is 512 of 4 KiB; one with data is refused', () => {
    const large = changed((headers) => [
      ...headers,
      page(0x200000, 1, undefined, { flags: PAGE_FLAGS.is2MbPage }),
    ]);
    const small = changed((headers) => [
      ...headers,
      ...Array.from({ length: 512 }, (_, i) => page(0x200000 + 4096 * i, 1)),
    ]);
    expect(large).toBe(small);
    expectCvmError(
      () => changed((headers) => [...headers, page(0x200000, 1, filled(1), { flags: PAGE_FLAGS.is2MbPage })]),
      'IGVM_LARGE_PAGE',
      'format',
    );
  });

  test('a huge parameter area is refused before it costs time', () => {
    const file = withHeaders(MINIMAL, (headers) => [
      ...headers,
      { kind: 'parameter-area', sizeBytes: 2 ** 50, index: 7, data: undefined },
      { kind: 'parameter-insert', gpa: 0, mask: 5, index: 7 },
    ]);
    expectCvmError(() => digest(file), 'IGVM_TOO_MANY_PAGES', 'format');
    expect(digest(file, { compat: 'igvmmeasure' })).toMatch(/^[0-9A-F]{96}$/);
  });

  test('a header of an unknown type is no basis for a digest', () => {
    expectCvmError(
      () => changed((headers) => [...headers, { kind: 'unknown', type: 0x399, content: filled(1, 8) }]),
      'IGVM_UNKNOWN_HEADER',
      'format',
    );
  });

  test('a platform that the file does not support', () => {
    expectCvmError(() => digest(MINIMAL, { platform: 'tdx' }), 'IGVM_PLATFORM_MISSING', 'mismatch');
  });

  test('SEV-ES: SHA-256 over pages with data and the VMSA', () => {
    const file = withHeaders(MINIMAL, (headers) => [supportedPlatform('SEV_ES', 1), ...headers.slice(1)]);
    expect(digest(file, { platform: 'sev-es' })).toHaveLength(64);
    const emptied = withHeaders(file, (headers) =>
      headers.filter((header) => header.kind !== 'page-data' || header.data !== undefined),
    );
    expect(digest(emptied, { platform: 'sev-es' })).toBe(digest(file, { platform: 'sev-es' }));
  });

  test('VBS: registers, error ranges and parameters count; data other than normal is refused', () => {
    const base = digest(VSM_FIXTURE, { platform: 'vbs' });
    const extra: IgvmHeader[] = [
      { kind: 'error-range', gpa: 0x30000, mask: 1, sizeBytes: 4096 },
      { kind: 'vp-context', gpa: 0, mask: 1, vpIndex: 0, data: new Uint8Array(36).fill(1, 0, 1) },
      page(0x30000, 1, undefined, { flags: PAGE_FLAGS.unmeasured }),
    ];
    const digests = extra.map((header) =>
      digest(
        withHeaders(VSM_FIXTURE, (headers) => [...headers, header]),
        { platform: 'vbs' },
      ),
    );
    expect(new Set([base, ...digests]).size).toBe(4);
    expectCvmError(
      () =>
        digest(
          withHeaders(VSM_FIXTURE, (headers) => [...headers, page(0x30000, 1, undefined, { dataType: 1 })]),
          { platform: 'vbs' },
        ),
      'IGVM_VBS_DATA_TYPE',
    );
  });

  test('TDX: neither data types nor start states count; unmeasured pages by their address', () => {
    const of = (header: IgvmHeader): string =>
      digest(
        withHeaders(MINIMAL_TDX, (headers) => [...headers, header]),
        { platform: 'tdx' },
      );
    const unmeasured = { flags: PAGE_FLAGS.unmeasured };
    expect(of(page(0x900000, 4, filled(1), unmeasured))).toBe(of(page(0x900000, 4, filled(2), unmeasured)));
    expect(of(page(0x900000, 4, filled(1)))).not.toBe(of(page(0x900000, 4, filled(2))));
    expect(of(page(0x900000, 4, filled(1), { dataType: 1 }))).toBe(of(page(0x900000, 4, filled(1))));
    expect(of(page(0x900000, 4, filled(1), { flags: PAGE_FLAGS.shared }))).toBe(
      digest(MINIMAL_TDX, { platform: 'tdx' }),
    );
    expectCvmError(
      () => of(page(0x200000, 4, undefined, { flags: PAGE_FLAGS.is2MbPage })),
      'IGVM_LARGE_PAGE',
    );
  });
});

describe('what KVM would measure', () => {
  const check =
    (change: (headers: IgvmHeader[]) => IgvmHeader[], compat?: 'igvmmeasure' | 'igvmmeasure-2025-05') => () =>
      checkKvm(withHeaders(MINIMAL, change), 1, compat);
  const withRegisters =
    (registers: Readonly<Record<string, bigint>>) =>
    (headers: IgvmHeader[]): IgvmHeader[] => [
      ...headers.slice(0, -1),
      vmsa({ ...STANDARD_VMSA, registers: { ...STANDARD_VMSA.registers, ...registers } }),
    ];

  test('one VMSA: not none, not two', () => {
    const none = (headers: IgvmHeader[]): IgvmHeader[] => headers.slice(0, -1);
    expectCvmError(check(none), 'IGVM_KVM_VMSA_COUNT', 'mismatch');
    expect(check(none, 'igvmmeasure')).not.toThrow();
    const two = (headers: IgvmHeader[]): IgvmHeader[] => [...headers, vmsa()];
    expectCvmError(check(two), 'IGVM_KVM_VMSA_COUNT');
    expectCvmError(check(two, 'igvmmeasure'), 'IGVM_KVM_VMSA_COUNT');
  });

  test('at its address', () => {
    const moved = (headers: IgvmHeader[]): IgvmHeader[] => [
      ...headers.slice(0, -1),
      vmsa(STANDARD_VMSA, 0x4fff000),
    ];
    expectCvmError(check(moved), 'IGVM_KVM_VMSA_GPA');
  });

  test('with the CR0 that KVM sets', () => {
    expectCvmError(check(withRegisters({ cr0: 0x11n })), 'IGVM_KVM_CR0');
    expect(check(withRegisters({ cr0: 0x30n }))).not.toThrow();
    expectCvmError(check(withRegisters({ cr0: 0x30n }), 'igvmmeasure-2025-05'), 'IGVM_KVM_CR0');
  });

  test('debug_swap was refused in 2025 and is right since', () => {
    const swap = withRegisters({ sev_features: 0x29n });
    expect(check(swap)).not.toThrow();
    expectCvmError(check(swap, 'igvmmeasure-2025-05'), 'IGVM_KVM_DEBUG_SWAP');
  });

  test('last: nothing measured may follow, not even what igvmmeasure overlooks', () => {
    const behind = (headers: IgvmHeader[]): IgvmHeader[] => [...headers, page(0x900000, 1)];
    expectCvmError(check(behind), 'IGVM_KVM_ORDER');
    expect(check(behind, 'igvmmeasure')).not.toThrow();
    const inserted = (headers: IgvmHeader[]): IgvmHeader[] => [
      ...headers,
      { kind: 'parameter-area', sizeBytes: 4096, index: 0, data: undefined },
      { kind: 'parameter-insert', gpa: 0x900000, mask: 1, index: 0 },
    ];
    expectCvmError(check(inserted), 'IGVM_KVM_ORDER');
    expectCvmError(check(inserted, 'igvmmeasure'), 'IGVM_KVM_ORDER');
    expect(check((headers) => [...headers, page(0x900000, 2)])).not.toThrow();
  });
});

test('a VMSA page of another platform is no VMSA for KVM', () => {
  const file = withHeaders(MINIMAL, ([platform, ...headers]) => [
    platform as IgvmHeader,
    supportedPlatform('SEV_ES', 2),
    ...headers,
    { kind: 'vp-context', gpa: 0, mask: 2, vpIndex: 0, data: writeVmsa(STANDARD_VMSA) },
  ]);
  expect(() => checkKvm(file, 1)).not.toThrow();
  expectCvmError(() => checkKvm(file, 1, 'igvmmeasure'), 'IGVM_KVM_VMSA_COUNT');
});
