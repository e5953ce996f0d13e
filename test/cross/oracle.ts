import { createHash } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'vitest';

const FOLDERS = ['/usr/sbin', '/sbin', '/usr/bin', '/bin', '/usr/local/bin'];

/**
 * Under Bazel the oracles are inputs of the test, in a repository of their own (test/extensions.bzl); what is not there is not
 * there. Called by hand, the machine's own are taken.
 */
const { CVM_ORACLES_MARKER: marker, TEST_SRCDIR: runfiles } = process.env;
const declared = marker === undefined || runfiles === undefined ? undefined : dirname(join(runfiles, marker));
const PROGRAM_FOLDERS = declared === undefined ? FOLDERS : [join(declared, 'bin')];

/** Where absence of an oracle must fail instead of skipping. */
export const ORACLES_REQUIRED = process.env['CVM_REQUIRE_ORACLES'] === '1';

/** The path of a program that nobody here wrote, or undefined. */
export function findOracle(name: string): string | undefined {
  return PROGRAM_FOLDERS.map((folder) => join(folder, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The bytes of a file that nobody here made, or undefined when it is absent or another version. */
export function findOracleFile(path: string, sha256: string): Uint8Array | undefined {
  try {
    const bytes = readFileSync(declared === undefined ? path : join(declared, 'files', basename(path)));
    return createHash('sha256').update(bytes).digest('hex') === sha256 ? new Uint8Array(bytes) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * `test` for what needs oracles: with one missing it is skipped and says so in its name, or fails where oracles are
 * required.
 *
 * @param oracles names to what {@link findOracle} or {@link findOracleFile} found
 * @param required whether absence may fail: not of a program that Debian does not package
 */
export function oracleTest(
  oracles: Readonly<Record<string, unknown>>,
  required = ORACLES_REQUIRED,
): (name: string, body: () => void | Promise<void>, timeoutMs?: number) => void {
  const missing = Object.keys(oracles).filter((name) => oracles[name] === undefined);
  return (name, body, timeoutMs = 120_000) => {
    if (missing.length === 0) test(name, { timeout: timeoutMs }, body);
    else if (required) {
      test(name, () => {
        throw new Error(`oracle required, not found: ${missing.join(', ')}`);
      });
    } else test.skip(`${name} skipped: no ${missing.join(', ')}`);
  };
}

/** The environment of an oracle's process: nothing of the user's. */
export const ORACLE_ENV: NodeJS.ProcessEnv = { LC_ALL: 'C', TZ: 'UTC', PATH: FOLDERS.join(':') };
