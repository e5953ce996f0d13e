import { trustError, type CvmError, type Fact } from '../errors.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ReleaseKind } from './layout.ts';

/** What the gate decides on. */
export interface GateInput {
  /** Of the lock. */
  readonly network: NetworkName;
  /** `STABLE_GIT_REVISION` of the build: `<commit>`, `<commit>-dirty`, `unknown`; undefined when nothing says it. */
  readonly revision: string | undefined;
  /** Whether the request that the certificate answers is there. */
  readonly hasRequest: boolean;
  /** Why the images are not valid; null when they are; undefined when they were not looked at, since it is refused anyway. */
  readonly invalid: CvmError | null | undefined;
}

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly facts: readonly Fact[];
  readonly mend: string;
  readonly cause?: CvmError;
}

/** SHA-1 or SHA-256, as git prints them. */
const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const DIRTY = /^(?:[0-9a-f]{40}|[0-9a-f]{64})-dirty$/;

/**
 * Whether these images may be released, and every reason why not. Reasons that need no image are given without one.
 * @returns the commit that they were built from
 * @throws CvmError trust GATE_DEV_NETWORK | GATE_NETWORK | GATE_REVISION_UNKNOWN | GATE_REVISION_DIRTY | GATE_REQUEST_UNBOUND |
 *   GATE_IMAGE_UNVALIDATED: the first reason, the others among its facts
 */
export function passGate(kind: ReleaseKind, input: GateInput): string {
  const [first, ...others] = refusals(kind, input);
  if (first !== undefined) {
    throw trustError(first.code, first.message, {
      facts: [
        ...first.facts,
        ...others.flatMap(({ code, message, mend }): Fact[] => [
          ['also', `${code}: ${message}`],
          ['mend of that', mend],
        ]),
      ],
      mend: first.mend,
      ...(first.cause === undefined ? {} : { cause: first.cause }),
    });
  }
  return input.revision ?? '';
}

function refusals(kind: ReleaseKind, { network, revision, hasRequest, invalid }: GateInput): Refusal[] {
  return [
    ...networkRefusals(kind, network),
    ...revisionRefusals(revision),
    ...(hasRequest
      ? []
      : [
          {
            code: 'GATE_REQUEST_UNBOUND',
            message:
              'the certificate comes without the request that it answers, so it does not say what was asked',
            facts: [['missing', '<id>.request.cbor']] satisfies Fact[],
            mend: "pin the proposal again: run the environment's target pin with --proposal=<id>",
          },
        ]),
    ...(invalid === null || invalid === undefined
      ? []
      : [
          {
            code: 'GATE_IMAGE_UNVALIDATED',
            message: 'the images do not pass the checks that every release passes',
            facts: [['reason', `${invalid.code}: ${invalid.message}`], ...invalid.facts] satisfies Fact[],
            mend: invalid.mend ?? 'build the images anew from the lock, and release what was built',
            cause: invalid,
          },
        ]),
  ];
}

function networkRefusals(kind: ReleaseKind, network: NetworkName): Refusal[] {
  if (network === kind.network) return [];
  const facts: Fact[] = [
    ['network of the lock', network],
    ['released are', `images of ${kind.network}`],
  ];
  if (network === 'dev') {
    return [
      {
        code: 'GATE_DEV_NETWORK',
        message:
          'the lock pins the dev network, whose signing key is public: such an image is never released',
        facts,
        mend: "pin a base release and an executed proposal of mainnet: run the environment's target pin with --base=<commit> --proposal=<id>",
      },
    ];
  }
  return [
    {
      code: 'GATE_NETWORK',
      message: `the lock pins ${network}, and this tool rehearses releases of ${kind.network} alone`,
      facts,
      mend: 'release it with cvm release create',
    },
  ];
}

function revisionRefusals(revision: string | undefined): Refusal[] {
  if (revision !== undefined && COMMIT.test(revision)) return [];
  if (revision !== undefined && DIRTY.test(revision)) {
    return [
      {
        code: 'GATE_REVISION_DIRTY',
        message: 'the checkout held changes that no commit has, so nobody could build this again',
        facts: [['STABLE_GIT_REVISION', revision]],
        mend: 'commit or remove what git status lists, and build again',
      },
    ];
  }
  return [
    {
      code: 'GATE_REVISION_UNKNOWN',
      message: 'nothing says which revision of the source this was built from',
      facts: [['STABLE_GIT_REVISION', revision ?? '(not set)']],
      mend:
        'build in a git checkout, with --workspace_status_command set to tools/workspace-status.sh as in .bazelrc, ' +
        'or to a program of yours that prints STABLE_GIT_REVISION and the full commit',
    },
  ];
}

/**
 * `STABLE_GIT_REVISION` of Bazel's stable status file: lines of a key, a space and a value.
 * @returns undefined when it is not set
 */
export function revisionOfStatus(text: string): string | undefined {
  for (const line of text.split('\n')) {
    const [, value] = /^STABLE_GIT_REVISION ([^\r]*)\r?$/.exec(line) ?? [];
    if (value !== undefined) return value.trim();
  }
  return undefined;
}
