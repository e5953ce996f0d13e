import { chmodSync, copyFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { digestBytes, identityOf, type FileIdentity } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { CvmError, usageError } from '../errors.ts';
import { parseLock, proposalFileNames, type Lock } from '../lock/lock.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { passGate, revisionOfStatus } from '../release/gate.ts';
import { isReleaseName, PRODUCTION, RELEASE_FILES, type ReleaseKind } from '../release/layout.ts';
import { writeBill } from '../release/spdx.ts';
import {
  DEPENDENCIES,
  writeProvenance,
  type Provenance,
  type ResourceDescriptor,
} from '../release/statement.ts';
import { writeSums } from '../release/sums.ts';
import { verifyRelease } from '../release/verify.ts';
import { VERSION } from '../version.ts';
import type { Command, Io, OptionSpec, OptionValues } from './command.ts';
import { fileError, openFile, resolvePath, writeFileWhole } from './files.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  optionalFile,
  PLAN_OPTIONS,
  planOption,
  readSmallFile,
  readSmallText,
} from './guestos-options.ts';
import { openImage } from './image-files.ts';
import { requiredText, textOption, textsOption } from './options.ts';
import { openRelease } from './release-files.ts';
import { writeFolderWhole } from './tree-folder.ts';

export const RELEASE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--update-image <file>', description: 'update-img.tar.zst', required: true },
  { flags: '--disk-image <file>', description: 'disk-img.tar.zst' },
  { flags: '--measurements <file>', description: 'launch-measurements.json', required: true },
  { flags: '--proposal <file>', description: 'certificate of the executed proposal', required: true },
  { flags: '--request <file>', description: 'request that the certificate answers; the gate demands it' },
  { flags: '--lock <file>', description: 'pins.lock.json', required: true },
  { flags: '--base <image>', description: 'the base release that the lock pins', required: true },
  {
    flags: '--status-file <file>',
    description:
      "Bazel's stable status, whose STABLE_GIT_REVISION is the source's revision; the gate demands it",
  },
  { flags: '--package-lock <file>', description: 'package-lock.json of the toolchain', required: true },
  { flags: '--tool <file>', description: 'the bundle that built the images', required: true },
  { flags: '--node <file>', description: 'the Node.js that ran it', required: true },
  { flags: '--target <label>', description: 'what was built', required: true },
  {
    flags: '--builder-id <uri>',
    description: 'who built it, for the provenance',
    defaultValue: 'urn:rules-cvm:bazel',
  },
  ...PLAN_OPTIONS,
  CHIP_ID_OPTION,
  {
    flags: '--document <file>',
    description: 'a further file, under its own name; may be repeated',
    repeatable: true,
  },
  {
    flags: '--time <time>',
    description:
      'YYYY-MM-DDTHH:MM:SSZ, to state when it was built; without it no clock is asked and none is stated',
  },
  { flags: '--output <dir>', description: 'folder that does not exist or is empty', required: true },
];

export const command: Command = {
  summary: 'gate images of mainnet and put them into a release with proof of how they were built',
  description:
    'Refuses the dev network, a certificate without its request, a dirty or unknown source revision, and images that do not ' +
    'pass every check of release verify, which runs on the finished folder before it gets its name. Writes the images, ' +
    'launch-measurements.json, proposal and request, the lock, sbom.spdx.json, provenance.intoto.json and SHA256SUMS. No option ' +
    'leaves a check out. Exit code: 4 the gate refuses.',
  options: RELEASE_OPTIONS,
  run: (_args, options, io) => createRelease(PRODUCTION, options, io),
};

/** Everything that goes in, read once. */
interface Inputs {
  readonly lockText: Uint8Array;
  readonly lock: Lock;
  readonly certificate: Uint8Array;
  readonly request: Uint8Array | undefined;
  readonly revision: string | undefined;
  readonly packageLock: Uint8Array;
}

/**
 * Makes a release of a kind. What is shipped knows one kind; tests rehearse with another.
 * @throws CvmError trust GATE_*; usage RELEASE_DOCUMENT | RELEASE_TIME, and of files
 */
export async function createRelease(kind: ReleaseKind, options: OptionValues, io: Io): Promise<number> {
  const inputs = readInputs(options, io);
  const { lock, request, revision, certificate } = inputs;
  const gate = { network: lock.network, revision, hasRequest: request !== undefined };
  const commit = passGate(kind, { ...gate, invalid: undefined });
  const facts = orRefuse(kind, gate, () =>
    verifyProposal({ certificate, request, trust: { network: kind.network }, demandRequest: true }),
  );
  const time = timeOption(options);
  await writeFolderWhole(resolvePath(io, requiredText(options, 'output')), async (folder) => {
    await fill(folder, kind, options, io, inputs, facts, commit, time);
    const invalid = await judge(folder, kind, options, io, inputs, commit);
    passGate(kind, { ...gate, invalid: invalid ?? null });
    chmodSync(folder, 0o755);
  });
  return 0;
}

function readInputs(options: OptionValues, io: Io): Inputs {
  const small = (name: string, what: string): Uint8Array =>
    readSmallFile(io, requiredText(options, name), what);
  const status = textOption(options, 'statusFile');
  return {
    lockText: small('lock', 'the lock'),
    lock: parseLock(readSmallText(io, requiredText(options, 'lock'), 'the lock')),
    certificate: small('proposal', 'the proposal certificate'),
    request: optionalFile(io, options, 'request', 'the request'),
    revision:
      status === undefined ? undefined : revisionOfStatus(readSmallText(io, status, 'the status file')),
    packageLock: small('packageLock', 'package-lock.json'),
  };
}

/** What the images' own checks refuse, the gate refuses. */
function orRefuse<T>(
  kind: ReleaseKind,
  gate: Omit<Parameters<typeof passGate>[1], 'invalid'>,
  step: () => T,
): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof CvmError && error.kind !== 'bug') passGate(kind, { ...gate, invalid: error });
    throw error;
  }
}

async function fill(
  folder: string,
  kind: ReleaseKind,
  options: OptionValues,
  io: Io,
  inputs: Inputs,
  facts: ProposalFacts,
  commit: string,
  time: string | undefined,
): Promise<void> {
  const copied = copies(options, io);
  const { lockText, certificate, request, packageLock } = inputs;
  const names = proposalFileNames(facts.proposalId.toString());
  const written = new Map<string, Uint8Array>([
    [RELEASE_FILES.lock, lockText],
    [names.certificate, certificate],
    [names.request, request ?? new Uint8Array(0)],
    [
      RELEASE_FILES.sbom,
      utf8Bytes(
        writeBill({
          packageLock,
          toolVersion: VERSION,
          createdSec:
            time === undefined ? Number(facts.certifiedTimeNs / 1_000_000_000n) : Date.parse(time) / 1000,
          notice: kind.notice,
        }),
      ),
    ],
    ...(kind.notice === undefined ? [] : [[RELEASE_FILES.notice, utf8Bytes(kind.notice)] as const]),
  ]);
  const digests = new Map<string, string>();
  for (const [name, path] of copied) digests.set(name, copyInto(folder, name, path));
  for (const [name, bytes] of written) digests.set(name, await writeInto(folder, name, bytes));
  const subject = [...digests].toSorted(byName).map(([name, sha256]) => ({ name, digest: { sha256 } }));
  const provenance = provenanceOf(kind, options, io, inputs, subject, commit, time);
  digests.set(
    RELEASE_FILES.provenance,
    await writeInto(folder, RELEASE_FILES.provenance, utf8Bytes(writeProvenance(provenance))),
  );
  const sums = writeSums([...digests].map(([name, sha256]) => ({ name, sha256 })));
  await writeInto(folder, RELEASE_FILES.sums, utf8Bytes(sums));
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);

/** Files that go in as they are, by their names in the release. @throws CvmError usage RELEASE_DOCUMENT */
function copies(options: OptionValues, io: Io): Map<string, string> {
  const path = (name: string): string => resolvePath(io, requiredText(options, name));
  const found = new Map<string, string>([
    [RELEASE_FILES.updateImage, path('updateImage')],
    [RELEASE_FILES.measurements, path('measurements')],
  ]);
  if (textOption(options, 'diskImage') !== undefined) found.set(RELEASE_FILES.diskImage, path('diskImage'));
  const own: readonly string[] = Object.values(RELEASE_FILES);
  for (const text of textsOption(options, 'document')) {
    const document = resolvePath(io, text);
    const name = basename(document);
    if (isReleaseName(name) && !own.includes(name) && !name.endsWith('.cbor') && !found.has(name)) {
      found.set(name, document);
      continue;
    }
    throw usageError('RELEASE_DOCUMENT', 'a document cannot have this name in a release', {
      facts: [['name', name]],
      mend: 'take letters, digits and . _ + -, and no name of a file that every release has',
    });
  }
  return found;
}

/** @returns the sha256 of what stands there now */
function copyInto(folder: string, name: string, from: string): string {
  const to = join(folder, name);
  try {
    copyFileSync(from, to);
    chmodSync(to, 0o644);
  } catch (cause) {
    throw fileError(from, 'read', cause);
  }
  return fileIdentity(to).sha256;
}

async function writeInto(folder: string, name: string, bytes: Uint8Array): Promise<string> {
  const to = join(folder, name);
  await writeFileWhole(to, [bytes]);
  chmodSync(to, 0o644);
  return bytesToHex(digestBytes('sha256', bytes));
}

function fileIdentity(path: string): FileIdentity {
  const file = openFile(path);
  try {
    return identityOf(file);
  } finally {
    file.close();
  }
}

function provenanceOf(
  kind: ReleaseKind,
  options: OptionValues,
  io: Io,
  inputs: Inputs,
  subject: readonly ResourceDescriptor[],
  commit: string,
  time: string | undefined,
): Provenance {
  const { lock, lockText, certificate, request, packageLock } = inputs;
  const sha256 = (bytes: Uint8Array): { readonly sha256: string } => ({
    sha256: bytesToHex(digestBytes('sha256', bytes)),
  });
  const file = (name: string): { readonly sha256: string } => ({
    sha256: fileIdentity(resolvePath(io, requiredText(options, name))).sha256,
  });
  const { vcpus, vcpuTypes } = planOption(options);
  const baseUri = 'target' in lock.base ? undefined : lock.base.urls[0];
  return {
    subject,
    buildType: kind.buildType,
    parameters: {
      target: requiredText(options, 'target'),
      network: kind.network,
      lock: { name: RELEASE_FILES.lock, ...sha256(lockText) },
      vcpus,
      vcpuTypes,
      chipIds: chipIdsOption(options).map(bytesToHex),
      ...(kind.notice === undefined ? {} : { notice: 'NOT FOR PRODUCTION' }),
    },
    resolvedDependencies: [
      { name: DEPENDENCIES.source, digest: { gitCommit: commit } },
      { name: DEPENDENCIES.base, ...(baseUri === undefined ? {} : { uri: baseUri }), digest: file('base') },
      { name: DEPENDENCIES.lock, digest: sha256(lockText) },
      { name: DEPENDENCIES.proposal, digest: sha256(certificate) },
      ...(request === undefined ? [] : [{ name: DEPENDENCIES.request, digest: sha256(request) }]),
      { name: DEPENDENCIES.tool, digest: file('tool') },
      { name: DEPENDENCIES.node, digest: file('node') },
      { name: DEPENDENCIES.packageLock, digest: sha256(packageLock) },
    ],
    builderId: requiredText(options, 'builderId'),
    ...(time === undefined ? {} : { finishedOn: time }),
  };
}

/** The finished folder by the reviewer's own steps. @returns the first thing that is wrong */
async function judge(
  folder: string,
  kind: ReleaseKind,
  options: OptionValues,
  io: Io,
  inputs: Inputs,
  commit: string,
): Promise<CvmError | undefined> {
  const basePath = resolvePath(io, requiredText(options, 'base'));
  const release = await openRelease(folder);
  try {
    const base = await openImage(basePath, 'boot.img');
    try {
      const { verdicts } = verifyRelease(release, {
        network: kind.network,
        base: { identity: fileIdentity(basePath), boot: base },
        packageLock: inputs.packageLock,
        revision: commit,
      });
      return verdicts.find(({ error }) => error !== undefined)?.error;
    } finally {
      base.close();
    }
  } finally {
    release.close();
  }
}

/** @throws CvmError usage RELEASE_TIME */
function timeOption(options: OptionValues): string | undefined {
  const text = textOption(options, 'time');
  if (text === undefined) return undefined;
  const ms = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isFinite(ms) && new Date(ms).toISOString() === text.replace('Z', '.000Z')) return text;
  throw usageError('RELEASE_TIME', '--time is no time in UTC', {
    facts: [['found', text]],
    mend: 'write it as YYYY-MM-DDTHH:MM:SSZ',
  });
}
