import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { headersOfKind, type IgvmFile } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { writeVmsa } from '../../../tools/snp/vmsa-page.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import {
  allPageKinds,
  filled,
  MINIMAL,
  MINIMAL_TDX,
  stage2CpuidPage,
  STANDARD_VMSA,
  VSM_FIXTURE,
} from '../../support/igvm-files.ts';

const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

describe('vectors', () => {
  test.each<[string, () => IgvmFile, number, string, string]>([
    [
      'VSM fixture (T3)',
      () => VSM_FIXTURE,
      16800,
      '4947564d010000001800000088010000a041000020c56423',
      'effc7663b1f9669b6534453ad5e26f5f29d16cd9f3c953b24cd45858b23dd215',
    ],
    [
      'minimal (T4)',
      () => MINIMAL,
      12520,
      '4947564d0100000018000000d0000000e83000003efefd04',
      '1e5befed0bbede0af4dcf2233149fe5566d45e3103b6837aaa20e2fae16e6358',
    ],
    [
      'minimal for TDX (T4-TDX)',
      () => MINIMAL_TDX,
      8368,
      '4947564d01000000',
      '5a527618ef8269fabc52361699955c4463bf22c3460184c22966d93103326309',
    ],
    [
      'all page kinds (T5)',
      () => allPageKinds(stage2CpuidPage()),
      29240,
      '4947564d0200000020000000180200003872000074b4444b0000000000100000',
      '9bea58193f1ed81d9a0a8dbe181c7d4cedc6c18dfa67e6c05c876e51eccd2eff',
    ],
  ])('%s: bytes, and back', (_name, make, size, header, digest) => {
    const bytes = writeIgvm(make());
    expect(bytes.length).toBe(size);
    expect(bytesToHex(bytes.subarray(0, header.length / 2))).toBe(header);
    expect(sha256(bytes)).toBe(digest);
    const again = readIgvm(bytes);
    expect(writeIgvm(again)).toEqual(bytes);
    expect(again.headers.map(({ kind }) => kind)).toEqual(make().headers.map(({ kind }) => kind));
  });

  test('the parts they are made of', () => {
    expect(sha256(writeVmsa(STANDARD_VMSA))).toBe(
      'da7c72582128c0e8abddbbdfd4d02f55a016de0c737818b305700f6d9d405c0a',
    );
    expect(sha256(stage2CpuidPage())).toBe(
      'c572c2585611c6713fb31a60ce20d7d8d4a538c237a5f9d809c999c3b1c81c66',
    );
  });

  test('what microsoft/igvm expects of its fixture', () => {
    const file = readIgvm(writeIgvm(VSM_FIXTURE));
    expect(headersOfKind(file, 'supported-platform')).toHaveLength(1);
    expect(headersOfKind(file, 'guest-policy')).toHaveLength(2);
    const directives = file.headers.slice(3);
    expect(directives).toHaveLength(11);
    expect(directives[1]).toMatchObject({ gpa: 0x1000 });
    expect(directives[3]).toMatchObject({ data: filled(4) });
    expect(directives[10]).toMatchObject({ kind: 'parameter-insert', gpa: 0x14000 });
  });
});
