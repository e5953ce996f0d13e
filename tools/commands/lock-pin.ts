import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { showText, utf8Bytes } from '../bytes/text.ts';
import { CvmError, usageError } from '../errors.ts';
import { openExt4, type Ext4Image } from '../ext4/reader.ts';
import { measureBootPartition, requireBootVersion, type MeasurePlan } from '../guestos/boot-partition.ts';
import type { LaunchMeasurement } from '../guestos/measurements.ts';
import { describeOverlap, overlapOf } from '../guestos/overlap.ts';
import { validateGuestOs } from '../guestos/validate.ts';
import { diffLines } from '../bytes/line-diff.ts';
import {
  isBaseUrl,
  parseLock,
  proposalFileNames,
  writeLock,
  type BaseFile,
  type Lock,
} from '../lock/lock.ts';
import { releaseUrls } from '../lock/release-urls.ts';
import type { NetworkName } from '../nns/networks.ts';
import { isoTime } from '../proposal/facts.ts';
import { baseFileName, linkForBazel } from './base-cache.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { fileError, resolvePath, writeFileWhole } from './files.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  NETWORK_OPTION,
  networkOption,
  PLAN_OPTIONS,
  planOption,
  readSmallFile,
} from './guestos-options.ts';
import { openImage } from './image-files.ts';
import { flagOption, parseIntegerLiteral, requiredText, textOption, textsOption } from './options.ts';
import { obtainBase, type BaseRequest, type ObtainedBase } from './pin-base.ts';
import { obtainProposal, type ObtainedProposal } from './pin-proposal.ts';

const LOCK_NAME = 'pins.lock.json';
/** What `.bazelrc` names to Bazel as a place to look before it downloads, below the workspace. */
const DISTRIBUTION_FOLDER = '.distdir';

export const command: Command = {
  summary: 'pin a base release and the proposal that blesses its recovery image',
  description:
    'Fetches the base release once into the cache, checks it, fetches and verifies the proposal, checks that the proposal ' +
    'blesses what the base measures, and only then writes pins.lock.json, <id>.cbor and <id>.request.cbor. An interrupted download ' +
    'goes on with the next call; a second call changes nothing. Without a proposal the lock holds the base alone: what a proposer ' +
    'submits can then be built. Exit codes: 3 malformed, 4 not to be believed, 5 does not fit, 6 network.',
  options: [
    {
      flags: '--base <commit>',
      description:
        'git commit of the release that the node ran, 40 hex digits (default: $ALTERNATIVE_GUESTOS_BASE_VERSION, or the one that is pinned)',
    },
    {
      flags: '--proposal <id>',
      description: 'number of the executed proposal (default: $ALTERNATIVE_GUESTOS_PROPOSAL_ID)',
    },
    {
      flags: '--base-url <url>',
      description: 'where the update image is, https; may be repeated (default: the release hosts)',
      repeatable: true,
    },
    {
      flags: '--base-file <file>',
      description: 'an update image that is there already: nothing is downloaded',
    },
    {
      flags: '--base-sha256 <hex>',
      description: "the image's sha256, instead of the release's own SHA256SUMS",
    },
    {
      flags: '--proposal-file <file>',
      description: 'a certificate that is there already, its request beside it as <name>.request.cbor',
    },
    {
      flags: '--nns-url <url>',
      description: 'host to ask for the proposal; may be repeated, tried in turn',
      repeatable: true,
    },
    NETWORK_OPTION,
    CHIP_ID_OPTION,
    {
      flags: '--refresh',
      description: 'believe neither the pinned sha256 nor the certificate that is there: ask anew',
    },
    { flags: '--dry-run', description: 'do everything but write into the workspace' },
    ...PLAN_OPTIONS,
    { flags: '--workspace <dir>', description: 'the workspace; the run target sets it', defaultValue: '.' },
    {
      flags: '--package <path>',
      description: 'the environment below it; the run target sets it',
      required: true,
    },
  ],
  async run(_args, options, io) {
    const call = readCall(options, io);
    requireWritable(call.folder, call.isDryRun);
    requireWritable(call.workspace, call.isDryRun);
    const base = await obtainBase(call.base, io);
    const image = await openImage(base.path, 'boot.img');
    try {
      return await pin(call, base, openExt4(image), io);
    } finally {
      image.close();
    }
  },
};

async function pin(call: Call, base: ObtainedBase, boot: Ext4Image, io: Io): Promise<number> {
  requireBootVersion(boot, base.pin.commit);
  const measurements = measureBootPartition(boot, call.plan);
  const cached = await base.keep();
  const proposal =
    call.proposalId === undefined && call.proposalFile === undefined
      ? undefined
      : await obtainProposal({ ...call, id: call.proposalId, file: call.proposalFile }, io);
  const text = writeLock({
    network: call.network,
    base: base.pin,
    proposal: proposal === undefined ? null : proposalPin(proposal),
  });
  // Refuses what does not fit, before anything is written.
  if (proposal !== undefined)
    validateGuestOs({
      facts: proposal.facts,
      measurements,
      chipIds: call.chipIds,
      launch: { boot, plan: call.plan },
    });
  io.out(report(call, base, proposal, measurements));
  io.out(showDiff(call.before, text, `${call.package}/${LOCK_NAME}`));
  if (call.isDryRun) io.out('dry run: nothing was written\n');
  else await write(call, base.pin, cached, proposal, text);
  io.out(nextSteps(call, proposal));
  return 0;
}

interface Call {
  readonly workspace: string;
  /** Below the workspace, as in labels. */
  readonly package: string;
  readonly folder: string;
  readonly network: NetworkName;
  /** The lock's text as it is, empty when there is none. */
  readonly before: string;
  readonly base: BaseRequest;
  readonly proposalId: bigint | undefined;
  readonly proposalFile: string | undefined;
  readonly nnsUrls: readonly string[];
  readonly chipIds: readonly Uint8Array[];
  readonly plan: MeasurePlan;
  readonly refresh: boolean;
  readonly isDryRun: boolean;
}

function readCall(options: OptionValues, io: Io): Call {
  const workspace = resolvePath(io, requiredText(options, 'workspace'));
  const packagePath = requiredText(options, 'package');
  const folder = resolvePath({ cwd: workspace }, packagePath === '' ? '.' : packagePath);
  const network = networkOption(options);
  const refresh = flagOption(options, 'refresh');
  const path = join(folder, LOCK_NAME);
  // Whatever stands there is shown as it is: what is no text is a lock that cannot be read.
  const before = existsSync(path) ? Buffer.from(readSmallFile(io, path, 'the lock')).toString('utf8') : '';
  const pinned = pinnedBase(before, network, io);
  const proposal = textOption(options, 'proposal') ?? nonEmpty(io.env['ALTERNATIVE_GUESTOS_PROPOSAL_ID']);
  const proposalFile = textOption(options, 'proposalFile');
  return {
    workspace,
    package: packagePath,
    folder,
    network,
    before,
    base: baseRequest(options, io, network, pinned, refresh),
    proposalId: proposal === undefined ? undefined : parseIntegerLiteral(proposal, '--proposal', 64),
    proposalFile,
    nnsUrls: textsOption(options, 'nnsUrl'),
    chipIds: chipIdsOption(options),
    plan: planOption(options),
    refresh,
    isDryRun: flagOption(options, 'dryRun'),
  };
}

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text);

/** What the lock pins already; a lock that cannot be read is about to be replaced. */
function pinnedBase(text: string, network: NetworkName, io: Io): BaseFile | undefined {
  if (text === '') return undefined;
  let lock: Lock;
  try {
    lock = parseLock(text);
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
    io.err(`${showText(error.message)}; it will be written anew\n`);
    return undefined;
  }
  // Of another network nothing is taken over.
  return lock.network === network && !('target' in lock.base) ? lock.base : undefined;
}

/** @throws CvmError usage PIN_BASE | PIN_BASE_URL; format HEX_INVALID | HEX_LENGTH */
function baseRequest(
  options: OptionValues,
  io: Io,
  network: NetworkName,
  pinned: BaseFile | undefined,
  refresh: boolean,
): BaseRequest {
  const commit =
    textOption(options, 'base') ?? nonEmpty(io.env['ALTERNATIVE_GUESTOS_BASE_VERSION']) ?? pinned?.commit;
  if (commit === undefined) {
    throw usageError('PIN_BASE', 'no base release was named, and none is pinned for this network', {
      facts: [['network', network]],
      mend: 'give --base=<commit>: the release that the node ran, as its console or the public dashboard shows it',
    });
  }
  if (!/^[0-9a-f]{40}$/.test(commit)) {
    throw usageError('PIN_BASE', '--base is not a whole git commit', {
      facts: [['found', commit]],
      ...(/^[0-9a-f]{40}$/i.test(commit) ? { nearest: commit.toLowerCase() } : {}),
      mend: 'give all 40 lower-case hex digits',
    });
  }
  const isPinned = pinned?.commit === commit;
  const urls = textsOption(options, 'baseUrl');
  for (const url of urls) {
    if (isBaseUrl(url, network)) continue;
    throw usageError('PIN_BASE_URL', '--base-url is not a place that a base is fetched from', {
      facts: [
        ['found', url],
        ['expected', network === 'dev' ? 'https, or http to this machine' : 'https'],
      ],
      mend: 'give the https URL of an update-img.tar.zst',
    });
  }
  const sha256 = textOption(options, 'baseSha256');
  const file = textOption(options, 'baseFile');
  return {
    commit,
    urls: urls.length > 0 ? urls : isPinned ? pinned.urls : releaseUrls(commit),
    file: file === undefined ? undefined : resolvePath(io, file),
    sha256:
      sha256 !== undefined
        ? { value: bytesToHex(hexToBytes(sha256, '--base-sha256', 32)), from: '--base-sha256' }
        : isPinned && !refresh
          ? { value: pinned.sha256, from: LOCK_NAME }
          : undefined,
    network,
  };
}

/** Before anything is downloaded: it would be a pity to find out afterwards. */
function requireWritable(folder: string, isDryRun: boolean): void {
  try {
    if (!statSync(folder).isDirectory()) {
      throw usageError('PACKAGE_MISSING', 'the environment is not a folder', { facts: [['path', folder]] });
    }
    if (!isDryRun) accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw fileError(folder, 'write', cause);
  }
}

const sha256Hex = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

function proposalPin({ certificate, request, facts }: ObtainedProposal): Lock['proposal'] {
  return {
    id: facts.proposalId.toString(),
    sha256: sha256Hex(certificate),
    requestSha256: sha256Hex(request),
    certifiedTimeNs: facts.certifiedTimeNs.toString(),
  };
}

function report(
  { chipIds, network }: Call,
  base: ObtainedBase,
  proposal: ObtainedProposal | undefined,
  measurements: readonly LaunchMeasurement[],
): string {
  const rows: (readonly [string, string])[] = [
    ['base', `${base.pin.commit}, ${base.pin.size} bytes, ${base.how}`],
    ['', `sha256 ${base.pin.sha256}`],
  ];
  if (proposal === undefined) {
    rows.push(
      ['proposal', 'none yet'],
      ['measured', `${measurements.length} launch measurements of the base`],
    );
  } else {
    const { facts } = proposal;
    const title = facts.title ?? '(no title)';
    rows.push(
      [
        'proposal',
        `${facts.proposalId} on ${network}, executed, certified ${isoTime(facts.certifiedTimeNs)}, ${proposal.how}`,
      ],
      ['', title],
      ['', `sha256 ${sha256Hex(proposal.certificate)}`],
      ...describeOverlap(overlapOf(measurements, facts.measurements)).map(
        (line, i) => [i === 0 ? 'overlap' : '', line] as const,
      ),
      [
        'chips',
        chipIds.length === 0
          ? `${facts.chipIds.length} listed, none asked for`
          : `${chipIds.length} asked for, all listed`,
      ],
    );
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${showText(value)}\n`).join('');
}

function showDiff(before: string, after: string, name: string): string {
  if (before === after) return `\n${showText(name)} is as it was\n\n`;
  const lines = diffLines(before, after).map(({ mark, text }) => `${mark}${showText(text)}\n`);
  return `\n--- ${showText(name)}\n+++ ${showText(name)}\n${lines.join('')}\n`;
}

/** The lock last: it names what must be there. */
async function write(
  { folder, workspace, before }: Call,
  base: BaseFile,
  cached: string,
  proposal: ObtainedProposal | undefined,
  lock: string,
): Promise<void> {
  await linkForBazel(cached, join(workspace, DISTRIBUTION_FOLDER), baseFileName(base.commit));
  if (proposal !== undefined) {
    const names = proposalFileNames(proposal.facts.proposalId.toString());
    await writeIfOther(join(folder, names.certificate), proposal.certificate);
    await writeIfOther(join(folder, names.request), proposal.request);
  }
  if (lock !== before) await writeFileWhole(join(folder, LOCK_NAME), [utf8Bytes(lock)]);
}

async function writeIfOther(path: string, bytes: Uint8Array): Promise<void> {
  try {
    if (existsSync(path) && Buffer.compare(readFileSync(path), bytes) === 0) return;
  } catch (cause) {
    throw fileError(path, 'write', cause);
  }
  await writeFileWhole(path, [bytes]);
}

function nextSteps({ workspace, package: path }: Call, proposal: ObtainedProposal | undefined): string {
  const bazel = existsSync(join(workspace, 'bazelw')) ? './bazelw' : 'bazel';
  const targets =
    proposal === undefined
      ? ['partition-root-hash', 'launch-measurements.json', 'proposal-payload.json']
      : ['update-img'];
  return `next: review the diff, compare the sha256 with another source, then\n  ${bazel} build ${targets
    .map((name) => showText(`//${path}:${name}`))
    .join(' ')}\n`;
}
