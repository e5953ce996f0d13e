/** The files of a release: which there are, and whether they are those that are listed. */
import { formatError, mismatchError, trustError, type CvmError } from '../errors.ts';
import { proposalFileNames } from '../lock/lock.ts';
import { readText, requireFile, type ReleaseContents, type VerifyOptions } from './contents.ts';
import { isReleaseName, RELEASE_FILES } from './layout.ts';
import { readSums } from './sums.ts';
import type { VerdictLog } from './verdicts.ts';

/** Files that every release has, besides those of the proposal, whose names hold its id. */
const REQUIRED = [
  RELEASE_FILES.sums,
  RELEASE_FILES.provenance,
  RELEASE_FILES.sbom,
  RELEASE_FILES.lock,
  RELEASE_FILES.measurements,
  RELEASE_FILES.updateImage,
];

/** Names and sums; what is in the folder and not in the list is refused, as it may be taken for part of the release. */
export function judgeFiles(log: VerdictLog, contents: ReleaseContents, { sumsSha256 }: VerifyOptions): void {
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
  if (entries === undefined)
    log.leaveOut('sums', `needs a sound ${RELEASE_FILES.sums} and the files it lists`);
  else {
    log.take(
      'sums',
      () => {
        const wrong = entries.filter(({ name, sha256 }) => files.get(name)?.sha256 !== sha256);
        const [first] = wrong;
        if (first === undefined) return;
        throw mismatchError(
          'RELEASE_SHA256',
          `${first.name} is not the file that ${RELEASE_FILES.sums} lists`,
          {
            facts: wrong.flatMap(({ name, sha256 }) => [
              [`listed ${name}`, sha256],
              [`found ${name}`, files.get(name)?.sha256 ?? '(missing)'],
            ]),
            mend: 'fetch the file again; if it stays so, do not use the release',
          },
        );
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
        throw mismatchError(
          'RELEASE_CAS',
          'a file below cas/ does not have the sha256 that it is named after',
          {
            facts: [
              ['name', wrong[0]],
              ['sha256', wrong[1].sha256],
            ],
            mend: 'fetch it again, or remove it',
          },
        );
      },
      () => `${cas.size} files named after their sha256`,
    );
  }
}

function unlisted(names: readonly string[]): CvmError {
  return trustError(
    'RELEASE_FILE_UNLISTED',
    `there is something in the folder that ${RELEASE_FILES.sums} does not list`,
    {
      facts: names.slice(0, 10).map((name) => ['name', name]),
      mend: 'remove it if it is yours; nothing says that it belongs to the release',
    },
  );
}

/** Names of the files of the proposal. */
export interface ProposalNames {
  readonly certificate: string;
  readonly request: string;
}

export interface ProposalFiles extends ProposalNames {
  readonly certificateBytes: Uint8Array;
  readonly requestBytes: Uint8Array;
}

/** @returns undefined when there is not exactly one proposal */
export function judgeProposalFiles(log: VerdictLog, contents: ReleaseContents): ProposalFiles | undefined {
  const { files } = contents;
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
      return {
        ...names,
        certificateBytes: contents.read(names.certificate),
        requestBytes: contents.read(names.request),
      };
    },
    ({ certificate, request }) => `${certificate} and ${request}`,
  );
}

/** What is for people to read: nothing in it was recomputed. */
export function judgeDocuments(log: VerdictLog, { files }: ReleaseContents): void {
  const known: readonly string[] = Object.values(RELEASE_FILES);
  const documents = [...files.keys()].filter((name) => !known.includes(name) && !name.endsWith('.cbor'));
  if (documents.length > 0)
    log.leaveOut('documents', `${documents.join(', ')}: bound by ${RELEASE_FILES.sums} alone`);
}
