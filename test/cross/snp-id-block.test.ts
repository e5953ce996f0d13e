import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { command as create } from '../../tools/commands/snp-id-block-create.ts';
import { command as verify } from '../../tools/commands/snp-id-block-verify.ts';
import { privateKeyPem } from '../support/p384-keys.ts';
import { runCommand, scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const peer = findOracle('snp-create-id-block');
const withPeer = oracleTest({ 'snp-create-id-block': peer }, false);

describe('cvm snp id-block and snp-create-id-block', () => {
  withPeer('print the same but for nonces, and ours takes what the peer signed', async () => {
    const folder = scratchFolder();
    writeFileSync(join(folder, 'id.pem'), privateKeyPem(5n, 'sec1'));
    writeFileSync(join(folder, 'author.pem'), privateKeyPem(6n));
    const measurement = Buffer.alloc(48, 7).toString('base64');
    const args = ['--measurement', measurement, '--idkey', 'id.pem', '--authorkey', 'author.pem'];
    const theirs = execFileSync(peer ?? '', args, { cwd: folder, env: ORACLE_ENV }).toString();
    const ours = await runCommand(create, folder, [], {
      measurement,
      idkey: 'id.pem',
      authorkey: 'author.pem',
    });
    const block = (text: string): string[] => [text.split(',')[0] ?? '', ...text.split('\n').slice(1)];
    expect(block(ours.out)).toEqual(block(theirs));
    expect(ours.out.length).toBe(theirs.length);
    writeFileSync(join(folder, 'theirs'), theirs);
    expect((await runCommand(verify, folder, ['theirs'], {})).code).toBe(0);
  });
});
