import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import {
  cmdlineHash,
  initrdFileHash,
  kernelFileHash,
  kernelHashesPage,
  writeKernelHashTable,
} from '../../../tools/snp/kernel-hashes.ts';
import {
  prepareSnpLaunch,
  snpFirmwareDigest,
  snpLaunchDigest,
  type SnpArtifacts,
  type SnpConfiguration,
} from '../../../tools/snp/launch-digest.ts';
import { sevEsLaunchDigest, sevLaunchDigest } from '../../../tools/snp/legacy-digest.ts';
import { svsmLaunchDigest } from '../../../tools/snp/svsm-digest.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { expectCvmError } from '../../support/errors.ts';
import {
  APPEND,
  buildFirmware,
  firmwareS,
  GUID,
  INITRD,
  KERNEL,
  le32,
  S_ENTRIES,
  S_SECTIONS,
  svsmV,
} from '../../support/firmware.ts';

const S = firmwareS();
const V4 = 0x800f12;
const MILAN = 0xa00f11;

function configuration(over: Partial<SnpConfiguration> = {}): SnpConfiguration {
  return { vcpus: 1, vcpuSig: V4, guestFeatures: 1n, vmmType: 'QEMU', ...over };
}

function digest(artifacts: Partial<SnpArtifacts>, over: Partial<SnpConfiguration> = {}): string {
  return bytesToHex(snpLaunchDigest({ firmware: S, ...artifacts, ...configuration(over) }));
}

const S7 = '5c592c1cc221f125a6deba8f579e7adcc36f8b06300a09cf6654a06a51f275a8bdddfaf6e8cafd6d73cbf909d8ad65e2';

describe('SEV-SNP launch digest', () => {
  test('the inputs are those of the recorded values', () => {
    expect(bytesToHex(digestBytes('sha256', KERNEL))).toBe(
      '2ab7a958964ca0148379baf27c30f21993ca783ee6527f969f8b17c8b1f6c66f',
    );
    expect(bytesToHex(digestBytes('sha256', INITRD))).toBe(
      '78162d67b86990c53ad445b3a7641f0f5b854a03d41ef4c0b5552d3c2919617d',
    );
  });

  test('S1: firmware alone', () => {
    expect(digest({})).toBe(
      'dd66cab7e3399c4a6cfb979677daa8d8607c7aad3cfa2c18e18f3a9ec1ffba7eedd162fc38571e23a9ad412185948488',
    );
  });

  test('S2: kernel, initrd, command line, three vCPUs, DebugSwap', () => {
    expect(
      digest({ kernel: KERNEL, initrd: INITRD }, { append: APPEND, vcpus: 3, guestFeatures: 0x21n }),
    ).toBe(
      '2edc552e1d2071e0e175ae92c0e58a222b18246a1de535e27b58ed4c7cbfccc2aac5180520b9da876bad7c71b76ec043',
    );
  });

  test('S3: EC2 measures the CPUID page last', () => {
    expect(digest({ kernel: KERNEL }, { vcpus: 3, vmmType: 'ec2' })).toBe(
      '7c525d90186b6436d444a2a0189359d2b9decb07d753855cfdf18e9c2cfdd4a2836aacf04c354fd35aeca45a0b970b51',
    );
  });

  test('S4: GCE leaves the memory of SEC unmeasured', () => {
    expect(digest({ kernel: KERNEL }, { vcpus: 3, vmmType: 'gce' })).toBe(
      'ac8a018a5e61faaf408120cf2f19131513b23b4752b5230d5b74298988e9c3a2bd3c1dfe6309e79d6020217a32be80d4',
    );
  });

  test.each([
    [1, '7bf0df46480282babe8b2a1f2ec79931ff46a65af941c5b5cdf8ac2bb6c7217cb4711c88cbe6a30cdca76965d12cdb44'],
    [3, '021a52a11566543024776280cab66e86015473a1d79015f29a30e10517e9dc9a88661152a94d257ae02d569e22896584'],
  ])('libkrun with %i vCPUs', (vcpus, expected) => {
    expect(digest({}, { vcpus, vmmType: 'krun' })).toBe(expected);
  });

  test('S7: the firmware pages alone, which stand in for the pages', () => {
    expect(bytesToHex(snpFirmwareDigest(S))).toBe(S7);
    const rest = { kernel: KERNEL, initrd: INITRD };
    const other = S.slice();
    other[0] = 99; // pages that the given digest replaces
    expect(digest({ ...rest, firmware: other, ovmfHash: hexToBytes(S7) }, { append: APPEND })).toBe(
      digest(rest, { append: APPEND }),
    );
  });

  test('S1 step by step', () => {
    const steps = prepareSnpLaunch({ firmware: S }).explain(configuration());
    expect(steps.map(({ name, pages, digest: ld }) => [name, pages, bytesToHex(ld).slice(0, 16)])).toEqual([
      ['firmware', 2, S7.slice(0, 16)],
      ['SNP_SEC_MEM', 2, 'fc397fa16f50a5c8'],
      ['SNP_SECRETS', 1, '112a22b9a8065c85'],
      ['CPUID', 1, '4d7604b76f78507e'],
      ['SVSM_CAA', 1, '7ca59816822b1a89'],
      ['SNP_SEC_MEM', 3, 'c9d8d24ffb82815e'],
      ['SNP_KERNEL_HASHES', 1, '3b04caa449884c90'],
      ['VMSA 0', 1, 'dd66cab7e3399c4a'],
    ]);
  });

  test('the kernel-hashes table and its page', () => {
    const hashes = {
      kernel: kernelFileHash(sourceFromBytes(KERNEL)),
      initrd: initrdFileHash(sourceFromBytes(INITRD)),
      cmdline: cmdlineHash(APPEND),
    };
    expect(bytesToHex(digestBytes('sha256', writeKernelHashTable(hashes)))).toBe(
      '104e99208007d5bac7d6257ad702880c55159f7b7b021c31687e8bb0eef4b031',
    );
    expect(bytesToHex(digestBytes('sha384', kernelHashesPage(hashes, 0x810c00)))).toBe(
      '97ee76b61c8cf2fa4a22b7f370bf93d0605f406a6ef723048de9e33a5ad89c557f336c1b056a9335d2b3b6e107a4edf0',
    );
    expect(bytesToHex(cmdlineHash(undefined)).slice(0, 8)).toBe('6e340b9c');
    expect(bytesToHex(cmdlineHash('')).slice(-5)).toBe('fa01d');
    expect(bytesToHex(initrdFileHash(undefined)).slice(0, 8)).toBe('e3b0c442');
  });
});

describe('laws', () => {
  const arbitraryConfiguration = fc.record({
    append: fc.string({ maxLength: 40, unit: 'grapheme' }),
    vcpus: fc.integer({ min: 1, max: 6 }),
    vcpuSig: fc.integer({ min: 0, max: 0xffffffff }),
    guestFeatures: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
    vmmType: fc.constantFrom('QEMU', 'ec2', 'gce', 'krun'),
  });

  test('the last step of an explanation is the prediction', () => {
    const launch = prepareSnpLaunch({
      firmware: S,
      kernel: KERNEL.subarray(0, 999),
      initrd: INITRD.subarray(0, 5),
    });
    fc.assert(
      fc.property(arbitraryConfiguration, (one) => {
        expect(launch.explain(one).at(-1)?.digest).toEqual(launch.predict(one));
      }),
    );
  });

  test('what one preparation has measured before does not change what it measures next', () => {
    const artifacts = { firmware: S, kernel: KERNEL.subarray(0, 999) };
    const shared = prepareSnpLaunch(artifacts);
    fc.assert(
      fc.property(arbitraryConfiguration, (one) => {
        expect(shared.predict(one)).toEqual(snpLaunchDigest({ ...artifacts, ...one }));
      }),
    );
  });

  // Some flips ask for gigabytes of zero pages: generous, so that a busy machine does not fail it.
  test(
    'any flipped bit of firmware, kernel, initrd or command line changes the digest',
    { timeout: 120_000 },
    () => {
      const kernel = KERNEL.slice(0, 300);
      const initrd = INITRD.slice(0, 300);
      const before = digest({ kernel, initrd }, { append: APPEND });
      const flip = (bytes: Uint8Array, bit: number): Uint8Array => {
        const copy = bytes.slice();
        const at = Math.floor(bit / 8) % copy.length;
        copy[at] = (copy[at] as number) ^ (1 << (bit % 8));
        return copy;
      };
      const tables = 0x1f88; // a flip from here on, or in the metadata, may also be refused
      fc.assert(
        fc.property(
          fc.nat(0xffffff),
          fc.constantFrom('firmware', 'kernel', 'initrd', 'append'),
          (bit, part) => {
            const after =
              part === 'firmware'
                ? digest(
                    { firmware: flip(S.subarray(), bit % (8 * 0x1000)), kernel, initrd },
                    { append: APPEND },
                  )
                : part === 'kernel'
                  ? digest({ kernel: flip(kernel, bit), initrd }, { append: APPEND })
                  : part === 'initrd'
                    ? digest({ kernel, initrd: flip(initrd, bit) }, { append: APPEND })
                    : digest(
                        { kernel, initrd },
                        {
                          append: Buffer.from(flip(Buffer.from(APPEND), 8 * (bit % 24) + (bit % 7))).toString(
                            'latin1',
                          ),
                        },
                      );
            expect(after).not.toBe(before);
          },
        ),
        { numRuns: 200 },
      );
      for (let bit = 8 * 0x1000; bit < 8 * S.length; bit++) {
        if (bit > 8 * 0x1060 && bit < 8 * (tables - 8)) continue; // plain bytes again
        let after = 'refused';
        try {
          after = digest({ firmware: flip(S, bit), kernel, initrd }, { append: APPEND });
        } catch (error) {
          expect((error as { kind?: string }).kind).toBe('format');
        }
        expect(after).not.toBe(before);
      }
    },
  );

  test('the order of sections in the file is the order of measurement', () => {
    const [first, second, ...rest] = S_SECTIONS;
    const swapped = buildFirmware({
      fill: (i) => (7 * i + 3) % 256,
      entries: S_ENTRIES,
      sections: [second, first, ...rest],
    });
    // the same pages, so that only the order differs
    expect(digest({ firmware: swapped, ovmfHash: hexToBytes(S7) })).not.toBe(digest({}));
  });

  test('an empty command line is none, an empty initrd is none', () => {
    const kernel = KERNEL.subarray(0, 10);
    expect(digest({ kernel }, { append: '' })).toBe(digest({ kernel }));
    expect(digest({ kernel, initrd: new Uint8Array() })).toBe(digest({ kernel }));
    expect(digest({}, { append: '' })).toBe(digest({}));
  });
});

describe('refusals', () => {
  test('an initrd or a command line without a kernel', () => {
    expectCvmError(() => digest({ initrd: INITRD }), 'KERNEL_MISSING', 'usage');
    expectCvmError(() => digest({}, { append: 'x' }), 'KERNEL_MISSING', 'usage');
  });

  test.each([0, -1, 4097, 1.5, Number.NaN])('%d vCPUs', (vcpus) => {
    expectCvmError(() => digest({}, { vcpus }), 'VCPU_COUNT', 'usage');
  });

  test('a kernel for a firmware that would not check it', () => {
    const firmware = buildFirmware({ entries: S_ENTRIES, sections: S_SECTIONS.slice(0, 5) });
    expect(digest({ firmware })).toHaveLength(96);
    expectCvmError(() => digest({ firmware, kernel: KERNEL }), 'OVMF_NO_KERNEL_HASHES', 'format');
  });

  test('a kernel for a firmware without a hash table entry', () => {
    const firmware = buildFirmware({
      entries: S_ENTRIES.filter(([guid]) => guid !== GUID.hashTable),
      sections: S_SECTIONS,
    });
    expectCvmError(() => digest({ firmware, kernel: KERNEL }), 'OVMF_NO_HASH_TABLE', 'format');
  });

  test('a kernel-hashes section of two pages', () => {
    const firmware = buildFirmware({ entries: S_ENTRIES, sections: [[0x805000, 0x2000, 0x10]] });
    expect(digest({ firmware })).toHaveLength(96);
    expectCvmError(() => digest({ firmware, kernel: KERNEL }), 'OVMF_SECTION_SIZE', 'format');
  });

  test('a hash table that would run past its page', () => {
    const firmware = buildFirmware({
      entries: [
        [GUID.metadata, le32(0x1000)],
        [GUID.hashTable, le32(0x805fff, 0x400)],
        [GUID.resetBlock, le32(0x80b004)],
      ],
      sections: S_SECTIONS,
    });
    expectCvmError(() => digest({ firmware, kernel: KERNEL }), 'OVMF_HASH_TABLE_OFFSET', 'format');
  });

  test('a firmware without a reset block, even for one vCPU', () => {
    const firmware = buildFirmware({ entries: S_ENTRIES.slice(0, 2), sections: S_SECTIONS });
    expectCvmError(() => digest({ firmware }), 'OVMF_NO_RESET_BLOCK', 'format');
  });
});

describe('SEV, SEV-ES and SVSM', () => {
  test('S5: SEV-ES with kernel, initrd and command line', () => {
    expect(
      bytesToHex(
        sevEsLaunchDigest({
          firmware: S,
          kernel: KERNEL,
          initrd: INITRD,
          append: APPEND,
          vcpus: 3,
          vcpuSig: MILAN,
          vmmType: 'QEMU',
        }),
      ),
    ).toBe('73492d6440169c116855c1133a264642d510dbb21880540b312273d7f3af8e04');
  });

  test('S6: SEV with a kernel', () => {
    expect(bytesToHex(sevLaunchDigest({ firmware: S, kernel: KERNEL }))).toBe(
      '55b311d809c34b87510e766f02ffe0268c65fb5311e844e2884a02d52d800775',
    );
  });

  test('plain SEV measures firmware without a table, and refuses what is none', () => {
    const plain = new Uint8Array(50);
    expect(sevLaunchDigest({ firmware: plain })).toEqual(digestBytes('sha256', plain));
    expectCvmError(() => sevLaunchDigest({ firmware: plain.slice(1) }), 'OVMF_TOO_SHORT', 'format');
    const broken = firmwareS();
    broken.set([17, 0], broken.length - 50 - 18);
    expectCvmError(() => sevLaunchDigest({ firmware: broken }), 'OVMF_ENTRY_SIZE', 'format');
  });

  test('S8: an SVSM below firmware and variables', () => {
    expect(
      bytesToHex(
        svsmLaunchDigest({ firmware: S, svsm: svsmV(), varsSizeBytes: 8192, vcpus: 2, vcpuSig: V4 }),
      ),
    ).toBe(
      '8b855e4df01634134e6d06b9a55032628b08b802b60f93f3222986548a78e4721e76b0c65eb83a055cb7ac8e909c6d77',
    );
  });

  test('refusals', () => {
    const bare = buildFirmware({ entries: [] });
    const es = { vcpus: 1, vcpuSig: V4, vmmType: 'QEMU' } as const;
    const svsm = { firmware: S, svsm: svsmV(), varsSizeBytes: 8192, vcpus: 1, vcpuSig: V4 };
    expectCvmError(() => sevLaunchDigest({ firmware: bare, kernel: KERNEL }), 'OVMF_NO_HASH_TABLE', 'format');
    expectCvmError(() => sevLaunchDigest({ firmware: bare, append: 'x' }), 'KERNEL_MISSING', 'usage');
    expectCvmError(() => sevEsLaunchDigest({ firmware: bare, ...es }), 'OVMF_NO_RESET_BLOCK', 'format');
    expectCvmError(() => sevEsLaunchDigest({ firmware: S, ...es, vcpus: 0 }), 'VCPU_COUNT', 'usage');
    expectCvmError(() => svsmLaunchDigest({ ...svsm, svsm: S }), 'OVMF_NO_SVSM_INFO', 'format');
    expectCvmError(() => svsmLaunchDigest({ ...svsm, varsSizeBytes: 0 }), 'SVSM_VARS_SIZE', 'usage');
    expectCvmError(() => svsmLaunchDigest({ ...svsm, varsSizeBytes: 2 ** 33 }), 'SVSM_LAYOUT', 'format');
  });
});
