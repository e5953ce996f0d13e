import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { VERSION } from '../../../tools/version.ts';

test('the tool, package.json and package-lock.json agree on the version', () => {
  for (const file of ['package.json', 'package-lock.json']) {
    const text = readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8');
    expect((JSON.parse(text) as { version: string }).version, file).toBe(VERSION);
  }
});
