import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { showText } from '../bytes/text.ts';
import { CvmError, networkError, usageError } from '../errors.ts';
import type { NetworkName } from '../nns/networks.ts';
import { isoTime } from '../proposal/facts.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import { downloadProposal } from '../update/download-proposal.ts';
import type { DownloadedProposal } from '../update/download-proposal.ts';
import { liveFetch, liveWait } from '../update/live.ts';
import type { Command, Io } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { NETWORK_OPTION, networkOption, readSmallFile } from './guestos-options.ts';
import { parseIntegerLiteral, requiredText, textsOption } from './options.ts';

const DEFAULT_URL = 'https://ic0.app';
const DEADLINE_MS = 5 * 60_000;

export const command: Command = {
  summary: 'download a certified proposal, and keep it if it verifies',
  description:
    'Asks the governance canister by an update call, verifies what comes back together with the request that was sent, and ' +
    'only then writes <id>.cbor and <id>.request.cbor. A valid pair that is already there is kept. Exit codes: 4 what came ' +
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
  ],
  async run(_args, options, io) {
    const proposalId = parseIntegerLiteral(requiredText(options, 'proposal'), '--proposal', 64);
    const network = networkOption(options);
    const urls = hostUrls(textsOption(options, 'nnsUrl'), network);
    const folder = resolvePath(io, requiredText(options, 'outputDir'));
    const target: Target = {
      proposalId,
      network,
      certificatePath: join(folder, `${proposalId}.cbor`),
      requestPath: join(folder, `${proposalId}.request.cbor`),
    };
    const kept = readKept(target, io);
    const result = kept ?? (await downloadFromAny(target, urls, io));
    if (kept === undefined) {
      await writeFileWhole(target.certificatePath, [result.certificate]);
      await writeFileWhole(target.requestPath, [result.request]);
    }
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
      ['found', text],
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

/** The hosts in turn: the next one is asked only when the network failed, never when an answer was bad. */
export async function downloadFromAny(
  target: Target,
  urls: readonly string[],
  io: Io,
): Promise<DownloadedProposal> {
  const deadline = new AbortController();
  const timer = setTimeout(() => {
    deadline.abort(
      networkError('NNS_TIMEOUT', 'the network did not answer in time', {
        facts: [['waited', `${DEADLINE_MS / 1000} s`]],
        mend: 'try again later, or name another host with --nns-url',
      }),
    );
  }, DEADLINE_MS);
  try {
    for (const [i, url] of urls.entries()) {
      try {
        return await downloadFrom(target, url, deadline.signal, io);
      } catch (error) {
        const canGoOn = error instanceof CvmError && error.kind === 'network' && !deadline.signal.aborted;
        if (!canGoOn || i + 1 === urls.length) throw error;
        io.err(`${url}: ${showText(error.message)}; asking the next host\n`);
      }
    }
    throw usageError('NNS_URL', 'there is no host to ask');
  } finally {
    clearTimeout(timer);
  }
}

async function downloadFrom(
  { proposalId, network }: Target,
  url: string,
  signal: AbortSignal,
  io: Io,
): Promise<DownloadedProposal> {
  io.err(`asking ${url} for proposal ${proposalId}\n`);
  return await downloadProposal({
    proposalId,
    url,
    network,
    fetch: liveFetch,
    signal,
    wait: liveWait,
    onProgress: (text) => {
      io.err(`${showText(text)}\n`);
    },
  });
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
