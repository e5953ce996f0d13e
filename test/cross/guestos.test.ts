import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { chunks } from '../../tools/bytes/source.ts';
import { command as updateImage } from '../../tools/commands/guestos-update-image.ts';
import { writeTzst } from '../../tools/commands/image-files.ts';
import { bootArg, parseBootArgs } from '../../tools/guestos/boot-args.ts';
import { ROOT_HASH_OFFSET } from '../../tools/guestos/layout.ts';
import { recovery } from '../support/guestos-images.ts';
import { runCommand, scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const tar = findOracle('tar');
const zstd = findOracle('zstd');
const e2fsck = findOracle('e2fsck');
const debugfs = findOracle('debugfs');
const veritysetup = findOracle('veritysetup');
const sh = findOracle('sh');

function run(program: string | undefined, ...args: readonly string[]): string {
  return execFileSync(program ?? '', args, { env: ORACLE_ENV, stdio: 'pipe' }).toString();
}

function sha256OfFile(path: string): string {
  const state = createHash('sha256');
  const file = openSync(path, 'r');
  const buffer = new Uint8Array(1 << 20);
  for (let count = readSync(file, buffer); count > 0; count = readSync(file, buffer)) {
    state.update(buffer.subarray(0, count));
  }
  closeSync(file);
  return state.digest('hex');
}

describe('boot_args and a shell that sources it', () => {
  const units = 'abAZ09 \t=.,:;%@+-_/"\'\\$`#&|<>()*?[]~{}!^nté\r'.split('');
  oracleTest({ sh })('agree on every value that is used: the doubtful ones are refused', () => {
    const folder = scratchFolder();
    const path = join(folder, 'boot_args');
    let agreed = 0;
    const value = fc.string({ unit: fc.constantFrom(...units), maxLength: 12 });
    const line = fc.oneof(
      value,
      value.map((text) => `"${text}"`),
      value.map((text) => `'${text}'`),
    );
    fc.assert(
      fc.property(line, (text) => {
        const args = parseBootArgs(`NAME=${text}`);
        if (args.get('NAME')?.doubt !== undefined) return;
        writeFileSync(path, `NAME=${text}\n`);
        // The shell's own answer, or its refusal, which would be a disagreement too.
        expect(run(sh, '-c', '. "$1"; printf "%s|" "$NAME"', 'sh', path)).toBe(`${bootArg(args, 'NAME')}|`);
        agreed++;
      }),
      { numRuns: 1500 },
    );
    expect(agreed).toBeGreaterThan(100);
  });
});

describe('an update image, installed as a node does it', () => {
  oracleTest({ tar, zstd, e2fsck, debugfs, veritysetup })(
    'GNU tar and zstd unpack it, e2fsck and debugfs read its boot partition, veritysetup its root partition',
    async () => {
      const folder = scratchFolder();
      const good = recovery();
      await writeTzst(join(folder, 'boot.tzst'), good.boot);
      await writeTzst(join(folder, 'root.tzst'), good.root);
      writeFileSync(join(folder, 'version'), '0123abcd\n');
      writeFileSync(join(folder, 'request'), good.request);
      await runCommand(updateImage, folder, [], {
        boot: 'boot.tzst',
        root: 'root.tzst',
        versionFile: 'version',
        request: 'request',
        network: 'dev',
        output: 'update-img.tar.zst',
      });

      run(tar, '--extract', '--zstd', '--sparse', '-C', folder, '-f', join(folder, 'update-img.tar.zst'));
      const boot = join(folder, 'boot.img');
      const root = join(folder, 'root.img');
      const expected = createHash('sha256');
      for (const chunk of chunks(good.boot)) expected.update(chunk);
      expect(sha256OfFile(boot)).toBe(expected.digest('hex'));
      expect(
        run(tar, '-C', folder, '--zstd', '-xOf', join(folder, 'update-img.tar.zst'), 'VERSION.TXT'),
      ).toBe('0123abcd-dev\n');

      run(e2fsck, '-fn', boot);
      run(debugfs, '-R', `dump /alternative_guestos_proposal.cbor ${join(folder, 'proposal')}`, boot);
      expect(sha256OfFile(join(folder, 'proposal'))).toBe(
        createHash('sha256').update(good.certificate).digest('hex'),
      );

      expect(statSync(root).size).toBe(good.root.sizeBytes);
      run(veritysetup, 'verify', root, root, good.rootHash, '--hash-offset', `${ROOT_HASH_OFFSET}`);
      expect(() =>
        run(veritysetup, 'verify', root, root, '00'.repeat(32), '--hash-offset', `${ROOT_HASH_OFFSET}`),
      ).toThrow();
    },
  );
});
