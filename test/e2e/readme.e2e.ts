import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';

const here = inject('here');
const readme = readFileSync(join(here, 'README.md'), 'utf8');

/** The commands of all `console` blocks: lines that begin with `$ `, with the output that the README promises. */
function commands(): { command: string; output: string[] }[] {
  const found: { command: string; output: string[] }[] = [];
  for (const [, block] of readme.matchAll(/^```console\n([\s\S]*?)^```$/gm)) {
    for (const line of (block ?? '').trimEnd().split('\n')) {
      if (line.startsWith('$ ')) found.push({ command: line.slice(2), output: [] });
      else found.at(-1)?.output.push(line);
    }
  }
  return found;
}

describe('README', () => {
  test('has commands', () => {
    expect(commands().length).toBeGreaterThan(2);
  });

  // The test command is .ci/run's own; running it in here would run it twice.
  test.each(commands().filter(({ command }) => !command.startsWith('./bazelw test')))(
    '$command',
    ({ command, output }) => {
      const result = spawnSync('/bin/sh', ['-c', command], {
        cwd: here,
        encoding: 'utf8',
        maxBuffer: 1 << 28,
      });
      const all = result.stdout + result.stderr;
      expect(result.status, all).toBe(0);
      // `…` stands for what differs from machine to machine.
      for (const line of output) {
        for (const part of line.split('…')) expect(all).toContain(part.trim());
      }
    },
  );
});
