import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../tools/commands/table.ts';
import { makeFailures } from './runbook-failures.ts';

const root = new URL('../../', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, root), 'utf8');
const runbook = read('docs/operator-runbook.md');

/** The messages that the runbook shows, whole blocks. */
const messages = [...runbook.matchAll(/^```\n(error [\s\S]*?)^```$/gm)].map(([, block]) => block ?? '');

/** Pages that people write, and the codes of errors that they name. */
const pages = ['docs/operator-runbook.md', 'docs/threat-model.md'];
const codesOf = (page: string): Set<string> =>
  new Set(
    [...page.matchAll(/(?:`|^error )([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b(?!=)/gm)].map(([, code]) => code ?? ''),
  );

/** Whether a text is what is shown with `…` for what differs. */
function isShortFor(short: string, whole: string): boolean {
  const parts = short
    .trim()
    .split('…')
    .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^\\n]*')}$`).test(whole.trim());
}

describe('the runbook', () => {
  let shown: ReadonlyMap<string, string> = new Map();
  beforeAll(async () => {
    shown = await makeFailures();
  });

  test('shows each failure as it is', () => {
    expect(messages.length).toBeGreaterThan(10);
    for (const message of messages) {
      const like = [...shown.values()].filter((text) => text.split(':')[0] === message.split(':')[0]);
      expect(
        like.some((text) => isShortFor(message, text)),
        `${message}\nis none of\n${like.join('\n')}`,
      ).toBe(true);
    }
  });

  test('leaves none out', () => {
    for (const [name, text] of shown)
      expect(
        messages.some((message) => isShortFor(message, text)),
        `${name}:\n${text}`,
      ).toBe(true);
  });
});

/** Sources that raise errors: TypeScript and Starlark. */
function sources(folder: string): string[] {
  return readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|bzl)$/.test(name))
    .map((name) => readFileSync(join(new URL(folder, root).pathname, name), 'utf8'));
}

describe.each(pages)('%s', (page) => {
  test('names error codes that there are', () => {
    const raised = [...sources('tools/'), ...sources('rules/private/')].join('\n');
    const codes = codesOf(read(page));
    expect(codes.size).toBeGreaterThan(3);
    for (const code of codes)
      expect(raised, `${page} names ${code}`).toMatch(new RegExp(`['"\`]${code}['"\`]`));
  });

  test('names commands that there are', () => {
    const known = COMMANDS.map(({ noun, verb }) => `${noun} ${verb}`);
    for (const [, words = ''] of read(page).matchAll(/`cvm ([a-z0-9][a-z0-9 -]*)/g))
      expect(
        known.some((name) => words === name || words.startsWith(`${name} `)),
        `cvm ${words}`,
      ).toBe(true);
  });
});

test('a code that no source raises is noticed, and so is a message that was changed', () => {
  expect([...codesOf('`NO_SUCH_CODE` and `XDG_CACHE_HOME=1`')]).toEqual(['NO_SUCH_CODE']);
  expect(isShortFor('error A (exit 1): … b', 'error A (exit 1): a b')).toBe(true);
  expect(isShortFor('error A (exit 1): … b', 'error A (exit 1): a c')).toBe(false);
  expect(isShortFor('error A (exit 1): a', 'error A (exit 1): a\n  fact  b')).toBe(false);
});
