import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { buildImage } from '../../../tools/coconut/build-image.ts';
import { cpuidPage } from '../../../tools/coconut/cpuid-page.ts';
import type { ImageOptions, ImageParts } from '../../../tools/coconut/image-input.ts';
import { sipiStub } from '../../../tools/coconut/sipi-stub.ts';
import { measureIgvm, type MeasureOptions } from '../../../tools/igvm/measure.ts';
import { headersOfKind, type IgvmFile } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import {
  BLDR_KERNEL,
  bldrOptions,
  FS_IMAGE,
  LOADER,
  ovmf,
  parts,
  STAGE1,
  STAGE2_KERNEL,
  stage2Options,
} from '../../support/coconut-parts.ts';

const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

test('the inputs are those of the vectors', () => {
  expect(sha256(ovmf())).toBe('33ad9b6dc18287a800b42b8f958009c9ebcabee0d08f946f103798fce4818bdc');
  expect(sha256(BLDR_KERNEL)).toBe('9fc6aef1314ccab41770f0df99adf2ad8a9cc0dcb391b43219598616c5611c9f');
  expect(FS_IMAGE.length).toBe(35);
});

test('pages whose content is fixed', () => {
  expect(sha256(cpuidPage('stage2'))).toBe(
    'c572c2585611c6713fb31a60ce20d7d8d4a538c237a5f9d809c999c3b1c81c66',
  );
  expect(sha256(cpuidPage('bldr'))).toBe('56959995a7e0c8b88524f8502a57b7c1499a17ad8376f3620fd49301081f5363');
  expect(sha256(sipiStub())).toBe('cb202fb269a8e9c56c1ee2b334ef8c5b07afcc1010fa64725eaa947050fb0d9a');
});

const STAGE2_ALL = parts({
  kernel: STAGE2_KERNEL,
  loader: LOADER,
  stage1: STAGE1,
  fs: FS_IMAGE,
  firmware: ovmf(),
});
const BLDR_ALL = parts({ kernel: BLDR_KERNEL, loader: LOADER, stage1: STAGE1, fs: FS_IMAGE });

describe('images are those of igvmbuilder to the last byte', () => {
  const rows: readonly (readonly [string, ImageOptions, ImageParts, number, string])[] = [
    [
      'stage2, qemu, snp tdp native, all parts',
      stage2Options({ platforms: ['snp', 'tdp', 'native'] }),
      STAGE2_ALL,
      78992,
      'b1d9dc86313dcaa7c626c96858b6a12ef5f99d32010c23807a086ff2dbcfe3c2',
    ],
    [
      'stage2, vanadium, snp tdp, all parts',
      stage2Options({ hypervisor: 'vanadium', platforms: ['snp', 'tdp'] }),
      STAGE2_ALL,
      58384,
      'f1e7ea16b8d08d9976530d4867864ba535d8abb141f003b5ad75f070e400ec4c',
    ],
    [
      'stage2, hyper-v, snp tdp vsm, COM3, no firmware',
      stage2Options({ hypervisor: 'hyper-v', platforms: ['snp', 'tdp', 'vsm'], comport: '3' }),
      { ...STAGE2_ALL, firmware: undefined },
      67148,
      '59d114fa362c04e2d5885db07766868b909683b1026b13828628bc094a7d36e0',
    ],
    [
      'stage2, qemu, snp, kernel and stage2 alone',
      stage2Options(),
      parts({ kernel: STAGE2_KERNEL, loader: LOADER }),
      37592,
      'a5137d6367b016ede0189f0ed6df0dcab492b8c35b8501953b6b46c9ad34b374',
    ],
    [
      'bldr, qemu, snp tdp native',
      bldrOptions({ platforms: ['snp', 'tdp', 'native'] }),
      BLDR_ALL,
      91792,
      '526d3982cd80566636d22faf0659c30cc17fcf8f9f3052d9030e6203a55c0160',
    ],
    [
      'bldr, hyper-v, snp tdp vsm, COM3',
      bldrOptions({ hypervisor: 'hyper-v', platforms: ['snp', 'tdp', 'vsm'], comport: '3' }),
      BLDR_ALL,
      88140,
      'b669be2c452c7b5abcad6600e0236c94b935047c4deb9ae826f214bd424a5437',
    ],
  ];
  test.each(rows)('%s', (_, options, given, size, digest) => {
    const bytes = writeIgvm(buildImage(options, given));
    expect(bytes.length).toBe(size);
    expect(sha256(bytes)).toBe(digest);
  });
});

describe('what the images measure', () => {
  const qemu = (): IgvmFile => buildImage(stage2Options({ platforms: ['snp', 'tdp', 'native'] }), STAGE2_ALL);
  const hyperV = (): IgvmFile =>
    buildImage(stage2Options({ hypervisor: 'hyper-v', platforms: ['snp', 'tdp', 'vsm'], comport: '3' }), {
      ...STAGE2_ALL,
      firmware: undefined,
    });
  const rows: readonly (readonly [string, () => IgvmFile, MeasureOptions, string])[] = [
    [
      'stage2, qemu: SEV-SNP',
      qemu,
      { platform: 'sev-snp' },
      '7DFD380F82C683C6258ABB5B70FCC948F2BBD848FFF410AD66C9B97DEEBF310F6AD999E75269438F89FA6A59B259CD92',
    ],
    [
      'stage2, qemu: MRTD',
      qemu,
      { platform: 'tdx' },
      '827F158EFF66A9C185BBE69A282C28CA7593AB41843C3A0163A8F41C1349F75D29FCFF275E0E84FBD2FC4E04C5DD5A23',
    ],
    [
      'stage2, vanadium: SEV-SNP with native zeroes',
      () => buildImage(stage2Options({ hypervisor: 'vanadium', platforms: ['snp', 'tdp'] }), STAGE2_ALL),
      { platform: 'sev-snp', nativeZero: true },
      'F892EBA5F2BD9241F764F602A71B8A3D4F3888839140D430A8C1850CFE14B4D266ED8B9CB0940AD7B8B632E693ADB3FC',
    ],
    [
      'stage2, hyper-v: SEV-SNP',
      hyperV,
      { platform: 'sev-snp' },
      'FD95FFD036A385354A0E5177C7DB4A0E1C09F39E64AEE5D29FD17CF94C6F1D57C7CE04F36543FBBF62B86EB3D5B91DB8',
    ],
    [
      'stage2, hyper-v: MRTD',
      hyperV,
      { platform: 'tdx' },
      'B24F43A05FC1E84CCA533737493AFC994BC21C8EC9F16B92A4C2BEA0525DAED2B3BB51A0A8C3240D8C8D4B13C2800A2F',
    ],
    [
      'stage2, hyper-v: VBS boot digest',
      hyperV,
      { platform: 'vbs' },
      'EE0FE702C698AAEDAFB230D31DB20FB7C74AA5CD98ACEC9DCA86764ABCE2080A',
    ],
    [
      'stage2, kernel and stage2 alone: SEV-SNP',
      () => buildImage(stage2Options(), parts({ kernel: STAGE2_KERNEL, loader: LOADER })),
      { platform: 'sev-snp' },
      'DB08896192A6D1265891C60ECA9F76B478D02986EB2DB737EEEFC1027BB518576E1AD2DC4BB20D3652C30415E2FD9E53',
    ],
    [
      'bldr, qemu: SEV-SNP',
      () => buildImage(bldrOptions({ platforms: ['snp', 'tdp', 'native'] }), BLDR_ALL),
      { platform: 'sev-snp' },
      '9DC009B4E7C99F770CD74433EB5BB6C3E1CBB5AEEC87B7D6F3A0A1EE199B29FD852B26614E969848BD1A0002197F7FB4',
    ],
    [
      'bldr, hyper-v: SEV-SNP',
      () =>
        buildImage(
          bldrOptions({ hypervisor: 'hyper-v', platforms: ['snp', 'tdp', 'vsm'], comport: '3' }),
          BLDR_ALL,
        ),
      { platform: 'sev-snp' },
      'DD0F0236803A8DDFC70B688E393914F6DE84A429321D3CB874E4FC42583EB333E14B673774EED2090E2A825FBD6718C7',
    ],
  ];
  test.each(rows)('%s', (_, build, options, digest) => {
    const file = readIgvm(writeIgvm(build()));
    expect(bytesToHex(measureIgvm(file, options).digest).toUpperCase()).toBe(digest);
  });
});

describe('the first stage2 image in detail', () => {
  const file = buildImage(stage2Options({ platforms: ['snp', 'tdp', 'native'] }), STAGE2_ALL);
  const pages = headersOfKind(file, 'page-data');
  const dataAt = (gpa: number, mask: number): Uint8Array =>
    pages.find((page) => page.gpa === gpa && page.mask === mask)?.data ?? new Uint8Array();

  test('the parameter block', () => {
    const block = dataAt(0x80e000, 7);
    expect(bytesToHex(block.subarray(0, 180))).toBe(
      [
        '003000000010000000200000000000000020000000000000f80300010000000000e0ffff002000000000000000000000',
        '00d0800000f0800000e080000000000000000000020000000090800000100000000c8100000400000000000000000000',
        '000000000000000000000000000000000000000000000000000000000000000000000000000000000010000000000000',
        '00f0ffff0000000000100000000000008000000000000001000000010000000000000000',
      ].join(''),
    );
    expect(block.subarray(180).every((byte) => byte === 0)).toBe(true);
  });

  test('the stacks say where everything is', () => {
    const top = (mask: number): string => bytesToHex(dataAt(0x805000, mask).subarray(4096 - 48));
    const rest = '00708000006080' + '0000a0800000a080002cc3800000d0800023d0800000e08000' + '00000000';
    expect(top(1)).toBe(`000000000000000001000000${rest}`);
    expect(top(4)).toBe(`000000000000000002000000${rest}`);
    expect(top(0x12)).toBe(`000000000000000000000000${rest}`);
  });
});
