/** The whole verdict on a release: what a reviewer runs. */
import type { FileIdentity } from '../bytes/digest.ts';
import { hexToBytes } from '../bytes/hex.ts';
import { mismatchError, trustError } from '../errors.ts';
import { openExt4, type Ext4Image } from '../ext4/reader.ts';
import { PRODUCTION_VCPU_TYPES, PRODUCTION_VCPUS } from '../guestos/layout.ts';
import { parseLock, type BaseFile, type Lock } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { requireBaseTree } from './base-tree.ts';
import { readText, type ReleaseContents, type VerifyOptions } from './contents.ts';
import { judgeImages } from './judge-images.ts';
import { judgeBill } from './judge-bill.ts';
import { judgeDocuments, judgeFiles, judgeProposalFiles, type ProposalNames } from './judge-files.ts';
import { judgeInputs, judgeKind, judgeSubjects, revisionOf } from './judge-provenance.ts';
import { RELEASE_FILES } from './layout.ts';
import { readProvenance } from './statement.ts';
import { exitCodeOf, VerdictLog, type Verdict } from './verdicts.ts';

export interface ReleaseVerdict {
  readonly ok: boolean;
  readonly exitCode: number;
  readonly network: NetworkName;
  readonly proposalId: string | null;
  readonly revision: string | null;
  readonly verdicts: readonly Verdict[];
}

/**
 * Takes every step and tells what came of each; nothing throws but mistakes of our own. What stands in the folder is believed
 * for nothing but what was recomputed, or was signed by the network.
 */
export function verifyRelease(contents: ReleaseContents, options: VerifyOptions): ReleaseVerdict {
  const log = new VerdictLog();
  judgeFiles(log, contents, options);
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
  const found = judgeProposalFiles(log, contents);
  if (provenance !== undefined) {
    judgeSubjects(log, contents, provenance);
    judgeInputs(log, contents, provenance, found, lock, options);
  } else {
    for (const name of ['subjects', 'inputs', 'source']) log.leaveOut(name, 'needs the provenance');
  }
  let facts: ProposalFacts | undefined;
  let boot: Ext4Image | undefined;
  if (found !== undefined && lock !== undefined) {
    ({ facts, boot } = judgeImages(
      log,
      {
        network: options.network,
        certificate: found.certificateBytes,
        request: found.requestBytes,
        measurements: () => readText(contents, RELEASE_FILES.measurements),
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
  judgeDocuments(log, contents);
  return {
    ok: log.failures.length === 0,
    exitCode: exitCodeOf(log.verdicts),
    network: options.network,
    proposalId: facts?.proposalId.toString() ?? null,
    revision: provenance === undefined ? null : (revisionOf(provenance) ?? null),
    verdicts: log.verdicts,
  };
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

/** The lock against the files that it pins. */
function judgeLock(
  log: VerdictLog,
  { files }: ReleaseContents,
  { proposal }: Lock,
  names: ProposalNames,
  facts: ProposalFacts,
): void {
  if (proposal !== null && 'target' in proposal) {
    log.leaveOut('lock proposal', `the lock names a target, ${proposal.target}`);
    return;
  }
  log.take(
    'lock proposal',
    () => {
      if (proposal === null) {
        throw mismatchError('LOCK_PROPOSAL', 'the lock pins no proposal, and the release holds one', {
          facts: [['release', facts.proposalId]],
          mend: 'do not use the release: its files are not of one build',
        });
      }
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
    () => `the lock pins proposal ${facts.proposalId}, by the digests and the time of these files`,
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
