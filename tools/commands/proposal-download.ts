import { accessSync, constants, existsSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { showText } from '../bytes/text.ts';
import { CvmError, usageError } from '../errors.ts';
import type { NetworkName } from '../nns/networks.ts';
import { isoTime } from '../proposal/facts.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { downloadFromAny } from '../update/download-proposal.ts';
import type { DownloadedProposal } from '../update/download-proposal.ts';
import { liveFetch, liveWait } from '../update/live.ts';
import { useProxyOf, withoutPassword } from '../update/proxy.ts';
import type { Command, Io } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { NETWORK_OPTION, networkOption, readSmallFile } from './guestos-options.ts';
import { parseDecimal, parseIntegerLiteral, requiredText, textOption, textsOption } from './options.ts';
import { addPendingFile, settlePendingFile } from './pending-files.ts';

const DEFAULT_URL = 'https://ic0.app';
/** A call is answered in seconds; after five minutes the network forgets it. */
export const DEFAULT_TIMEOUT_S = 120;
const LONGEST_TIMEOUT_S = 3600;

export const command: Command = {
  summary: 'download a certified proposal, and keep it if it verifies',
  description:
    'Asks the governance canister by an update call, verifies what comes back together with the request that was sent, and ' +
    'only then writes <id>.cbor and <id>.request.cbor: both or none. A valid pair that is already there is kept. A host that ' +
    'fails, stalls or lies is left for the next one. HTTPS_PROXY and NO_PROXY are obeyed. Exit codes: 4 what came ' +
    'back is not to be believed, 6 the network failed.',
  options: [
    { flags: '--proposal <id>', description: 'number of the proposal', required: true },
    {
      flags: '--nns-url <url>',
      description: `host to ask; may be repeated, tried in turn (default on mainnet: ${DEFAULT_URL})`,
      repeatable: true,
    },
    NETWORK_OPTION,
    { flags: '--output-dir <dir>', description: 'folder for the two files', required: true },
    {
      flags: '--timeout <seconds>',
      description: 'how long one host may take',
      defaultValue: `${DEFAULT_TIMEOUT_S}`,
    },
  ],
  async run(_args, options, io) {
    const proposalId = parseIntegerLiteral(requiredText(options, 'proposal'), '--proposal', 64);
    const network = networkOption(options);
    const urls = hostUrls(textsOption(options, 'nnsUrl'), network);
    const timeoutS = parseDecimal(
      textOption(options, 'timeout') ?? `${DEFAULT_TIMEOUT_S}`,
      '--timeout',
      1,
      LONGEST_TIMEOUT_S,
    );
    const folder = resolvePath(io, requiredText(options, 'outputDir'));
    const target: Target = {
      proposalId,
      network,
      certificatePath: join(folder, `${proposalId}.cbor`),
      requestPath: join(folder, `${proposalId}.request.cbor`),
    };
    // Whatever could go wrong when it is written goes wrong before the network is asked.
    requireFolder(folder);
    for (const path of [target.certificatePath, target.requestPath]) requireReplaceable(path);
    const kept = readKept(target, io);
    const result = kept ?? (await download(target, urls, timeoutS, io));
    if (kept === undefined) await writePair(target, result);
    io.out(report(target, result, kept !== undefined));
    return 0;
  },
};

export interface Target {
  readonly proposalId: bigint;
  readonly network: NetworkName;
  readonly certificatePath: string;
  readonly requestPath: string;
}

/** The hosts to ask. @throws CvmError usage NNS_URL */
export function hostUrls(texts: readonly string[], network: NetworkName): string[] {
  if (texts.length === 0) {
    if (network === 'mainnet') return [DEFAULT_URL];
    throw usageError('NNS_URL', `no host answers for the network ${network} by default`, {
      facts: [['network', network]],
      mend: 'start cvm-dev nns serve and name it with --nns-url',
    });
  }
  return texts.map((text) => hostUrl(text, network));
}

function hostUrl(text: string, network: NetworkName): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isBare =
    url?.pathname === '/' && url.search === '' && url.hash === '' && url.username + url.password === '';
  const isSafe =
    url?.protocol === 'https:' ||
    (url?.protocol === 'http:' && network === 'dev' && isLoopback(url.hostname));
  if (url !== undefined && isBare && isSafe) return url.origin;
  throw usageError('NNS_URL', 'this is not the URL of a host to ask', {
    facts: [
      ['found', withoutPassword(text)],
      ['expected', network === 'dev' ? 'https, or http on this machine' : 'https'],
    ],
    mend: `give scheme and host alone, for example ${DEFAULT_URL}`,
  });
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** What a former run left behind, if it still verifies. */
export function readKept(target: Target, io: Io): DownloadedProposal | undefined {
  if (!existsSync(target.certificatePath) || !existsSync(target.requestPath)) return undefined;
  try {
    const certificate = readSmallFile(io, target.certificatePath, 'the proposal certificate');
    const request = readSmallFile(io, target.requestPath, 'the request');
    return { certificate, request, facts: verifyPair(target, certificate, request) };
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind === 'bug' || error.kind === 'usage') throw error;
    io.err(`the files that are there do not verify (${error.code}); downloading again\n`);
    return undefined;
  }
}

function verifyPair(
  { network, proposalId }: Target,
  certificate: Uint8Array,
  request: Uint8Array,
): ProposalFacts {
  return verifyProposal({ certificate, request, trust: { network }, demandRequest: true, proposalId });
}

/**
 * The folder that is named, or the nearest one above it that is there, must take files.
 * @throws CvmError usage OUTPUT_DIR
 */
function requireFolder(folder: string): void {
  let at = folder;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  let problem = 'it is not a folder';
  try {
    if (statSync(at).isDirectory()) {
      accessSync(at, constants.W_OK | constants.X_OK);
      return;
    }
  } catch (cause) {
    problem =
      cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : String(cause);
  }
  throw usageError('OUTPUT_DIR', 'no file can be made in the folder for the proposal', {
    facts: [
      ['folder', folder],
      ...(at === folder ? [] : ([['nearest that is there', at]] as const)),
      ['problem', problem],
    ],
    mend: 'name a folder that can be written with --output-dir',
  });
}

/** @throws CvmError usage FILE_NOT_REGULAR */
function requireReplaceable(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined || stat.isFile()) return;
  throw usageError('FILE_NOT_REGULAR', 'something else than a file has the name of a file of the proposal', {
    facts: [['path', path]],
    mend: 'move it away, or name another folder with --output-dir',
  });
}

export async function download(
  { proposalId, network }: Target,
  urls: readonly string[],
  timeoutS: number,
  io: Io,
): Promise<DownloadedProposal> {
  const say = (text: string): void => {
    io.err(`${showText(text)}\n`);
  };
  const proxy = useProxyOf(io.env);
  if (proxy !== undefined) say(`HTTPS_PROXY: by way of ${proxy}`);
  return await downloadFromAny({
    proposalId,
    network,
    urls,
    hostTimeoutMs: timeoutS * 1000,
    fetch: liveFetch,
    wait: liveWait,
    signal: new AbortController().signal,
    onProgress: say,
  });
}

/** Both files or none: whatever interrupts the writing takes away what stands there alone. */
async function writePair(target: Target, { certificate, request }: DownloadedProposal): Promise<void> {
  // What was there already is a pair that did not verify; it may be replaced half, as it proves nothing either way.
  const isNew = !existsSync(target.requestPath);
  if (isNew) addPendingFile(target.requestPath);
  try {
    await writeFileWhole(target.certificatePath, [certificate], async () => {
      await writeFileWhole(target.requestPath, [request]);
    });
  } catch (error) {
    if (isNew) rmSync(target.requestPath, { force: true });
    throw error;
  } finally {
    if (isNew) settlePendingFile(target.requestPath);
  }
}

function report(target: Target, { certificate, request, facts }: DownloadedProposal, kept: boolean): string {
  const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));
  const lines = [
    `proposal ${target.proposalId} on ${target.network}: executed, certified ${isoTime(facts.certifiedTimeNs)}${kept ? ' (kept)' : ''}`,
    `title  ${facts.title ?? '(none)'}`,
    `${sha256(certificate)}  ${target.certificatePath}`,
    `${sha256(request)}  ${target.requestPath}`,
    'next: pin both sha256 in pins.lock.json, review the diff, and build the update-img target',
  ];
  return lines.map((line) => `${showText(line)}\n`).join('');
}
