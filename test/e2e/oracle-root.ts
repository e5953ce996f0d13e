import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { ORACLES_REQUIRED } from '../cross/oracle.ts';

const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');

/** A pattern for the roots that ./bazelw makes; there is none where Bazel came another way. */
export const BAZEL_ROOTS = join(cache, 'rules_cvm/bazel-root-*[0-9]');

/** A root with a real kernel in it. */
const root = globSync(join(BAZEL_ROOTS, 'boot/vmlinuz-*')).map((path) => dirname(dirname(path)))[0];

export const REAL_PARTS_MISSING =
  root === undefined ? 'no Bazel root with a kernel (package linux-image-cloud-amd64)' : undefined;

if (REAL_PARTS_MISSING !== undefined && ORACLES_REQUIRED)
  throw new Error(`oracle required, not found: ${REAL_PARTS_MISSING}`);

/** The one file that a pattern names inside the root. */
export function realPart(pattern: string): string {
  const [path, ...others] = globSync(join(root ?? '', pattern));
  if (path === undefined || others.length > 0) throw new Error(`not exactly one ${pattern} in the root`);
  return path;
}

/** Whether the root has a program. */
export const inRoot = (path: string): boolean => root !== undefined && existsSync(join(root, path));

/** How bwrap is called to run a program of a root; the machine's /tmp is its own. */
export function rootWords(root: string, command: string, words: readonly string[]): string[] {
  return [
    ...['--bind', root, '/', '--dev-bind', '/dev', '/dev', '--proc', '/proc', '--bind', '/tmp', '/tmp'],
    ...['--unshare-pid', '--die-with-parent', '--setenv', 'PATH', '/usr/sbin:/usr/bin:/sbin:/bin'],
    ...['--setenv', 'LC_ALL', 'C', '--', command, ...words],
  ];
}

/** Runs a program of the root to its end. @returns what it printed */
export function runInRoot(command: string, words: readonly string[]): string {
  return execFileSync('bwrap', rootWords(root ?? '', command, words), {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 300_000,
  });
}

/** Starts a program of the root. */
export function startInRoot(command: string, words: readonly string[]): { stop(): Promise<void> } {
  const child = spawn('bwrap', rootWords(root ?? '', command, words), { stdio: 'ignore' });
  const ended = once(child, 'exit');
  return {
    stop: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
