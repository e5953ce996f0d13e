/** What a provenance says, against the files that it is about and against what somebody expects. */
import { formatError, mismatchError, trustError, type CvmError } from '../errors.ts';
import type { Lock } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ReleaseContents, VerifyOptions } from './contents.ts';
import type { ProposalNames } from './judge-files.ts';
import { PRODUCTION, RELEASE_FILES } from './layout.ts';
import { DEPENDENCIES, type Provenance } from './statement.ts';
import type { VerdictLog } from './verdicts.ts';

/** What is no release says so in three places; what is one, in none. */
export function judgeKind(
  log: VerdictLog,
  { files }: ReleaseContents,
  provenance: Provenance | undefined,
  network: NetworkName,
): void {
  const hasNotice = files.has(RELEASE_FILES.notice) || provenance?.parameters.notice !== undefined;
  if (network !== PRODUCTION.network) {
    log.leaveOut('kind', `NOT FOR PRODUCTION: judged by the key of ${network}, which is public`);
    return;
  }
  if (provenance === undefined && !hasNotice) {
    log.leaveOut('kind', 'needs the provenance');
    return;
  }
  log.take(
    'kind',
    () => {
      const buildType = provenance?.buildType ?? '(no provenance)';
      if (!hasNotice && buildType === PRODUCTION.buildType) return;
      const message = hasNotice
        ? 'this says of itself that it is no release'
        : 'the provenance is not that of a release';
      throw trustError('RELEASE_KIND', message, {
        facts: [
          ['build type', buildType],
          ['notice', hasNotice ? 'NOT FOR PRODUCTION' : 'none'],
        ],
        mend: 'never use it in production',
      });
    },
    () => 'a release of mainnet',
  );
}

/** The provenance speaks of every file but itself and the sums, and of no other. */
export function judgeSubjects(log: VerdictLog, { files }: ReleaseContents, { subject }: Provenance): void {
  log.take(
    'subjects',
    () => {
      const own: readonly string[] = [RELEASE_FILES.sums, RELEASE_FILES.provenance];
      const named = new Map(subject.map(({ name, digest }) => [name, digest['sha256']]));
      const wrong = [...new Set([...named.keys(), ...files.keys()])].filter(
        (name) => !own.includes(name) && named.get(name) !== files.get(name)?.sha256,
      );
      const [first] = wrong;
      if (first === undefined) return;
      throw mismatchError('PROVENANCE_SUBJECT', `the provenance is not of ${first} as it is here`, {
        facts: wrong.flatMap((name) => [
          [`provenance ${name}`, named.get(name) ?? '(not a subject)'],
          [`found ${name}`, files.get(name)?.sha256 ?? '(missing)'],
        ]),
        mend: 'fetch the whole release again; if it stays so, do not use it',
      });
    },
    () => 'the subjects of the provenance are the files that are here',
  );
}

/** What went in: as far as it is in the release, by its digest; the rest has to be named. */
export function judgeInputs(
  log: VerdictLog,
  contents: ReleaseContents,
  provenance: Provenance,
  proposal: ProposalNames | undefined,
  lock: Lock | undefined,
  options: VerifyOptions,
): void {
  const { files } = contents;
  const digestOf = (name: string): string | undefined =>
    provenance.resolvedDependencies.find((input) => input.name === name)?.digest['sha256'];
  log.take(
    'inputs',
    () => {
      const expected: (readonly [string, string | undefined])[] = [
        [DEPENDENCIES.lock, files.get(RELEASE_FILES.lock)?.sha256],
        [`parameter ${DEPENDENCIES.lock}`, files.get(RELEASE_FILES.lock)?.sha256],
        ...(proposal === undefined
          ? []
          : ([
              [DEPENDENCIES.proposal, files.get(proposal.certificate)?.sha256],
              [DEPENDENCIES.request, files.get(proposal.request)?.sha256],
            ] as const)),
        ...(lock === undefined || 'target' in lock.base
          ? []
          : ([[DEPENDENCIES.base, lock.base.sha256]] as const)),
      ];
      for (const [name, sha256] of expected) {
        const named = name.startsWith('parameter ') ? provenance.parameters.lock.sha256 : digestOf(name);
        if (named !== undefined && named === sha256) continue;
        throw mismatchError('PROVENANCE_INPUT', 'the provenance names another input than the release holds', {
          facts: [
            ['input', name],
            ['provenance', named ?? '(not named)'],
            ['release', sha256 ?? '(missing)'],
          ],
          mend: 'fetch the whole release again; if it stays so, do not use it',
        });
      }
      for (const name of [
        DEPENDENCIES.base,
        DEPENDENCIES.packageLock,
        DEPENDENCIES.tool,
        DEPENDENCIES.node,
      ]) {
        if (digestOf(name) === undefined) throw lacksInput(name);
      }
      if (revisionOf(provenance) === undefined) throw lacksInput(DEPENDENCIES.source);
      if (provenance.parameters.network !== options.network) {
        throw mismatchError('PROVENANCE_NETWORK', 'the provenance is of another network', {
          facts: [
            ['provenance', provenance.parameters.network],
            ['asked for', options.network],
          ],
          mend: 'do not use the release: its files are not of one build',
        });
      }
    },
    () =>
      'lock, proposal, request and base are those of the provenance; tool, Node.js, package lock and source are named',
  );
  judgeExpectation(
    log,
    'builder',
    provenance.builderId,
    options.builderId,
    '--builder-id',
    'the provenance is not signed',
  );
  judgeExpectation(
    log,
    'source',
    revisionOf(provenance) ?? '(none)',
    options.revision,
    '--revision',
    'check it out, build it, and compare the sha256',
  );
}

/** What only the provenance says is proven by nothing; it can be held against what somebody expects. */
function judgeExpectation(
  log: VerdictLog,
  name: string,
  found: string,
  expected: string | undefined,
  flag: string,
  hint: string,
): void {
  if (expected === undefined) {
    log.leaveOut(name, `the provenance says ${found}; ${hint} (${flag})`);
    return;
  }
  log.take(
    name,
    () => {
      if (found === expected) return;
      throw mismatchError('PROVENANCE_EXPECTED', `the provenance names another ${name} than expected`, {
        facts: [
          ['expected', expected],
          ['provenance', found],
        ],
        mend: `take the release of the ${name} that you want`,
      });
    },
    () => `${found}, as expected`,
  );
}

function lacksInput(name: string): CvmError {
  return formatError('PROVENANCE_INPUT_MISSING', 'the provenance does not name an input by its digest', {
    facts: [['input', name]],
    mend: 'take the provenance from its release',
  });
}

/** The commit that the provenance names. */
export function revisionOf({ resolvedDependencies }: Provenance): string | undefined {
  return resolvedDependencies.find(({ name }) => name === DEPENDENCIES.source)?.digest['gitCommit'];
}
