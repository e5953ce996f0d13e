import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import {
  snpFirmwareDigest,
  snpLaunchDigest,
  type SnpConfiguration,
} from '../../../tools/snp/launch-digest.ts';
import { sevEsLaunchDigest, sevLaunchDigest } from '../../../tools/snp/legacy-digest.ts';
import { vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { expectCvmError } from '../../support/errors.ts';
import { APPEND } from '../../support/firmware.ts';

const fixture = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../../vectors/snp/${name}`, import.meta.url)));
const AMD = fixture('ovmf_AmdSev_suffix.bin');
const X64 = fixture('ovmf_OvmfX64_suffix.bin');
const NONE = new Uint8Array();
const E = { kernel: NONE, initrd: NONE };
const BASE: SnpConfiguration = {
  vcpus: 1,
  vcpuSig: vcpuTypeSignature('EPYC-v4'),
  guestFeatures: 1n,
  vmmType: 'QEMU',
};
type Input = Partial<SnpConfiguration> & { readonly firmware?: Uint8Array; readonly kernel?: Uint8Array };

describe("the digests of sev-snp-measure's own unit tests", () => {
  test.each<[string, Input, string]>([
    [
      'snp, 1, K=E I=E, 0x21',
      { ...E, guestFeatures: 0x21n },
      '329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198',
    ],
    [
      'snp, 1, K=E I=E, 0x1',
      { ...E },
      'ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5',
    ],
    [
      'snp, 1, K=E I=E A, 0x21',
      { ...E, append: APPEND, guestFeatures: 0x21n },
      '803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977',
    ],
    [
      'snp, 1, K=E I=E A, 0x1',
      { ...E, append: APPEND },
      '6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa',
    ],
    [
      'snp, 1, no kernel, 0x21',
      { guestFeatures: 0x21n },
      'e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b',
    ],
    [
      'snp, 1, no kernel, 0x1',
      {},
      '19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d',
    ],
    [
      'snp, 4, K=E I=E, 0x21',
      { ...E, vcpus: 4, guestFeatures: 0x21n },
      '4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942',
    ],
    [
      'snp, 4, K=E I=E, 0x1',
      { ...E, vcpus: 4 },
      '5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5',
    ],
    [
      'snp, 1, ec2, K=E I=E, 0x21',
      { ...E, vmmType: 'ec2', guestFeatures: 0x21n },
      '0ce9ccc06bab55eebe8abc234f3df6514883977a68a591b71052498ab52b2f1aa415db338033946ef93aa8278c0d67fb',
    ],
    [
      'snp, 1, ec2, K=E I=E, 0x1',
      { ...E, vmmType: 'ec2' },
      '0883bd0eeb716e65b7b977a321c278d1e51b33b5c655fab985443bbcc65c086b9c15e8a0bd8811050dec7e24964e5056',
    ],
    [
      'snp, 1, gce, K=E I=E, 0x1',
      { ...E, vmmType: 'gce' },
      '5da7106cf14cf46b1725ebab123eb9e53bd46a1e9f400cd0c08e7827b04b688ea8b4e403c8404efed4397ea5d5d0722e',
    ],
    [
      'snp, 4, gce, K=E I=E, 0x1',
      { ...E, vcpus: 4, vmmType: 'gce' },
      '5c5debf100fc339f90276e761ee1f1658d08922c3b20e2a2e6c7a6c3370b2452a15a00eae11886a93d6fd1e7ab81e29d',
    ],
    [
      'OvmfX64: snp, 1, no kernel, 0x21',
      { firmware: X64, guestFeatures: 0x21n },
      '28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385',
    ],
    [
      'OvmfX64: snp, 1, no kernel, 0x1',
      { firmware: X64 },
      'da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005',
    ],
  ])('%s', (_, input, expected) => {
    expect(bytesToHex(snpLaunchDigest({ firmware: AMD, ...BASE, ...input }))).toBe(expected);
  });

  test('what virtee/sev measures for EC2: RDX 0', () => {
    const digest = snpLaunchDigest({ firmware: AMD, ...E, ...BASE, vmmType: 'ec2', rdx: 0n });
    expect(bytesToHex(digest)).toBe(
      '7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be',
    );
  });

  test('the firmware alone, SEV-ES and SEV', () => {
    expect(bytesToHex(snpFirmwareDigest(AMD))).toBe(
      '086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74',
    );
    const es = (vcpus: number): string =>
      bytesToHex(sevEsLaunchDigest({ firmware: AMD, ...E, ...BASE, vcpus }));
    expect([es(1), es(4)]).toEqual([
      '13810ae661ea11e2bb205621f582fee268f0367c8f97bc297b7fadef3e12002c',
      '0dccbcaba8e90b261bd0d2e1863a2f9da714768b7b2a19363cd6ae35aa90de91',
    ]);
    expect(bytesToHex(sevLaunchDigest({ firmware: AMD, ...E, append: APPEND }))).toBe(
      '82a3ee5d537c3620628270c292ae30cb40c3c878666a7890ee7ef2a08fb535ff',
    );
    expect(bytesToHex(sevLaunchDigest({ firmware: AMD, kernel: NONE }))).toBe(
      '77f613d7bbcdf12a73782ea9e88b0172aeda50d1a54201cb903594ff52846898',
    );
    expect(bytesToHex(sevLaunchDigest({ firmware: X64 }))).toBe(
      'b4c021e085fb83ceffe6571a3d357b4a98773c83c474e47f76c876708fe316da',
    );
  });

  test('OvmfPkgX64 takes no kernel', () => {
    expectCvmError(
      () => snpLaunchDigest({ firmware: X64, ...E, ...BASE }),
      'OVMF_NO_KERNEL_HASHES',
      'format',
    );
    expectCvmError(() => sevEsLaunchDigest({ firmware: X64, ...E, ...BASE }), 'OVMF_NO_HASH_TABLE', 'format');
    expectCvmError(() => sevLaunchDigest({ firmware: X64, ...E }), 'OVMF_NO_HASH_TABLE', 'format');
  });
});
