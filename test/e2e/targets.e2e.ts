import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { workflowTargets } from '../support/workflow-findings.ts';
import { bazel } from './bazel.ts';

const here = inject('here');
const tracked = (pattern: string): string[] =>
  execFileSync('git', ['ls-files', '-z', pattern], { cwd: here, encoding: 'utf8' }).split('\0').slice(0, -1);

/** Labels that a page hands to ./bazelw of this folder, on lines of code; `<…>` and `…` stand for what a reader fills in. */
function pageTargets(text: string): string[] {
  const commands = [...text.matchAll(/(?<![\w./])\.\/bazelw (?:build|run|test) [^`\n]*/g)].map(
    ([line]) => line,
  );
  return (
    commands
      .flatMap((line) => line.split(' -- ')[0]?.split(/\s+/) ?? [])
      // The end of a sentence is no part of a label; the three dots of `//...` are.
      .map((word) => (word.endsWith('...') ? word : word.replace(/[.,;:)]+$/, '')))
      .filter((word) => word.startsWith('//') && !/[<…]/.test(word))
  );
}

test('every target that a workflow or a page names exists', () => {
  const named = new Map<string, string>();
  for (const file of tracked('.github/workflows/*.yml'))
    for (const label of workflowTargets(readFileSync(join(here, file), 'utf8'))) named.set(label, file);
  for (const file of tracked('*.md'))
    for (const label of pageTargets(readFileSync(join(here, file), 'utf8'))) named.set(label, file);
  expect([...named.keys()]).toContain('//ic-os/guestos/envs/sev-recovery:release.verify');
  for (const [label, file] of named) {
    const { exitCode, output } = bazel(here, ['query', '--noshow_progress', label]);
    expect(exitCode, `${file} names ${label}:\n${output}`).toBe(0);
  }
});
