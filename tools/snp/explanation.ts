import * as v from 'valibot';
import { bytesToHex } from '../bytes/hex.ts';
import { formatError } from '../errors.ts';
import type { LaunchStep } from './launch-digest.ts';
import type { LegacyStep } from './legacy-digest.ts';

const hex = (digits: number): v.GenericSchema<string> =>
  v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${digits}}$`)));
const anyHex = v.pipe(v.string(), v.regex(/^0x[0-9a-f]{1,16}$/));
const short = v.pipe(v.string(), v.maxLength(100));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const digest = v.union([hex(96), hex(64)]);

/** One step as it stands in JSON: what went in, and the digest after it. */
const stepSchema = v.strictObject({
  what: v.picklist(['firmware', 'svsm', 'section', 'hashes', 'vmsa']),
  name: short,
  /** Of SNP only. */
  pageType: v.nullable(short),
  gpa: v.nullable(anyHex),
  /** Pages of SNP, bytes of SEV and SEV-ES. */
  pages: v.nullable(count),
  bytes: v.nullable(count),
  /** SHA-384 (SNP) or SHA-256 of the content; null where none enters, or where it was not at hand. */
  content: v.nullable(digest),
  /** What the content says: hashes of kernel, initrd and command line, or registers. */
  fields: v.record(v.string(), v.string()),
  digest,
});
export type ExplainedStep = v.InferOutput<typeof stepSchema>;

const explanationSchema = v.strictObject({
  explanation: v.literal(1),
  mode: v.picklist(['sev', 'seves', 'snp', 'snp:svsm']),
  vmmType: short,
  measurement: digest,
  guest: v.strictObject({
    vcpus: v.nullable(count),
    vcpuType: v.nullable(short),
    vcpuSig: v.nullable(anyHex),
    guestFeatures: v.nullable(anyHex),
    cmdline: v.nullable(v.string()),
  }),
  steps: v.pipe(v.array(stepSchema), v.minLength(1), v.maxLength(10_000)),
});

/** A launch digest with the way there: what `cvm snp explain --json` prints. */
export type Explanation = v.InferOutput<typeof explanationSchema>;

/** Fields of a step, by what it is: 0 is the boot processor's page, 1 that of all others. */
export interface StepFields {
  readonly hashes: Readonly<Record<string, string>>;
  readonly vmsa: (vcpu: number) => Readonly<Record<string, string>>;
}

export function explainedSnpSteps(steps: readonly LaunchStep[], fields: StepFields): ExplainedStep[] {
  let vcpu = 0;
  return steps.map((step) => ({
    what: step.what,
    name: step.name,
    pageType: step.pageType,
    gpa: `0x${step.gpa.toString(16)}`,
    pages: step.pages,
    bytes: null,
    content: step.contentSha384 === undefined ? null : bytesToHex(step.contentSha384),
    fields:
      step.what === 'vmsa'
        ? { ...fields.vmsa(vcpu++) }
        : step.what === 'section' && step.pageType === 'normal'
          ? { ...fields.hashes }
          : {},
    digest: bytesToHex(step.digest),
  }));
}

export function explainedLegacySteps(steps: readonly LegacyStep[], fields: StepFields): ExplainedStep[] {
  let vcpu = 0;
  return steps.map((step) => ({
    what: step.what,
    name: step.name,
    pageType: null,
    gpa: null,
    pages: null,
    bytes: step.bytes,
    content: bytesToHex(step.contentSha256),
    fields:
      step.what === 'vmsa' ? { ...fields.vmsa(vcpu++) } : step.what === 'hashes' ? { ...fields.hashes } : {},
    digest: bytesToHex(step.digest),
  }));
}

/**
 * Reads what `cvm snp explain --json` wrote.
 * @throws CvmError format EXPLANATION_JSON
 */
export function readExplanation(text: string, name: string): Explanation {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed(name, 'it is not JSON', cause);
  }
  const parsed = v.safeParse(explanationSchema, value, { abortEarly: true });
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw malformed(name, `${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`, undefined);
  }
  const { steps, measurement } = parsed.output;
  if (steps.at(-1)?.digest !== measurement)
    throw malformed(name, "the last step's digest is not the measurement", undefined);
  return parsed.output;
}

function malformed(name: string, why: string, cause: unknown): Error {
  return formatError('EXPLANATION_JSON', 'the explanation is malformed', {
    facts: [
      ['file', name],
      ['why', why],
    ],
    mend: 'make the file with cvm snp explain --json',
    cause,
  });
}
