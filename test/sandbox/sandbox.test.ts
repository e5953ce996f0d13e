import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

function attempt(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url), 'utf8')) as Record<
    string,
    unknown
  >;
}

test('an action that opens a socket fails to: it has no way out of its own loopback', () => {
  expect(attempt('socket')).toEqual({ outside: 'ENETUNREACH', interfaces: [] });
});

test('an action that reads a workspace file it did not declare does not find it', () => {
  expect(attempt('undeclared-file')).toEqual({
    readme: 'ENOENT',
    declared: expect.stringMatching(/^read \d+ bytes$/) as unknown,
  });
});

test('an action sees nothing of the environment that Bazel was called with', () => {
  const { names } = attempt('environment') as { names: string[] };
  expect(names.filter((name) => !['TMPDIR', 'PWD', 'SHLVL', '_'].includes(name))).toEqual([]);
});
