import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { command as measure } from '../../tools/commands/igvm-measure.ts';
import { command as sign } from '../../tools/commands/igvm-sign.ts';
import { headersOfKind } from '../../tools/igvm/model.ts';
import { readIgvm } from '../../tools/igvm/reader.ts';
import { writeIgvm } from '../../tools/igvm/writer.ts';
import { MINIMAL } from '../support/igvm-files.ts';
import { runCommand, scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const openssl = findOracle('openssl');
const test = oracleTest({ openssl });

/** Keys as igvmmeasure's manual makes them, signatures as a person makes them who keeps the key elsewhere. */
describe('openssl', () => {
  const run = (folder: string, ...words: readonly string[]): string => {
    const { status, stdout, stderr } = spawnSync(openssl ?? '', words, {
      cwd: folder,
      env: ORACLE_ENV,
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    return stdout;
  };
  const newFolder = (): string => {
    const folder = scratchFolder();
    writeFileSync(join(folder, 'a.igvm'), writeIgvm(MINIMAL));
    run(folder, 'ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', 'id.pem');
    // With its parameters in front, as openssl writes them without -noout.
    run(folder, 'ecparam', '-name', 'secp384r1', '-genkey', '-out', 'author.pem');
    run(folder, 'ec', '-in', 'id.pem', '-pubout', '-out', 'id.pub');
    run(folder, 'ec', '-in', 'author.pem', '-pubout', '-out', 'author.pub');
    return folder;
  };
  const read = (folder: string, name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));

  test('verifies what igvm sign signed', async () => {
    const folder = newFolder();
    await runCommand(sign, folder, ['a.igvm'], {
      idKey: 'id.pem',
      authorKey: 'author.pem',
      output: 's.igvm',
      idBlockOutput: 'block',
      idKeyOutput: 'key',
    });
    const [block] = headersOfKind(readIgvm(read(folder, 's.igvm')), 'snp-id-block');
    const der = (r: Uint8Array, s: Uint8Array): Uint8Array => {
      const integer = (value: Uint8Array): number[] => {
        const digits = [...value.slice(0, 48).toReversed()];
        while (digits.length > 1 && digits[0] === 0) digits.shift();
        if ((digits[0] ?? 0) > 127) digits.unshift(0);
        return [2, digits.length, ...digits];
      };
      const body = [...integer(r), ...integer(s)];
      return new Uint8Array([0x30, body.length, ...body]);
    };
    expect(block).toBeDefined();
    if (block === undefined) return;
    writeFileSync(join(folder, 'id.sig'), der(block.idKeySignature.r, block.idKeySignature.s));
    writeFileSync(join(folder, 'author.sig'), der(block.authorKeySignature.r, block.authorKeySignature.s));
    for (const [key, signature, message] of [
      ['id.pub', 'id.sig', 'block'],
      ['author.pub', 'author.sig', 'key'],
    ] as const) {
      expect(run(folder, 'dgst', '-sha384', '-verify', key, '-signature', signature, message)).toBe(
        'Verified OK\n',
      );
    }
  });

  test('signs what igvm sign takes', async () => {
    const folder = newFolder();
    await runCommand(sign, folder, ['a.igvm'], {
      idBlockOutput: 'block',
      idKeyOutput: 'key',
      idPublicKey: 'id.pub',
    });
    run(folder, 'dgst', '-sha384', '-sign', 'id.pem', '-out', 'id.sig', 'block');
    run(folder, 'dgst', '-sha384', '-sign', 'author.pem', '-out', 'author.sig', 'key');
    await runCommand(sign, folder, ['a.igvm'], {
      idSignature: 'id.sig',
      idPublicKey: 'id.pub',
      authorSignature: 'author.sig',
      authorPublicKey: 'author.pub',
      output: 's.igvm',
    });
    expect((await runCommand(measure, folder, ['s.igvm'], { bare: true })).out).toMatch(/^CE9200E1/);
  });
});
