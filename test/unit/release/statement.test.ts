import { describe, expect, test } from 'vitest';
import { readProvenance, writeProvenance, type Provenance } from '../../../tools/release/statement.ts';
import { expectRefusal } from '../../support/refusals.ts';

const SHA = 'ab'.repeat(32);
const GOOD: Provenance = {
  subject: [
    { name: 'a.tar.zst', digest: { sha256: SHA } },
    { name: 'b.json', digest: { sha256: 'cd'.repeat(32) } },
  ],
  buildType: 'urn:rules-cvm:guestos-release:v1',
  parameters: {
    target: '//x:release',
    network: 'mainnet',
    lock: { name: 'pins.lock.json', sha256: SHA },
    vcpus: [64],
    vcpuTypes: ['EPYC-v4'],
    chipIds: [],
  },
  resolvedDependencies: [
    { name: 'source', digest: { gitCommit: '01'.repeat(20) } },
    { name: 'base', uri: 'https://releases.example/x', digest: { sha256: SHA } },
  ],
  builderId: 'urn:rules-cvm:bazel',
};

type Json = Record<string, unknown>;
const written = (over: Partial<Provenance> = {}): Json =>
  JSON.parse(writeProvenance({ ...GOOD, ...over })) as Json;

/** The value at a path; `null` in a path stands for every element of a list. */
function at(value: unknown, path: readonly (string | null)[]): unknown[] {
  const [step, ...rest] = path;
  if (step === undefined) return [value];
  if (step === null) return (value as unknown[]).flatMap((item) => at(item, rest));
  return at((value as Json)[step], rest);
}

/**
 * What the published schemas require. in-toto Statement v1 (spec/v1/statement.md): _type, subject with a digest each,
 * predicateType. SLSA Provenance v1.0 (provenance#model): buildDefinition.buildType, buildDefinition.externalParameters,
 * runDetails.builder.id. A ResourceDescriptor has one of uri, digest, content.
 */
const BUILD = ['predicate', 'buildDefinition'] as const;
const REQUIRED: readonly (readonly (string | null)[])[] = [
  ['_type'],
  ['subject'],
  ['subject', null, 'digest'],
  ['predicateType'],
  ['predicate'],
  [...BUILD],
  [...BUILD, 'buildType'],
  [...BUILD, 'externalParameters'],
  ['predicate', 'runDetails'],
  ['predicate', 'runDetails', 'builder'],
  ['predicate', 'runDetails', 'builder', 'id'],
];

test('what is written has every field that the schemas require, of the right type', () => {
  const statement = written();
  for (const path of REQUIRED) expect(at(statement, path), path.join('.')).not.toContain(undefined);
  expect(statement['_type']).toBe('https://in-toto.io/Statement/v1');
  expect(statement['predicateType']).toBe('https://slsa.dev/provenance/v1');
  // TypeURIs, and digest sets of lower-case hex by algorithm.
  expect(URL.canParse(String(at(statement, [...BUILD, 'buildType'])[0]))).toBe(true);
  expect(URL.canParse(String(at(statement, ['predicate', 'runDetails', 'builder', 'id'])[0]))).toBe(true);
  for (const digest of [
    ...at(statement, ['subject', null, 'digest']),
    ...at(statement, [...BUILD, 'resolvedDependencies', null, 'digest']),
  ] as Record<string, string>[]) {
    for (const [algorithm, hex] of Object.entries(digest)) {
      expect(['sha256', 'gitCommit']).toContain(algorithm);
      expect(hex).toMatch(/^[0-9a-f]+$/);
    }
  }
});

test('no other fields than those of the schemas', () => {
  const keys = (path: readonly string[]): string[] =>
    Object.keys(at(written({ finishedOn: '2026-01-02T03:04:05Z' }), path)[0] as Json);
  expect(keys([])).toEqual(['_type', 'subject', 'predicateType', 'predicate']);
  expect(keys(['predicate'])).toEqual(['buildDefinition', 'runDetails']);
  expect(keys(BUILD)).toEqual([
    'buildType',
    'externalParameters',
    'internalParameters',
    'resolvedDependencies',
  ]);
  expect(keys(['predicate', 'runDetails'])).toEqual(['builder', 'metadata']);
});

test('no time unless one is stated', () => {
  expect(JSON.stringify(written())).not.toMatch(/startedOn|finishedOn|metadata|\d{4}-\d{2}-\d{2}T/);
  expect(
    at(written({ finishedOn: '2026-01-02T03:04:05Z' }), ['predicate', 'runDetails', 'metadata']),
  ).toEqual([{ finishedOn: '2026-01-02T03:04:05Z' }]);
});

test('what was written is read', () => {
  expect(readProvenance(writeProvenance(GOOD))).toEqual(GOOD);
  const full: Provenance = {
    ...GOOD,
    finishedOn: '2026-01-02T03:04:05Z',
    parameters: { ...GOOD.parameters, notice: 'NOT FOR PRODUCTION' },
  };
  expect(readProvenance(writeProvenance(full))).toEqual(full);
});

describe('refused', () => {
  /** The statement without what is at a path. */
  function without(path: readonly (string | null)[]): string {
    const statement = written();
    for (const parent of at(statement, path.slice(0, -1)) as Json[])
      Reflect.deleteProperty(parent, path.at(-1) as string);
    return JSON.stringify(statement);
  }

  test.each(REQUIRED.map((path) => [path.join('.'), path] as const))('without %s', (_, path) => {
    expectRefusal(() => readProvenance(without(path)), 'PROVENANCE', 'format');
  });

  test.each([
    [['_type'], 'https://in-toto.io/Statement/v0.1'],
    [['predicateType'], 'https://slsa.dev/provenance/v0.2'],
    [['subject'], []],
    [['subject'], [{ name: 'a', digest: {} }]],
    [['subject'], [{ name: 'a', digest: { sha256: SHA.toUpperCase() } }]],
    [['subject'], [{ name: 'a', digest: { sha1: 'ab'.repeat(20) } }]],
    [['subject'], [{ name: '', digest: { sha256: SHA } }]],
    [['subject'], [GOOD.subject[0], GOOD.subject[0]]],
    [[...BUILD, 'buildType'], 'not a uri'],
    [[...BUILD, 'externalParameters'], {}],
    [[...BUILD, 'externalParameters', 'vcpus'], []],
    [[...BUILD, 'externalParameters', 'vcpus'], [0]],
    [[...BUILD, 'externalParameters', 'vcpus'], Array.from({ length: 33 }, (_, i) => i + 1)],
    [[...BUILD, 'externalParameters', 'vcpuTypes'], Array.from({ length: 33 }, () => 'EPYC-v4')],
    [[...BUILD, 'externalParameters', 'chipIds'], ['2a']],
    [[...BUILD, 'resolvedDependencies'], []],
    [[...BUILD, 'resolvedDependencies'], [{ name: 'base', digest: {} }]],
    [[...BUILD, 'resolvedDependencies'], [{ name: 'base', digest: { sha256: 'xy' } }]],
    [
      [...BUILD, 'resolvedDependencies'],
      [GOOD.resolvedDependencies[1], GOOD.resolvedDependencies[1]],
    ],
    [['predicate', 'runDetails', 'builder', 'id'], ''],
    [['predicate', 'runDetails', 'metadata'], { finishedOn: 'yesterday' }],
  ] as const)('with %j being %j', (path, value) => {
    const statement = written();
    const [parent] = at(statement, path.slice(0, -1)) as Json[];
    (parent as Json)[path.at(-1) as string] = value;
    expectRefusal(() => readProvenance(JSON.stringify(statement)), 'PROVENANCE', 'format');
  });

  test.each(['', '[]', 'null', '{', '"x"'])('%j', (text) => {
    expectRefusal(() => readProvenance(text), 'PROVENANCE', 'format');
  });
});

test('fields that are not known are left alone, as the framework demands', () => {
  const statement = written();
  statement['more'] = 1;
  (at(statement, [...BUILD])[0] as Json)['more'] = { x: 1 };
  expect(readProvenance(JSON.stringify(statement))).toEqual(GOOD);
});
