import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';

/** A result that was obtained with other code: see the README beside `expected.json`. */
const caseSchema = v.object({
  file: v.string(),
  root_key: v.picklist(['mainnet', 'test']),
  canister: v.string(),
  certificate: v.picklist(['ok', 'fails: ranges', 'fails: delegation', 'fails: signature']),
  root_hash: v.optional(v.string()),
  proposal_error_stage: v.optional(v.string()),
  time_leb128: v.optional(v.string()),
  agent_3_4_3: v.string(),
});

const expectedSchema = v.object({
  root_keys: v.object({ mainnet: v.string(), test: v.string() }),
  cases: v.array(caseSchema),
});

export type VectorCase = v.InferOutput<typeof caseSchema>;

export interface Vectors {
  readonly rootKeys: { readonly mainnet: string; readonly test: string };
  readonly cases: readonly VectorCase[];
  file(name: string): Uint8Array;
}

function readVectors(folder: string): Vectors {
  const expected = v.parse(expectedSchema, JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')));
  return {
    rootKeys: expected.root_keys,
    cases: expected.cases,
    file: (name) => readFileSync(join(folder, name)),
  };
}

/** The vectors that are kept here. */
export const ownVectors = readVectors(fileURLToPath(new URL('../vectors/nns', import.meta.url)));

const shared = process.env['CVM_SHARED_VECTORS'];

/** Real certificates, where somebody has them; see test/vectors/nns/README.md. */
export const sharedVectors = shared === undefined ? undefined : readVectors(join(shared, 'nns'));

/** What to add to a test's name, so that a run says what it did not do. */
export const SHARED_SUFFIX = sharedVectors === undefined ? ' (skipped: no shared vectors)' : '';
