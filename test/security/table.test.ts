/** SECURITY.md names checks, error codes and tests. What it says has to be so. */
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

interface Row {
  readonly check: string;
  readonly codes: readonly string[];
  readonly attack: string;
  readonly tests: readonly { readonly file: string; readonly name: string }[];
}

/** The rows of the table below the heading. */
function table(markdown: string): Row[] {
  const section = markdown
    .split(/^## /m)
    .find((part) => part.startsWith('Each check of a certified proposal'));
  const lines = (section ?? '').split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) => {
    const [check = '', codes = '', attack = '', tests = ''] = line
      .slice(1, -1)
      .split(' | ')
      .map((cell) => cell.trim().replaceAll('\\|', '|').replaceAll('\\_', '_'));
    return {
      check,
      codes: [...codes.matchAll(/`([A-Z0-9_]+)`/g)].map(([, code]) => code as string),
      attack,
      tests: tests.split('; `').map((part) => {
        const [, file = '', name = ''] = /^`?([^`]+)`: (.*)$/.exec(part) ?? [];
        return { file: `test/${file}`, name };
      }),
    };
  });
}

const ROWS = table(read('SECURITY.md'));

/** Every error code that stands in these sources. */
function codesIn(paths: readonly string[]): Set<string> {
  const codes = new Set<string>();
  for (const path of paths) {
    for (const [, code] of read(path).matchAll(/'([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|LEB128)'/g))
      codes.add(code as string);
  }
  return codes;
}

const folder = (path: string): string[] =>
  readdirSync(new URL(path, root))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${path}/${name}`);

/** What decides; and what fetches, where a host could interfere. */
const DECIDING = ['tools/cbor', 'tools/nns', 'tools/candid', 'tools/proposal'].flatMap(folder);
const FETCHING = ['bounded-fetch', 'download-proposal', 'proxy'].map((name) => `tools/update/${name}.ts`);
/** Names of the same form that are no codes. */
const NO_CODES = ['HTTPS_PROXY', 'NO_PROXY'];

test('the table is there', () => {
  expect(ROWS.length).toBeGreaterThan(20);
  for (const { check, attack, tests } of ROWS) {
    expect(check).not.toBe('');
    expect(attack, check).not.toBe('');
    expect(tests.length, check).toBeGreaterThan(0);
  }
});

describe('every named test exists', () => {
  test.each(ROWS.flatMap(({ tests }) => tests))('$file: $name', ({ file, name }) => {
    expect(name).not.toBe('');
    const quoted = [`'${name}'`, `"${name}"`, `\`${name}\``];
    const source = read(file);
    expect(
      quoted.some((text) => source.includes(text)),
      `${file} has no test named ${name}`,
    ).toBe(true);
  });
});

test('every error code of what decides and what fetches stands in the table', () => {
  const listed = new Set(ROWS.flatMap(({ codes }) => codes));
  const known = [...codesIn([...DECIDING, ...FETCHING])].filter((code) => !NO_CODES.includes(code));
  expect(known.length).toBeGreaterThan(60);
  expect(known.filter((code) => !listed.has(code))).toEqual([]);
});

test('every code in the table is one that is thrown', () => {
  const commands = ['tools/commands/proposal-verify.ts', 'tools/commands/proposal-download.ts'];
  const known = codesIn([...DECIDING, ...FETCHING, ...commands]);
  expect(ROWS.flatMap(({ codes }) => codes).filter((code) => !known.has(code))).toEqual([]);
});
