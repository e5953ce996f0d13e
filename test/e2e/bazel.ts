import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';

export interface BazelResult {
  readonly exitCode: number;
  /** Standard output and standard error, one after the other. */
  readonly output: string;
}

export interface BazelOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Octal umask for the command. */
  readonly umask?: string;
}

/** Runs ./bazelw in a workspace. */
export function bazel(workspace: string, words: readonly string[], options: BazelOptions = {}): BazelResult {
  const script = `${options.umask === undefined ? '' : `umask ${options.umask}; `}exec ./bazelw "$@"`;
  const result: SpawnSyncReturns<string> = spawnSync('/bin/sh', ['-c', script, 'sh', ...words], {
    cwd: workspace,
    encoding: 'utf8',
    env: { ...process.env, ...options.env },
    maxBuffer: 1 << 28,
  });
  if (result.error !== undefined) throw result.error;
  return { exitCode: result.status ?? -1, output: result.stdout + result.stderr };
}

/** Builds and demands success. */
export function build(workspace: string, words: readonly string[], options: BazelOptions = {}): BazelResult {
  const result = bazel(workspace, ['build', ...words], options);
  expect(result.exitCode, result.output).toBe(0);
  return result;
}

/** Builds and demands failure with an error code of the house. */
export function buildFails(workspace: string, words: readonly string[], code: string): BazelResult {
  const result = bazel(workspace, ['build', ...words]);
  expect(result.exitCode, result.output).not.toBe(0);
  expect(result.output).toContain(`error ${code} `);
  return result;
}

/** Builds, and answers the mnemonics of the actions that ran, sorted; cached ones are not in it. */
export function ran(workspace: string, words: readonly string[]): string[] {
  const log = join(mkdtempSync(join(tmpdir(), 'cvm-execution-')), 'log.json');
  build(workspace, [...words, `--execution_log_json_file=${log}`]);
  const text = readFileSync(log, 'utf8').trim();
  rmSync(dirname(log), { recursive: true });
  // The log is one JSON object after the other.
  const spawns =
    text === '' ? [] : (JSON.parse(`[${text.replace(/\}\s*\{/g, '},{')}]`) as { mnemonic: string }[]);
  return [...new Set(spawns.map((spawn) => spawn.mnemonic))].sort();
}

/** A file's sha256, in hex. */
export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
