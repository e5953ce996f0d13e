import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { BSP_RESET_EIP, buildSvsmVmsa, buildVmsa, VMM_TYPES, type VmmType } from '../../../tools/snp/vmsa.ts';

const AP_EIP = 0x80b004;

function vmsaHash(vmmType: VmmType, eip: number): string {
  return bytesToHex(digestBytes('sha384', buildVmsa({ vmmType, eip, vcpuSig: 0x800f12, guestFeatures: 1n })));
}

describe('VMSA page', () => {
  test.each<[VmmType, 'BSP' | 'AP', string]>([
    [
      'QEMU',
      'BSP',
      '77920c4c629ff47e90c0e174fc1ad0eb6fa664f88cd4739488058a8c6cb1a77b3856f55378e9518d0da99452d51c553a',
    ],
    [
      'QEMU',
      'AP',
      '8413b852790765a310d95867a8b00bfca3a802b5a80830044b45e253fe96222657e11e53fcf63eb0e0afd722385bf7b4',
    ],
    [
      'ec2',
      'BSP',
      'd08442e8bcdb6a5dcd7f22e4f7fd6979beffb9f0bb54a9d1977407fe84f482abf23c1baae6ce95a6a9e7a94c3c51f412',
    ],
    [
      'ec2',
      'AP',
      'acff2d22db95b8eb82272d844aa2ad1f8f84218ccbab003697acade12228a6e901256e160d41713c22fed92e0a1ed0e1',
    ],
    [
      'gce',
      'BSP',
      'f9e03177dad7f4819ee193af7cfb70507d8a923ab513412e908bc73460a9dfdaa54215d58952816118ffb2ec281e7fd2',
    ],
    [
      'gce',
      'AP',
      '5302d262c88780a7a13159a327fa99cf188cab234c680e1f3b6729171380a4312511813a354cab136d69c778050c245a',
    ],
  ])('of %s %s has the recorded hash', (vmmType, vcpu, expected) => {
    expect(vmsaHash(vmmType, vcpu === 'BSP' ? BSP_RESET_EIP : AP_EIP)).toBe(expected);
  });

  test('of an SVSM start has the recorded hash', () => {
    expect(bytesToHex(digestBytes('sha384', buildSvsmVmsa(0xffffa020, 0x800f12)))).toBe(
      '28f7e70337009a96fa695f1f1895ce4c91f2b3762b1133f0aaa8a89885d6f6a60e43a87bf8fa628c84b1a27502673b57',
    );
  });

  test('is one page, and every field of the call enters it', () => {
    for (const vmmType of VMM_TYPES) {
      const base = { vmmType, eip: AP_EIP, vcpuSig: 0x800f12, guestFeatures: 1n };
      const page = buildVmsa(base);
      expect(page.length).toBe(4096);
      expect(buildVmsa({ ...base, eip: 0x80b005 })).not.toEqual(page);
      expect(buildVmsa({ ...base, eip: 0x81b004 })).not.toEqual(page);
      expect(buildVmsa({ ...base, guestFeatures: 0x8000_0000_0000_0001n })).not.toEqual(page);
    }
  });

  test('the signature enters under QEMU only', () => {
    for (const vmmType of VMM_TYPES) {
      const base = { vmmType, eip: AP_EIP, guestFeatures: 1n };
      const same =
        bytesToHex(buildVmsa({ ...base, vcpuSig: 1 })) === bytesToHex(buildVmsa({ ...base, vcpuSig: 2 }));
      expect(same).toBe(vmmType !== 'QEMU');
    }
  });
});
