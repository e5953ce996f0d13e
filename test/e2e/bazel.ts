import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';

export interface BazelResult {
  readonly exitCode: number;
  /** Standard output and standard error, one after the other. */
  readonly output: string;
}

export interface BazelOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** The bazelw to run, for workspaces that have none of their own. */
  readonly bazelw?: string;
  /** Octal umask for the command. */
  readonly umask?: string;
}

/** Runs ./bazelw in a workspace. */
export function bazel(workspace: string, words: readonly string[], options: BazelOptions = {}): BazelResult {
  const script = `${options.umask === undefined ? '' : `umask ${options.umask}; `}exec "$0" "$@"`;
  const result: SpawnSyncReturns<string> = spawnSync(
    '/bin/sh',
    ['-c', script, options.bazelw ?? './bazelw', ...words],
    {
      cwd: workspace,
      encoding: 'utf8',
      env: { ...process.env, ...options.env },
      maxBuffer: 1 << 28,
    },
  );
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

/** An action that a build ran or took from a cache. What Bazel knew to be up to date is none. */
export interface Spawn {
  readonly mnemonic: string;
  /** `remote`, `remote cache hit`, `linux-sandbox`, … */
  readonly runner: string;
  readonly targetLabel: string;
}

/** Builds, demands success, and gives what ran. */
export function spawnsOf(workspace: string, words: readonly string[]): readonly Spawn[] {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-spawns-'));
  try {
    const log = join(folder, 'execution.json');
    build(workspace, [...words, `--execution_log_json_file=${log}`]);
    const text = readFileSync(log, 'utf8').trim();
    // The log is one JSON object after the other.
    return text === '' ? [] : (JSON.parse(`[${text.replace(/\}\s*\{/g, '},{')}]`) as Spawn[]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Builds, and answers the mnemonics of the actions that ran, sorted. */
export function ran(workspace: string, words: readonly string[]): string[] {
  return [...new Set(spawnsOf(workspace, words).map(({ mnemonic }) => mnemonic))].sort();
}

/** An action as Bazel plans it; what is empty is left out. */
export interface Action {
  readonly mnemonic: string;
  readonly arguments?: readonly string[];
  readonly environmentVariables?: readonly { readonly key: string; readonly value: string }[];
  readonly executionInfo?: readonly { readonly key: string; readonly value: string }[];
  readonly executionPlatform?: string;
}

/** The actions that `bazel aquery` knows for these words. */
export function actionsOf(workspace: string, words: readonly string[]): readonly Action[] {
  const { exitCode, output } = bazel(workspace, [
    ...[
      'aquery',
      '--output=jsonproto',
      '--include_param_files',
      '--noshow_progress',
      '--ui_event_filters=-info',
    ],
    ...words,
  ]);
  expect(exitCode, output).toBe(0);
  const json = output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1);
  return (JSON.parse(json) as { actions: readonly Action[] }).actions;
}

/** How many there are of each. */
export function count(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of [...words].sort()) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** A file's sha256, in hex. */
export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
