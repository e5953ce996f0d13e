import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect } from 'vitest';
import { parseFileContexts } from '../../tools/selinux/file-contexts.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const matchpathcon = findOracle('matchpathcon');
const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'selinux-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const MODES = { file: 'file', dir: 'dir', symlink: 'lnk_file', block: 'blk_file', char: 'chr_file' } as const;
type Type = keyof typeof MODES;

/** Pieces in the style of the reference policy; every line may be for any type. */
const anyPattern = fc
  .array(
    fc.constantFrom(
      '/a',
      '/b',
      '/[^/]*',
      '/.*',
      '(/.*)?',
      '/a+',
      '/(a|b)',
      '(b)?',
      '/a\\.b',
      '/[[:digit:]]+',
      '/a-b',
      '/.{1,2}',
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((pieces) => pieces.join(''))
  .filter((pattern) => pattern.startsWith('/'));
const anyLine = fc
  .tuple(anyPattern, fc.constantFrom('', '--', '-d', '-l', '-b', '-c'), fc.nat(20))
  .map(([pattern, type, n]) => `${pattern}\t${type}\t${n === 0 ? '<<none>>' : `u:object_r:t${n}_t:s0`}`);
const anyPath = fc
  .array(fc.constantFrom('a', 'b', 'aa', 'ab', 'a.b', 'axb', '12', 'a-b', 'x'), {
    minLength: 1,
    maxLength: 4,
  })
  .map((parts) => `/${parts.join('/')}`);

describe('matchpathcon of libselinux', () => {
  oracleTest({ matchpathcon })('finds the same labels in any policy', () => {
    const file = join(folder, 'file_contexts');
    fc.assert(
      fc.property(
        // libselinux refuses the same pattern twice with different labels for one type.
        fc.uniqueArray(anyLine, { minLength: 1, maxLength: 30, selector: (line) => line.split('\t')[0] }),
        fc.uniqueArray(anyPath, { minLength: 1, maxLength: 60 }),
        fc.constantFrom<Type[]>('file', 'dir', 'symlink', 'block', 'char'),
        (lines, paths, type) => {
          const policy = `${lines.join('\n')}\n`;
          writeFileSync(file, policy);
          const theirs = execFileSync(matchpathcon ?? '', ['-N', '-f', file, '-m', MODES[type], ...paths], {
            env: ORACLE_ENV,
            encoding: 'utf8',
            stdio: ['ignore', 'pipe', 'pipe'],
          });
          const contexts = parseFileContexts(policy);
          const ours = paths
            .map((path) => `${path}\t${contexts.labelFor(path, type) ?? '<<none>>'}\n`)
            .join('');
          expect(ours).toBe(theirs);
        },
      ),
      { numRuns: 60 },
    );
  });
});
