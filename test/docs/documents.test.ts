import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { documents } from '../../docs/generator/documents.ts';

const docs = new URL('../../docs/', import.meta.url);
const committed = (name: string): string => readFileSync(new URL(name, docs), 'utf8');

// What Bazel's starlark_doc_extract wrote; without Bazel around there is nothing to compare with.
const extracted = (process.env['CVM_MODULE_DOCS'] ?? '').split(' ').filter((path) => path !== '');
const runfiles = process.env['TEST_SRCDIR'] ?? '';

describe.skipIf(extracted.length === 0)(
  extracted.length === 0 ? 'skipped: no docstrings outside Bazel (./bazelw test //test:docs_test)' : 'docs/',
  () => {
    let generated: ReadonlyMap<string, string> = new Map();
    beforeAll(async () => {
      generated = await documents(committed, (name) => {
        const path = extracted.find((candidate) => candidate.endsWith(`/${name}_doc.binaryproto`));
        return readFileSync(join(runfiles, path ?? `${name}_doc.binaryproto is not declared`));
      });
    });

    test.each(['flow.svg', 'cli.md', 'rules.md'])('%s says what the code says', (name) => {
      expect(committed(name), `docs/${name} is not what the code says: ./bazelw run //docs:update`).toBe(
        generated.get(name),
      );
    });

    test('nothing else is generated', () => {
      expect([...generated.keys()]).toEqual(['flow.svg', 'cli.md', 'rules.md']);
    });
  },
);
