import { describe, expect } from 'vitest';
import { digestBytes } from '../../tools/bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../../tools/bytes/hex.ts';
import { prepareSnpLaunch, snpLaunchDigest, type SnpConfiguration } from '../../tools/snp/launch-digest.ts';
import { sevEsLaunchDigest, sevLaunchDigest } from '../../tools/snp/legacy-digest.ts';
import { parseOvmf } from '../../tools/snp/ovmf.ts';
import { cpuSignature, vcpuTypeSignature } from '../../tools/snp/vcpu-types.ts';
import { APPEND, INITRD, KERNEL } from '../support/firmware.ts';
import { findOracleFile, oracleTest } from './oracle.ts';

/** Debian's ovmf-amdsev 2026.08+ds-2; the digests were made by sev-snp-measure 0.0.13. */
const SHA256 = '3e4fd0b3fe3b2dbe481c3d9e99418a034174f26cbe1f55aa212b0f18c12d2d6f';
const found = findOracleFile('/usr/share/ovmf/OVMF.amdsev.fd', SHA256);
const firmware = found ?? new Uint8Array();
const withFirmware = oracleTest({ 'OVMF.amdsev.fd (ovmf-amdsev 2026.08+ds-2)': found });

const KIA = { kernel: KERNEL, initrd: INITRD, append: APPEND };
const BASE = { vcpus: 1, vcpuSig: vcpuTypeSignature('EPYC-v4'), guestFeatures: 1n, vmmType: 'QEMU' } as const;

type Case = Partial<SnpConfiguration> & { readonly kernel?: Uint8Array; readonly initrd?: Uint8Array };

const P15 =
  '9d0dd8be18c86e3fe3bf0038ed75ebf5340bee69fd2632c8ff9409964575960ae1f7e84be387d2e3467bc3508d1e4806';

const SNP_CASES: readonly (readonly [string, Case, string])[] = [
  [
    'P1',
    {},
    'd74bd3ea40b240c3228edc5177ce6193561ebff633dbd0be76d6c143b876d65102425c0e2e8a930857c48daa5eacda58',
  ],
  [
    'P2',
    { ...KIA, vcpus: 2 },
    '841e9a1435f38ea3356ad8c44fdef588e74d79bbde683205a37c49d605d957a56ee23b0d6d91add16c3128f97ed6d942',
  ],
  [
    'P3',
    { ...KIA, vcpus: 16, vcpuSig: vcpuTypeSignature('EPYC-Genoa') },
    '2030e31bdf29617541006929836518b50144010390b88fe8a141925774888488620104b91e66d0900b11a394b3521e99',
  ],
  [
    'P4',
    { ...KIA, vcpus: 64, vcpuSig: vcpuTypeSignature('EPYC-Milan') },
    '27e58fb39870544247977baaaff6c25960b999fd643d2733e2b374b641366f15059994a17eb1c15773aa7c47cdf48d02',
  ],
  [
    'P5',
    { kernel: KERNEL, vcpuSig: vcpuTypeSignature('EPYC-Turin') },
    '5b7b368fbb3baf5d9683212c95d07155b8091ead65929510d20274bdfc1d2c7905ea8820217c24dfdb00f47dbd0679cc',
  ],
  [
    'P6',
    { kernel: KERNEL, append: APPEND, vcpus: 2, guestFeatures: 0x21n },
    '3360e909b7517f61d7787ba19da922368e47f6b2bfa035f0dc52a62ea582fcae6aecdd616643195e6e722d6bf0ee5fda',
  ],
  [
    'P7',
    { kernel: KERNEL, initrd: INITRD, vcpuSig: vcpuTypeSignature('EPYC-Rome') },
    '7fba7c24d2814616074e524d31bf2b8dd0e0c92e0b9ee10ec734aa14b04ec507861d401bebbf985160d7c5a55a3efcae',
  ],
  [
    'P8',
    { vcpus: 4, vmmType: 'ec2' },
    'ef749be5d91ef69e32ba3aa64147faee140fbf0d2491dc68d514d785c601ac9031797cab53bff3fcd29421d6797adfc5',
  ],
  [
    'P9',
    { vcpus: 2, vmmType: 'gce' },
    '6405f8c894bda7cc5c14f3d02409c19905af1a428a3a741edd0b8bb8bb93a96d297f15852759e69e84ebdb8d1d84ec11',
  ],
  [
    'P10',
    { ...KIA, vcpus: 2, vmmType: 'ec2' },
    '4c04ea67643b3f67d0f7e95766ea727dcd82eec267b4d6403c5ab902c075df24c264054656240e29e5d01306e71062d6',
  ],
  [
    'P18',
    { vcpuSig: cpuSignature(26, 2, 1) },
    'b2a60e5953b8ebfb43489673185323f897598463158bd4a500b205706310890e8e01e50269d1ec2506da57ee8985dcef',
  ],
];

describe("real firmware: sev-snp-measure's digests over Debian's OVMF.amdsev.fd", () => {
  withFirmware('its tables are those of the AmdSev build', () => {
    const ovmf = parseOvmf(firmware);
    expect(ovmf).toMatchObject({ resetEip: 0x80b004, hashTable: { base: 0x810c00, sizeBytes: 0x400 } });
    expect(ovmf.sizeBytes - (ovmf.metadataOffset ?? 0)).toBe(0x5c4);
    expect(ovmf.sections?.map(({ gpa, sizeBytes, type }) => [gpa, sizeBytes, type])).toEqual([
      [0x800000, 0x9000, 1],
      [0x80a000, 0x3000, 1],
      [0x80d000, 0x1000, 2],
      [0x80e000, 0x1000, 3],
      [0x80f000, 0x1000, 4],
      [0x811000, 0x1f000, 1],
      [0x810000, 0x1000, 0x10],
    ]);
  });

  for (const [id, { kernel, initrd, ...configuration }, expected] of SNP_CASES) {
    withFirmware(`${id}: mode snp`, () => {
      const files = { ...(kernel ? { kernel } : {}), ...(initrd ? { initrd } : {}) };
      expect(bytesToHex(snpLaunchDigest({ firmware, ...files, ...BASE, ...configuration }))).toBe(expected);
    });
  }

  withFirmware('P17: base64 of signature 0', () => {
    const digest = snpLaunchDigest({ firmware, ...BASE, vcpuSig: 0 });
    expect(Buffer.from(digest).toString('base64')).toBe(
      'WAvJysrQj7iPCzd+Okd5ovwu6G0SZhcHGrfWa6Bvl5328a6TLjPEVzlkrd6X+WMD',
    );
  });

  withFirmware('P15 and P16: the firmware hash, and the digest from it', () => {
    const launch = prepareSnpLaunch({ firmware, ...KIA });
    expect(bytesToHex(launch.firmwareDigest)).toBe(P15);
    const configuration = { ...BASE, append: APPEND, vcpus: 2 };
    expect(
      bytesToHex(prepareSnpLaunch({ firmware, ...KIA, ovmfHash: hexToBytes(P15) }).predict(configuration)),
    ).toBe(SNP_CASES[1]?.[2]);
  });

  withFirmware('P2 step by step', () => {
    const steps = prepareSnpLaunch({ firmware, ...KIA }).explain({ ...BASE, append: APPEND, vcpus: 2 });
    expect(steps.map(({ gpa, pages, digest }) => [gpa.toString(16), pages, bytesToHex(digest)])).toEqual([
      ['ffc00000', 1024, P15],
      [
        '800000',
        9,
        '9cbd59c713518d50c986aac8db659bb9f624e0f61801fd69b28ad5692251933fd4b27aecf37842bea36f924c8fa61eac',
      ],
      [
        '80a000',
        3,
        'c0f1d25230f7591f8601c0466f9b21adddc7ac78bff392e56145485542f4d8fb53fd3e1a31ac5d329286efec7aa82cef',
      ],
      [
        '80d000',
        1,
        'c8904ca5466fb1d6edaa0a66ce58fb77195dba1086853ba3e59dfe566644ce6a17fca2c1efc2f1f21e3a7a29bc436434',
      ],
      [
        '80e000',
        1,
        'af6b338251f48b6a59d1cd2ee92eb475ed5df4378a55022c46e03fadebb4847853769d33b0db68942827a213cfdb7abf',
      ],
      [
        '80f000',
        1,
        'bb4c3d11241155a4cae9363779a4c5e50a95c10a7b32d8829f7e0ab89322f8f45dd8d0074b7e0897a041eeca679fa8de',
      ],
      [
        '811000',
        31,
        '2f44f8584a7c2a7e78da84de46a02138ba8701c74746e323f397beffbb4451f05bd3684da9d07db8a1d955bd818dc3b5',
      ],
      [
        '810000',
        1,
        '98ed153711ecdae5b4a725156af3eb85c3c4e846944181f42beda8dc6a5bac1666fc905e61d11c9eb8dc585c2170cfe4',
      ],
      [
        'fffffffff000',
        1,
        '8241ac7258d6640690fb7057fe135b06dfb12fac05bb9e84eabd18c13ae4474f3f60565eaa2933b975bd1082752ac333',
      ],
      ['fffffffff000', 1, SNP_CASES[1]?.[2]],
    ]);
  });

  withFirmware('P11 to P14: SEV-ES and SEV', () => {
    const es = { firmware, vcpuSig: BASE.vcpuSig, vmmType: 'QEMU' } as const;
    expect(bytesToHex(sevEsLaunchDigest({ ...es, ...KIA, vcpus: 2 }))).toBe(
      '5cc907ecf50debbb7ee65851fa5f213033ef5893ee6ce85552068caeab2efcad',
    );
    expect(bytesToHex(sevEsLaunchDigest({ ...es, vcpus: 1 }))).toBe(
      '62f563dcde1a3fcde3e5ffd1a3ee7ff7e9bae00f74bada763587a311e2df5d7e',
    );
    expect(bytesToHex(sevLaunchDigest({ firmware, ...KIA }))).toBe(
      '1e007cb01465f19a040dbb7afb2a1394eeaa81b43d3f4df275d3c8c06e764974',
    );
    expect(bytesToHex(sevLaunchDigest({ firmware }))).toBe(bytesToHex(digestBytes('sha256', firmware)));
  });
});
