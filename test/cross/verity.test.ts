import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { bytesToHex, hexToBytes } from '../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../tools/bytes/source.ts';
import { formatVerity } from '../../tools/verity/format.ts';
import type { VerityParameters } from '../../tools/verity/parameters.ts';
import { verifyVerity } from '../../tools/verity/verify.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const veritysetup = findOracle('veritysetup');
const verityTest = oracleTest({ veritysetup });
const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'verity-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const UUID = '01234567-89ab-cdef-0123-456789abcdef';
const BASE: VerityParameters = {
  hashType: 1,
  algorithm: 'sha256',
  dataBlockBytes: 4096,
  hashBlockBytes: 4096,
  dataBlocks: 1,
  salt: Uint8Array.from({ length: 32 }, (_, i) => i),
  uuid: hexToBytes(UUID.replaceAll('-', '')),
};

function run(args: readonly string[]): string {
  return execFileSync(veritysetup ?? '', args, { env: ORACLE_ENV, encoding: 'utf8' });
}

/** Every third block is a hole. */
function dataOf(bytes: number): Uint8Array {
  return new Uint8Array(bytes).map((_, at) => (Math.floor(at / 4096) % 3 === 0 ? 0 : (at * 31) ^ (at >> 12)));
}

function flags(parameters: VerityParameters, hashOffset: number): string[] {
  return [
    `--hash=${parameters.algorithm}`,
    `--format=${parameters.hashType}`,
    `--data-block-size=${parameters.dataBlockBytes}`,
    `--hash-block-size=${parameters.hashBlockBytes}`,
    `--data-blocks=${parameters.dataBlocks}`,
    `--hash-offset=${hashOffset}`,
    `--salt=${parameters.salt.length === 0 ? '-' : bytesToHex(parameters.salt)}`,
    `--uuid=${UUID}`,
  ];
}

/** Formats in one file with both; the whole files and root hashes have to agree. */
function compare(more: Partial<VerityParameters>, gap = 0): void {
  const parameters = { ...BASE, ...more };
  const data = dataOf(parameters.dataBlocks * parameters.dataBlockBytes);
  const hashOffset = Math.ceil(data.length / 4096) * 4096 + gap;
  const path = join(folder, 'image');
  writeFileSync(path, data);
  const printed = run(['format', path, path, ...flags(parameters, hashOffset)]);
  const root = /^Root hash: *\t?([0-9a-f]+)$/m.exec(printed)?.[1];
  const theirs = readFileSync(path);

  const { rootHash, hashArea } = formatVerity(sourceFromBytes(data), parameters, hashOffset);
  const ours = Buffer.alloc(hashOffset + hashArea.sizeBytes);
  ours.set(data);
  ours.set(hashArea.read(0, hashArea.sizeBytes), hashOffset);
  expect(bytesToHex(rootHash)).toBe(root);
  expect(ours.equals(theirs), `${ours.length} and ${theirs.length} bytes`).toBe(true);
  verifyVerity(sourceFromBytes(new Uint8Array(theirs)), hashOffset, rootHash);
}

describe('veritysetup format writes the same file', () => {
  verityTest('for numbers of blocks around every level', () => {
    for (const dataBlocks of [1, 2, 127, 128, 129, 16_384, 16_385]) compare({ dataBlocks });
  });

  verityTest('for all algorithms, hash types and salts', () => {
    for (const algorithm of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
      for (const hashType of [0, 1] as const) {
        for (const saltBytes of [0, 1, 32, 255, 256]) {
          compare({ algorithm, hashType, salt: new Uint8Array(saltBytes).fill(0xa5), dataBlocks: 300 });
        }
      }
    }
  });

  verityTest('for other block sizes and hash offsets', () => {
    for (const [dataBlockBytes, hashBlockBytes] of [
      [512, 512],
      [1024, 4096],
      [4096, 1024],
      [1024, 1024],
      [512, 4096],
      [4096, 512],
      [2048, 2048],
    ] as const) {
      for (const gap of [0, 512, 4096, 5120])
        for (const algorithm of ['sha256', 'sha512'] as const)
          compare({ dataBlockBytes, hashBlockBytes, algorithm, dataBlocks: 500 }, gap);
    }
  });
});

describe('veritysetup verify', () => {
  verityTest('accepts what we wrote, and like us refuses a changed block', () => {
    const parameters = { ...BASE, dataBlocks: 700 };
    const data = dataOf(700 * 4096);
    const { rootHash, hashArea } = formatVerity(sourceFromBytes(data), parameters, data.length);
    const whole = Buffer.concat([data, hashArea.read(0, hashArea.sizeBytes)]);
    const path = join(folder, 'ours');
    const verify = (): number | null => {
      writeFileSync(path, whole);
      const args = ['verify', path, path, bytesToHex(rootHash), `--hash-offset=${data.length}`];
      return spawnSync(veritysetup ?? '', args, { env: ORACLE_ENV }).status;
    };
    expect(verify()).toBe(0);
    for (const at of [0, 699 * 4096, data.length + 4096, data.length + 3 * 4096 + 7]) {
      whole[at] = (whole[at] ?? 0) ^ 1;
      expect(verify()).not.toBe(0);
      expect(() => verifyVerity(sourceFromBytes(new Uint8Array(whole)), data.length, rootHash)).toThrow();
      whole[at] = (whole[at] ?? 0) ^ 1;
    }
  });
});
