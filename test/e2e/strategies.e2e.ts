import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, inject, test } from 'vitest';
import { bazel, build } from './bazel.ts';

const second = inject('second');
const source = join(second, 'tools/bytes/compare.ts');
const original = readFileSync(source, 'utf8');

afterEach(() => {
  writeFileSync(source, original);
});

test.each(['worker', 'linux-sandbox', 'local'])(
  'a type error fails the build and leaves no output under --strategy=TsProject=%s',
  (strategy) => {
    const flags = [`--strategy=TsProject=${strategy},local`, '//tools'];
    if (strategy !== 'worker') flags[0] = `--strategy=TsProject=${strategy}`;
    const built = join(second, 'bazel-bin/tools/tools.out/tools/bytes/compare.js');
    build(second, flags);
    expect(existsSync(built)).toBe(true);

    appendFileSync(source, "\nexport const wrong: number = 'text';\n");
    const broken = bazel(second, ['build', ...flags]);
    expect(broken.exitCode).not.toBe(0);
    expect(broken.output).toContain('tools/bytes/compare.ts');
    expect(broken.output).toContain('error TS2322');
    expect(existsSync(built)).toBe(false);

    writeFileSync(source, original);
    build(second, flags);
  },
);

test('a type error in a test fails the test target', () => {
  const file = join(second, 'test/unit/bytes/wrong.test.ts');
  writeFileSync(
    file,
    "import { test } from 'vitest';\ntest('x', () => { const n: number = 'text'; void n; });\n",
  );
  try {
    const result = bazel(second, ['test', '//test:unit_bytes']);
    expect(result.exitCode).not.toBe(0);
    expect(result.output).toContain('error TS2322');
  } finally {
    rmSync(file);
  }
});
