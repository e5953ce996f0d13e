/** The whole verdict on a release: what a reviewer runs. */
import { bytesToHex } from '../bytes/hex.ts';
import { digestBytes, type FileIdentity } from '../bytes/digest.ts';
import { utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import type { ByteSource } from '../bytes/source.ts';
import { formatError, mismatchError, trustError, type CvmError } from '../errors.ts';
import { openExt4, type Ext4Image } from '../ext4/reader.ts';
import { PRODUCTION_VCPU_TYPES, PRODUCTION_VCPUS } from '../guestos/layout.ts';
import { hexToBytes } from '../bytes/hex.ts';
import { parseLock, proposalFileNames, type BaseFile, type Lock } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { requireBaseTree } from './base-tree.ts';
import { judgeImages, type ReleaseImage } from './images.ts';
import { isReleaseName, PRODUCTION, RELEASE_FILES } from './layout.ts';
import { readBill, writeBill } from './spdx.ts';
import { DEPENDENCIES, readProvenance, type Provenance } from './statement.ts';
import { readSums } from './sums.ts';
import { exitCodeOf, VerdictLog, type Verdict } from './verdicts.ts';

export interface ReleaseContents {
  /** Every file at the top of the folder, by name. */
  readonly files: ReadonlyMap<string, FileIdentity>;
  /** Of `cas/`, which a published release has beside its names. */
  readonly cas: ReadonlyMap<string, FileIdentity>;
  /** What is there and is no file. */
  readonly others: readonly string[];
  /** A small file in whole. */
  read(name: string): Uint8Array;
  /** The update image's members, or why it cannot be opened. */
  readonly update: ReleaseImage | CvmError;
  /** undefined when there is none. */
  readonly disk: ByteSource | CvmError | undefined;
}

export interface VerifyOptions {
  readonly network: NetworkName;
  /** The sha256 of SHA256SUMS from somewhere else. */
  readonly sumsSha256?: string | undefined;
  /** The base release, to hold the boot partition against. */
  readonly base?: { readonly identity: FileIdentity; readonly boot: ByteSource } | undefined;
  /** package-lock.json of the source. */
  readonly packageLock?: Uint8Array | undefined;
  /** The commit that it should be of. */
  readonly revision?: string | undefined;
  /** The builder that it should be from. */
  readonly builderId?: string | undefined;
}

export interface ReleaseVerdict {
  readonly ok: boolean;
  readonly exitCode: number;
  readonly network: NetworkName;
  readonly proposalId: string | null;
  readonly revision: string | null;
  readonly verdicts: readonly Verdict[];
}

/** Files that every release has, besides those of the proposal, whose names hold its id. */
const REQUIRED = [
  RELEASE_FILES.sums,
  RELEASE_FILES.provenance,
  RELEASE_FILES.sbom,
  RELEASE_FILES.lock,
  RELEASE_FILES.measurements,
  RELEASE_FILES.updateImage,
];

/**
 * Takes every step and tells what came of each; nothing throws but mistakes of our own. What stands in the folder is believed
 * for nothing but what was recomputed, or was signed by the network.
 */
export function verifyRelease(contents: ReleaseContents, options: VerifyOptions): ReleaseVerdict {
  const log = new VerdictLog();
  judgeSums(log, contents, options);
  const provenance = log.take(
    'provenance',
    () => readProvenance(readText(contents, RELEASE_FILES.provenance)),
    ({ builderId }) => `in-toto Statement v1, SLSA Provenance v1; it names the builder ${builderId}`,
  );
  const lock = log.take(
    'lock',
    () => requireNetwork(parseLock(readText(contents, RELEASE_FILES.lock)), options.network),
    ({ network }) => `pins ${network}`,
  );
  judgeKind(log, contents, provenance, options.network);
  const found = proposalFiles(log, contents);
  if (provenance !== undefined) {
    judgeSubjects(log, contents, provenance);
    judgeDependencies(log, contents, provenance, found, lock, options);
  } else {
    for (const name of ['subjects', 'inputs', 'source']) log.leaveOut(name, 'needs the provenance');
  }
  let facts: ProposalFacts | undefined;
  let boot: Ext4Image | undefined;
  if (found !== undefined && lock !== undefined) {
    const measurements = log.take(
      'measurements file',
      () => readText(contents, RELEASE_FILES.measurements),
      () => 'there',
    );
    ({ facts, boot } = judgeImages(
      log,
      {
        network: options.network,
        certificate: contents.read(found.certificate),
        request: contents.read(found.request),
        measurements: measurements ?? '',
        chipIds: (provenance?.parameters.chipIds ?? []).map((chip) => hexToBytes(chip, 'chip id')),
        vcpus: provenance?.parameters.vcpus ?? [PRODUCTION_VCPUS],
        vcpuTypes: provenance?.parameters.vcpuTypes ?? PRODUCTION_VCPU_TYPES,
        lock,
      },
      contents.update,
      contents.disk,
    ));
    if (facts !== undefined) judgeLock(log, contents, lock, found, facts);
  } else {
    log.leaveOut('images', 'needs the lock and the files of the proposal');
  }
  judgeBase(log, lock, boot, options);
  judgeBill(log, contents, provenance, options);
  return {
    ok: log.failures.length === 0,
    exitCode: exitCodeOf(log.verdicts),
    network: options.network,
    proposalId: facts?.proposalId.toString() ?? null,
    revision: provenance === undefined ? null : (revisionOf(provenance) ?? null),
    verdicts: log.verdicts,
  };
}

function judgeSums(log: VerdictLog, contents: ReleaseContents, { sumsSha256 }: VerifyOptions): void {
  const { files, cas, others } = contents;
  const entries = log.take(
    'files',
    () => {
      for (const name of REQUIRED) requireFile(files, name);
      const odd = [...others, ...[...files.keys()].filter((name) => !isReleaseName(name))];
      if (odd.length > 0) throw unlisted(odd);
      const listed = readSums(readText(contents, RELEASE_FILES.sums));
      for (const { name } of listed) requireFile(files, name);
      const names = new Set(listed.map(({ name }) => name));
      const extra = [...files.keys()].filter((name) => name !== RELEASE_FILES.sums && !names.has(name));
      if (extra.length > 0) throw unlisted(extra);
      return listed;
    },
    ({ length }) => `${length} files, all of them in ${RELEASE_FILES.sums}`,
  );
  if (entries === undefined) log.leaveOut('sums', `needs a sound ${RELEASE_FILES.sums} and the files it lists`);
  else {
    log.take(
      'sums',
      () => {
        const wrong = entries.filter(({ name, sha256 }) => files.get(name)?.sha256 !== sha256);
        const [first] = wrong;
        if (first === undefined) return;
        throw mismatchError('RELEASE_SHA256', `${first.name} is not the file that ${RELEASE_FILES.sums} lists`, {
          facts: wrong.flatMap(({ name, sha256 }) => [
            [`listed ${name}`, sha256],
            [`found ${name}`, files.get(name)?.sha256 ?? '(missing)'],
          ]),
          mend: 'fetch the file again; if it stays so, do not use the release',
        });
      },
      () => 'every file has the sha256 that is listed',
    );
  }
  const anchor = files.get(RELEASE_FILES.sums)?.sha256;
  if (sumsSha256 === undefined) {
    log.leaveOut(
      'origin',
      `who published this is not proven: compare ${RELEASE_FILES.sums}, sha256 ${anchor ?? '(missing)'}, with an attestation or with your own build (--sums-sha256)`,
    );
  } else {
    log.take(
      'origin',
      () => {
        if (anchor === sumsSha256) return;
        throw trustError('RELEASE_ORIGIN', `${RELEASE_FILES.sums} is another file than it should be`, {
          facts: [
            ['expected sha256', sumsSha256],
            ['found', anchor ?? '(missing)'],
          ],
          mend: 'fetch the release from its publisher',
        });
      },
      () => `${RELEASE_FILES.sums} has the sha256 that was given`,
    );
  }
  if (cas.size > 0) {
    log.take(
      'cas',
      () => {
        const wrong = [...cas].find(([name, { sha256 }]) => name !== sha256);
        if (wrong === undefined) return;
        throw mismatchError('RELEASE_CAS', 'a file below cas/ does not have the sha256 that it is named after', {
          facts: [
            ['name', wrong[0]],
            ['sha256', wrong[1].sha256],
          ],
          mend: 'fetch it again, or remove it',
        });
      },
      () => `${cas.size} files named after their sha256`,
    );
  }
}

function requireFile(files: ReadonlyMap<string, FileIdentity>, name: string): void {
  if (files.has(name)) return;
  throw formatError('RELEASE_FILE_MISSING', 'the release lacks a file', {
    facts: [['file', name]],
    mend: 'fetch the whole release',
  });
}

function unlisted(names: readonly string[]): CvmError {
  return trustError('RELEASE_FILE_UNLISTED', `there is something in the folder that ${RELEASE_FILES.sums} does not list`, {
    facts: names.slice(0, 10).map((name) => ['name', name]),
    mend: 'remove it if it is yours; nothing says that it belongs to the release',
  });
}

function readText(contents: ReleaseContents, name: string): string {
  requireFile(contents.files, name);
  return utf8FromBytes(contents.read(name), name);
}

function requireNetwork(lock: Lock, network: NetworkName): Lock {
  if (lock.network === network) return lock;
  throw trustError('RELEASE_NETWORK', 'the release is of another network than it should be', {
    facts: [
      ['network of the lock', lock.network],
      ['asked for', network],
    ],
    mend:
      lock.network === 'dev'
        ? 'never use it in production: anybody can sign for dev; look at it with --network dev'
        : `verify it with --network ${lock.network}`,
  });
}

/** What is no release says so in three places; what is one, in none. */
function judgeKind(
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
  log.take(
    'kind',
    () => {
      const buildType = provenance?.buildType ?? '(no provenance)';
      if (!hasNotice && buildType === PRODUCTION.buildType) return;
      throw trustError('RELEASE_KIND', 'this says of itself that it is no release', {
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

interface ProposalNames {
  readonly certificate: string;
  readonly request: string;
}

function proposalFiles(log: VerdictLog, { files }: ReleaseContents): ProposalNames | undefined {
  return log.take(
    'proposal files',
    () => {
      const ids = [...files.keys()].flatMap((name) => /^([0-9]{1,20})\.cbor$/.exec(name)?.[1] ?? []);
      const [id] = ids;
      if (id === undefined || ids.length > 1) {
        throw formatError('RELEASE_PROPOSAL', 'the release does not hold the certificate of one proposal', {
          facts: [['found', ids.map((found) => `${found}.cbor`).join(', ') || 'none']],
          mend: 'fetch the whole release',
        });
      }
      const names = proposalFileNames(id);
      requireFile(files, names.request);
      return names;
    },
    ({ certificate, request }) => `${certificate} and ${request}`,
  );
}

function judgeSubjects(log: VerdictLog, { files }: ReleaseContents, { subject }: Provenance): void {
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

function judgeDependencies(
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
        ...(lock === undefined || 'target' in lock.base ? [] : ([[DEPENDENCIES.base, lock.base.sha256]] as const)),
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
      for (const name of [DEPENDENCIES.base, DEPENDENCIES.packageLock, DEPENDENCIES.tool, DEPENDENCIES.node]) {
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
    () => 'lock, proposal, request and base are those of the provenance; tool, Node.js, package lock and source are named',
  );
  judgeExpectation(log, 'builder', provenance.builderId, options.builderId, '--builder-id', 'the provenance is not signed');
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

function revisionOf({ resolvedDependencies }: Provenance): string | undefined {
  return resolvedDependencies.find(({ name }) => name === DEPENDENCIES.source)?.digest['gitCommit'];
}

/** The lock against the files that it pins. */
function judgeLock(
  log: VerdictLog,
  { files }: ReleaseContents,
  { proposal }: Lock,
  names: ProposalNames,
  facts: ProposalFacts,
): void {
  if (proposal === null || 'target' in proposal) {
    log.leaveOut('lock proposal', proposal === null ? 'the lock pins no proposal' : `the lock names a target, ${proposal.target}`);
    return;
  }
  log.take(
    'lock proposal',
    () => {
      const rows = [
        ['id', proposal.id, facts.proposalId.toString()],
        ['sha256', proposal.sha256, files.get(names.certificate)?.sha256],
        ['requestSha256', proposal.requestSha256, files.get(names.request)?.sha256],
        ['certifiedTimeNs', proposal.certifiedTimeNs, facts.certifiedTimeNs.toString()],
      ] as const;
      const wrong = rows.find(([, pinned, found]) => pinned !== found);
      if (wrong === undefined) return;
      const [field, pinned, found] = wrong;
      throw mismatchError('LOCK_PROPOSAL', 'the lock pins another proposal than the release holds', {
        facts: [
          ['field', field],
          ['lock', pinned],
          ['release', found ?? '(missing)'],
        ],
        mend: 'do not use the release: its files are not of one build',
      });
    },
    () => `the lock pins proposal ${proposal.id}, by the digests and the time of these files`,
  );
}

function judgeBase(
  log: VerdictLog,
  lock: Lock | undefined,
  boot: Ext4Image | undefined,
  { base }: VerifyOptions,
): void {
  const name = 'base tree';
  if (base === undefined || boot === undefined || lock === undefined) {
    log.leaveOut(
      name,
      boot === undefined || lock === undefined
        ? 'needs the lock and the boot partition'
        : 'boot files that no launch measures, grub.cfg among them, were not compared with the base (--base)',
    );
    return;
  }
  log.take(
    name,
    () => {
      if (!('target' in lock.base)) requirePinned(base.identity, lock.base);
      return requireBaseTree(boot.entries(), openExt4(base.boot).entries());
    },
    (count) =>
      `${count} entries of the boot partition are those of the base${'target' in lock.base ? ' that was given' : ', which is the pinned one'}`,
  );
}

function requirePinned({ sha256, size }: FileIdentity, pinned: BaseFile): void {
  if (sha256 === pinned.sha256 && size === pinned.size) return;
  throw mismatchError('BASE_SHA256', 'the base that was given is not the one that the lock pins', {
    facts: [
      ['lock', `${pinned.sha256}, ${pinned.size} bytes`],
      ['given', `${sha256}, ${size} bytes`],
    ],
    mend: `fetch it from ${pinned.urls.join(' or ')}`,
  });
}

function judgeBill(
  log: VerdictLog,
  contents: ReleaseContents,
  provenance: Provenance | undefined,
  { packageLock }: VerifyOptions,
): void {
  const text = log.take(
    'sbom',
    () => {
      const found = readText(contents, RELEASE_FILES.sbom);
      return { found, ...readBill(found) };
    },
    ({ packages }) => `SPDX 2.3, ${packages} packages`,
  );
  const name = 'sbom packages';
  if (text === undefined || packageLock === undefined) {
    log.leaveOut(name, 'not compared with the package lock (--package-lock)');
    return;
  }
  log.take(
    name,
    () => {
      const named = provenance?.resolvedDependencies.find((input) => input.name === DEPENDENCIES.packageLock)?.digest[
        'sha256'
      ];
      const given = bytesToHex(digestBytes('sha256', packageLock));
      if (named !== given) {
        throw mismatchError('SBOM_PACKAGE_LOCK', 'the package lock that was given is not that of the provenance', {
          facts: [
            ['provenance', named ?? '(not named)'],
            ['given', given],
          ],
          mend: 'give package-lock.json of the revision that the provenance names',
        });
      }
      requireSameBill(text.found, packageLock);
    },
    () => 'written anew from the package lock, they are the same',
  );
}

/** Everything but what was stated when it was written: time, tool and comment. */
function requireSameBill(found: string, packageLock: Uint8Array): void {
  const facts = (bill: string): string => {
    const { creationInfo: _, comment: __, ...rest } = JSON.parse(bill) as Record<string, unknown>;
    return JSON.stringify(rest);
  };
  const written = writeBill({ packageLock, toolVersion: '0', createdSec: 0 });
  if (facts(found) === facts(written)) return;
  throw mismatchError('SBOM_PACKAGES', 'the bill of materials is not what the package lock says', {
    facts: [
      ['found', bytesToHex(digestBytes('sha256', utf8Bytes(facts(found))))],
      ['written anew', bytesToHex(digestBytes('sha256', utf8Bytes(facts(written))))],
    ],
    mend: 'take the file from its release; if it stays so, do not rely on it',
  });
}
