/**
 * Provenance: an in-toto Statement v1 with the predicate SLSA Provenance v1. Source: in-toto attestation framework,
 * spec/v1/{statement,resource_descriptor}.md; SLSA specification v1.0, provenance.
 */
import * as v from 'valibot';
import { jsonText } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
export const PROVENANCE_TYPE = 'https://slsa.dev/provenance/v1';

/** An artifact, by digest. Keys of `digest` are algorithms; `gitCommit` stands for a revision. */
export interface ResourceDescriptor {
  readonly name: string;
  readonly uri?: string;
  readonly digest: Readonly<Record<string, string>>;
}

/** What the build was asked for. */
export interface ReleaseParameters {
  /** The label of the release. */
  readonly target: string;
  readonly network: string;
  /** The lock that pins base and proposal; its content is in the release under this name. */
  readonly lock: { readonly name: string; readonly sha256: string };
  /** What was measured: vCPU counts and QEMU CPU models, in the order of launch-measurements.json. */
  readonly vcpus: readonly number[];
  readonly vcpuTypes: readonly string[];
  readonly chipIds: readonly string[];
  /** In words, where the release is none. */
  readonly notice?: string;
}

export interface Provenance {
  readonly subject: readonly ResourceDescriptor[];
  readonly buildType: string;
  readonly parameters: ReleaseParameters;
  /** Every input that is not a function of another one. */
  readonly resolvedDependencies: readonly ResourceDescriptor[];
  readonly builderId: string;
  /** RFC 3339, when somebody says it; no clock is asked. */
  readonly finishedOn?: string;
}

/** Names of the inputs in `resolvedDependencies`. */
export const DEPENDENCIES = {
  source: 'source',
  base: 'base',
  proposal: 'proposal',
  request: 'request',
  lock: 'lock',
  packageLock: 'package-lock.json',
  tool: 'cvm-build.mjs',
  node: 'node',
} as const;

/** The file's text: two spaces, one order of keys, a newline. */
export function writeProvenance(provenance: Provenance): string {
  const { subject, buildType, parameters, resolvedDependencies, builderId, finishedOn } = provenance;
  const text = `${jsonText(
    {
      _type: STATEMENT_TYPE,
      subject,
      predicateType: PROVENANCE_TYPE,
      predicate: {
        buildDefinition: {
          buildType,
          externalParameters: parameters,
          internalParameters: {},
          resolvedDependencies,
        },
        runDetails: {
          builder: { id: builderId },
          ...(finishedOn === undefined ? {} : { metadata: { finishedOn } }),
        },
      },
    },
    2,
  )}\n`;
  // What is written has to be what is read.
  readProvenance(text);
  return text;
}

const SHA256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits'));
/** RFC 3986: a scheme and something behind it, in printable ASCII. */
const uri = v.pipe(v.string(), v.regex(/^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$/, 'must be a URI'));
const text = v.pipe(v.string(), v.nonEmpty());
const digest = v.pipe(
  v.record(v.string(), v.pipe(v.string(), v.regex(/^[0-9a-f]{32,128}$/, 'must be lower-case hex'))),
  v.check((value) => Object.keys(value).length > 0, 'must name a digest'),
);
/** Whoever verifies measures this many launches squared: far above any real plan. */
const PLAN_LIMIT = 32;
const CHIPS_LIMIT = 10_000;
const timestamp = v.pipe(v.string(), v.isoTimestamp());

/** Further fields are left alone, as the framework's parsing rules demand; what is known has to be right. */
const descriptor = v.looseObject({ name: text, uri: v.optional(uri), digest });
const subject = v.looseObject({ name: text, digest: v.looseObject({ sha256: SHA256 }) });
const parameters = v.looseObject({
  target: text,
  network: text,
  lock: v.looseObject({ name: text, sha256: SHA256 }),
  vcpus: v.pipe(
    v.array(v.pipe(v.number(), v.integer(), v.minValue(1))),
    v.minLength(1),
    v.maxLength(PLAN_LIMIT),
  ),
  vcpuTypes: v.pipe(v.array(text), v.minLength(1), v.maxLength(PLAN_LIMIT)),
  chipIds: v.pipe(v.array(v.pipe(v.string(), v.regex(/^[0-9a-f]{128}$/))), v.maxLength(CHIPS_LIMIT)),
  notice: v.optional(text),
});
const statement = v.looseObject({
  _type: v.literal(STATEMENT_TYPE),
  subject: v.pipe(v.array(subject), v.minLength(1)),
  predicateType: v.literal(PROVENANCE_TYPE),
  predicate: v.looseObject({
    buildDefinition: v.looseObject({
      buildType: uri,
      externalParameters: parameters,
      internalParameters: v.optional(v.looseObject({})),
      resolvedDependencies: v.pipe(v.array(descriptor), v.minLength(1)),
    }),
    runDetails: v.looseObject({
      builder: v.looseObject({ id: uri }),
      metadata: v.optional(
        v.looseObject({
          invocationId: v.optional(v.string()),
          startedOn: v.optional(timestamp),
          finishedOn: v.optional(timestamp),
        }),
      ),
    }),
  }),
});

/**
 * Reads a provenance: every field that Statement v1 and SLSA Provenance v1 require, and those of this build type. Names of
 * subjects and of inputs are unique.
 * @throws CvmError format PROVENANCE
 */
export function readProvenance(json: string): Provenance {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw malformed('it is not JSON', cause);
  }
  const parsed = v.safeParse(statement, value, { abortEarly: true });
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw malformed(`${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`);
  }
  const { subject, predicate } = parsed.output;
  const { buildDefinition, runDetails } = predicate;
  const { externalParameters: found, resolvedDependencies } = buildDefinition;
  requireUnique('subject', subject);
  requireUnique('resolvedDependencies', resolvedDependencies);
  const finishedOn = runDetails.metadata?.finishedOn;
  return {
    subject: subject.map(({ name, digest }) => ({ name, digest: { sha256: digest.sha256 } })),
    buildType: buildDefinition.buildType,
    parameters: {
      target: found.target,
      network: found.network,
      lock: { name: found.lock.name, sha256: found.lock.sha256 },
      vcpus: found.vcpus,
      vcpuTypes: found.vcpuTypes,
      chipIds: found.chipIds,
      ...(found.notice === undefined ? {} : { notice: found.notice }),
    },
    resolvedDependencies: resolvedDependencies.map(({ name, uri, digest }) => ({
      name,
      ...(uri === undefined ? {} : { uri }),
      digest,
    })),
    builderId: runDetails.builder.id,
    ...(finishedOn === undefined ? {} : { finishedOn }),
  };
}

function requireUnique(where: string, list: readonly { readonly name: string }[]): void {
  const names = list.map(({ name }) => name);
  const again = names.find((name, i) => names.indexOf(name) !== i);
  if (again !== undefined) throw malformed(`${where}: two entries are named ${again}`);
}

function malformed(why: string, cause?: unknown): CvmError {
  return formatError(
    'PROVENANCE',
    'the provenance is not an in-toto Statement v1 with SLSA Provenance v1 of a release',
    {
      facts: [['why', why]],
      mend: 'take the file from its release',
      ...(cause === undefined ? {} : { cause }),
    },
  );
}
