import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import {
  prepareSnpLaunch,
  snpLaunchDigest,
  type SnpConfiguration,
} from '../../../tools/snp/launch-digest.ts';
import { describeMatch, measureWords } from '../../../tools/snp/search-report.ts';
import { likelySearchSpace, type SearchFiles } from '../../../tools/snp/search-space.ts';
import {
  searchLaunch,
  type SearchFile,
  type SearchFirmware,
  type SearchMatch,
  type SearchResult,
} from '../../../tools/snp/search.ts';
import { VCPU_MODELS, vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { VMM_TYPES, type FpuState, type VmmType } from '../../../tools/snp/vmsa.ts';
import { expectCvmError } from '../../support/errors.ts';
import { APPEND, buildFirmware, firmwareS, le32, S_ENTRIES, S_SECTIONS } from '../../support/firmware.ts';

const firmware = firmwareS();
const kernel = Buffer.from('kernel');
const initrd = Buffer.from('initrd');
const otherKernel = Buffer.from('kernel of another release');
const otherInitrd = Buffer.from('initrd of another release');

const searchFirmware = (image: Uint8Array, name = 'OVMF.fd'): SearchFirmware => {
  const { ovmf, firmwareDigest } = prepareSnpLaunch({ firmware: image });
  return { name, ovmf, firmwareDigest };
};
const searchFile = (name: string, bytes: Uint8Array): SearchFile => ({
  name,
  sha256: digestBytes('sha256', bytes),
});

const FILES: SearchFiles = {
  firmwares: [searchFirmware(firmware)],
  kernels: [searchFile('vmlinuz', kernel)],
  initrds: [searchFile('initrd.img', initrd)],
  cmdlines: [`${APPEND} slot=A`, `${APPEND} slot=B`],
};
const OTHER: SearchFiles = {
  firmwares: [],
  kernels: [searchFile('other/vmlinuz', otherKernel)],
  initrds: [searchFile('other/initrd.img', otherInitrd)],
  cmdlines: ['other'],
};
const LIKELY: SnpConfiguration = {
  append: `${APPEND} slot=A`,
  vcpus: 64,
  vcpuSig: vcpuTypeSignature('EPYC-Genoa'),
  guestFeatures: 1n,
  vmmType: 'QEMU',
};
/** A guest whose kernel is not measured. */
const BARE: SnpConfiguration = {
  vcpus: LIKELY.vcpus,
  vcpuSig: LIKELY.vcpuSig,
  guestFeatures: 1n,
  vmmType: 'QEMU',
};
const measure = (configuration: Partial<SnpConfiguration>, files = { kernel, initrd }): Uint8Array =>
  snpLaunchDigest({ firmware, ...files, ...LIKELY, ...configuration });
const search = (...expected: readonly Uint8Array[]): SearchResult =>
  searchLaunch(likelySearchSpace([FILES, OTHER]), expected);
const only = (result: SearchResult): SearchMatch => {
  expect(result.matches).toHaveLength(1);
  return result.matches[0]!;
};

describe('what a search finds', () => {
  test.each<[string, Partial<SnpConfiguration>, string]>([
    ['the vCPU count', { vcpus: 7 }, '7 vCPUs of type EPYC-Genoa'],
    ['one vCPU', { vcpus: 1 }, '1 vCPU of type'],
    ['the vCPU type', { vcpuSig: vcpuTypeSignature('EPYC-Turin') }, 'type EPYC-Turin (signature 0xb00f00)'],
    ['-cpu host', { vcpuSig: 0xa10f11 }, 'signature 0xa10f11 (Genoa, as with -cpu host)'],
    ['no -cpu at all', { vcpuSig: 0x60fb1 }, 'signature 0x60fb1 (qemu64: no -cpu was given)'],
    ['DebugSwap', { guestFeatures: 0x21n }, 'guest features 0x21 (SNPActive, DebugSwap)'],
    ['the other slot', { append: `${APPEND} slot=B` }, `command line "${APPEND} slot=B"`],
    ['a line feed too many', { append: `${APPEND} slot=A\n` }, `command line "${APPEND} slot=A\\n"`],
    ['no command line', { append: '' }, 'command line ""'],
    ['an old host kernel', { fpu: 'zero' }, 'FPU registers zero in the VMSA'],
    ['EC2', { vmmType: 'ec2' }, 'VMM ec2'],
    ['EC2 as it was', { vmmType: 'ec2', rdx: 0n }, 'RDX 0x0 in the VMSA: an older ec2'],
    ['two surprises at once', { fpu: 'zero', guestFeatures: 0x21n, vcpus: 2 }, '2 vCPUs'],
  ])('%s', (_, configuration, line) => {
    const expected = measure(configuration);
    const match = only(search(expected));
    expect(describeMatch(match).some((text) => text.includes(line))).toBe(true);
    // Several names may stand for one guest; what is found has the digest.
    const files = match.kernel === undefined ? {} : { kernel, initrd };
    expect(snpLaunchDigest({ firmware, ...files, ...match.configuration })).toEqual(expected);
  });

  test('more vCPUs than usual', () => {
    const space = likelySearchSpace([FILES], { vcpus: [2], vcpuTypes: ['EPYC-Genoa'] });
    expect(only(searchLaunch(space, [measure({ vcpus: 200 })])).configuration.vcpus).toBe(200);
  });

  test('the kernel of another release', () => {
    const match = only(search(measure({}, { kernel: otherKernel, initrd })));
    expect([match.kernel?.name, match.initrd?.name]).toEqual(['other/vmlinuz', 'initrd.img']);
  });

  test('the initrd of another release', () => {
    const match = only(search(measure({}, { kernel, initrd: otherInitrd })));
    expect([match.kernel?.name, match.initrd?.name]).toEqual(['vmlinuz', 'other/initrd.img']);
  });

  test('a whole other release', () => {
    const expected = measure({ append: 'other' }, { kernel: otherKernel, initrd: otherInitrd });
    expect(only(search(expected)).surprise).toBe(3);
  });

  test('a kernel that was not measured', () => {
    const match = only(search(snpLaunchDigest({ firmware, ...BARE })));
    expect(match.kernel).toBeUndefined();
    expect(match.configuration).not.toHaveProperty('append');
    expect(describeMatch(match).join()).toContain('kernel-hashes=off');
  });

  test('a kernel without initrd', () => {
    const match = only(search(snpLaunchDigest({ firmware, kernel, ...LIKELY })));
    expect([match.kernel?.name, match.initrd]).toEqual(['vmlinuz', undefined]);
    expect(measureWords(match)).not.toContain('--initrd');
  });

  test('many digests at once, each with what it belongs to', () => {
    const counts = [3, 64, 9];
    const result = search(...counts.map((vcpus) => measure({ vcpus })));
    expect(result.complete).toBe(true);
    expect(result.matches.map(({ configuration }) => configuration.vcpus)).toEqual([3, 9, 64]);
    expect(result.matches.map(({ tried }) => tried)).toEqual(
      result.matches.map(({ tried }) => tried).toSorted((a, b) => a - b),
    );
  });
});

describe('in which order, and how far', () => {
  test('what is believed comes first', () => {
    const space = likelySearchSpace([FILES], { vcpuTypes: ['EPYC-Genoa'], vcpus: [64] });
    expect(only(searchLaunch(space, [measure({})])).tried).toBe(64);
    const unbelieved = only(searchLaunch(space, [measure({ vcpuSig: VCPU_MODELS[0]!.sig, vcpus: 1 })]));
    // Both slots of the believed type have been tried by then.
    expect(unbelieved.tried).toBeGreaterThan(128);
    expect(unbelieved.surprise).toBe(1);
  });

  test('no combination with more than the usual vCPUs before all with fewer', () => {
    const space = likelySearchSpace([FILES], { vcpus: [4], mostVcpus: 5 });
    const rare = only(searchLaunch(space, [measure({ vcpus: 4, fpu: 'zero', guestFeatures: 0x29n })]));
    const five = only(searchLaunch(space, [measure({ vcpus: 5 })]));
    expect(rare.surprise).toBeGreaterThan(five.surprise);
    expect(rare.tried).toBeLessThan(five.tried);
  });

  test('no two digests tried are equal, and every one is counted', () => {
    const one = <T>(...values: readonly T[]): { value: T; surprise: number }[] =>
      values.map((value) => ({ value, surprise: 0 }));
    const space = {
      firmwares: one(FILES.firmwares[0]!),
      kernels: one(FILES.kernels[0], FILES.kernels[0]),
      initrds: one<SearchFile | undefined>(undefined, searchFile('empty', new Uint8Array())),
      cmdlines: one('a', 'b', 'a'),
      vmmTypes: one<VmmType>('QEMU', 'ec2', 'QEMU'),
      vcpuSigs: one(1, 2, 2),
      guestFeatures: one(1n, 0x21n),
      fpuStates: one<FpuState>('reset', 'zero'),
      rdxValues: one<bigint | undefined>(undefined),
      vcpuLimits: [3, 5],
    };
    const result = searchLaunch(space, [new Uint8Array(48)]);
    // QEMU: 2 signatures × 2 features × 2 FPU states; EC2 looks at the features alone.
    expect(result.tried).toBe(2 * (8 + 2) * 5);
    expect(result).toMatchObject({ matches: [], complete: true, refused: [] });
  });

  test('it stops where it is told to', () => {
    const nothing = new Uint8Array(48);
    const space = likelySearchSpace([FILES]);
    expect(searchLaunch(space, [nothing], { mostTries: 1000 })).toMatchObject({
      tried: 1000,
      complete: false,
      matches: [],
    });
    const first = searchLaunch(space, [measure({ vcpus: 2 }), measure({ vcpus: 3 })], { mostMatches: 1 });
    expect(first.matches.map(({ configuration }) => configuration.vcpus)).toEqual([2]);
  });

  test('a digest that only begins like an expected one is no match', () => {
    const near = measure({});
    near[47]! ^= 1;
    const space = likelySearchSpace([FILES], { mostVcpus: 64 });
    expect(searchLaunch(space, [near], { mostTries: 50_000 }).matches).toEqual([]);
  });
});

describe('firmware', () => {
  test('that takes no kernel is tried without one, and said', () => {
    const image = buildFirmware({
      entries: [S_ENTRIES[0], S_ENTRIES[2]],
      sections: S_SECTIONS.slice(0, 5),
    });
    const space = likelySearchSpace([{ ...FILES, firmwares: [searchFirmware(image)] }]);
    const result = searchLaunch(space, [snpLaunchDigest({ firmware: image, ...BARE })]);
    expect(only(result).kernel).toBeUndefined();
    expect(result.refused.map(({ error }) => error.code)).toEqual(['OVMF_NO_KERNEL_HASHES']);
  });

  test('that names no start address is tried with one vCPU', () => {
    const image = buildFirmware({
      entries: [S_ENTRIES[0], S_ENTRIES[1], [S_ENTRIES[2][0], le32(0)]],
      sections: S_SECTIONS,
    });
    const space = likelySearchSpace([{ ...FILES, firmwares: [searchFirmware(image)] }]);
    const expected = snpLaunchDigest({ firmware: image, kernel, initrd, ...LIKELY, vcpus: 1 });
    expect(only(searchLaunch(space, [expected])).configuration.vcpus).toBe(1);
  });

  test('of which only the second is right', () => {
    const other = firmwareS();
    other[0]! ^= 1;
    const firmwares = [searchFirmware(other, 'other.fd'), searchFirmware(firmware, 'right.fd')];
    const result = searchLaunch(likelySearchSpace([{ ...FILES, firmwares }]), [measure({})]);
    expect(only(result).firmware.name).toBe('right.fd');
  });

  test('without metadata is refused', () => {
    const plain = { ...searchFirmware(firmware), ovmf: { ...FILES.firmwares[0]!.ovmf, sections: undefined } };
    const space = likelySearchSpace([{ ...FILES, firmwares: [plain] }]);
    expectCvmError(() => searchLaunch(space, [measure({})]), 'OVMF_NO_METADATA', 'format');
  });
});

describe('a wrong call', () => {
  const space = likelySearchSpace([FILES]);
  test('without expected digests, or with a cut one', () => {
    expectCvmError(() => searchLaunch(space, []), 'SEARCH_EXPECTED', 'usage');
    expectCvmError(() => searchLaunch(space, [new Uint8Array(47)]), 'SEARCH_EXPECTED', 'usage');
  });
  test('without candidates', () => {
    expectCvmError(
      () => searchLaunch({ ...space, firmwares: [] }, [new Uint8Array(48)]),
      'SEARCH_EMPTY',
      'usage',
    );
  });
  test('with more combinations than fit', () => {
    const cmdlines = Array.from({ length: 100_000 }, (_, i) => ({ value: `${i}`, surprise: 0 }));
    expectCvmError(() => searchLaunch({ ...space, cmdlines }, [new Uint8Array(48)]), 'SEARCH_SPACE', 'usage');
  });
});

test('any guest of the space is found, and the command that is printed has its digest', () => {
  fc.assert(
    fc.property(
      fc.record({
        append: fc.constantFrom(...FILES.cmdlines),
        vcpus: fc.integer({ min: 1, max: 12 }),
        vcpuSig: fc.constantFrom(...VCPU_MODELS.map(({ sig }) => sig)),
        guestFeatures: fc.constantFrom(1n, 0x21n, 0x201n),
        vmmType: fc.constantFrom(...VMM_TYPES),
        fpu: fc.constantFrom('reset' as const, 'zero' as const),
      }),
      (configuration) => {
        const expected = measure(configuration);
        const space = likelySearchSpace([FILES], { vmmTypes: VMM_TYPES, vcpus: [12], mostVcpus: 12 });
        const match = only(searchLaunch(space, [expected]));
        expect(bytesToHex(measure(match.configuration))).toBe(bytesToHex(expected));
        expect(measureWords(match)).toContain(`${configuration.vcpus}`);
      },
    ),
    { numRuns: 25, seed: 6 },
  );
});

test('many counts at once are what each is alone', () => {
  const launch = prepareSnpLaunch({ firmware, kernel, initrd });
  const counts = [8, 1, 3];
  expect(launch.predictCounts(LIKELY, counts)).toEqual(counts.map((vcpus) => measure({ vcpus })));
  expect(launch.predictCounts(LIKELY, [])).toEqual([]);
  expectCvmError(() => launch.predictCounts(LIKELY, [1, 0]), 'VCPU_COUNT', 'usage');
});
