import { join } from 'node:path';
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { chunks } from '../bytes/source.ts';
import { showText, utf8FromBytes } from '../bytes/text.ts';
import { trustError, usageError } from '../errors.ts';
import { PRODUCTION, RELEASE_FILES, type ReleaseKind } from '../release/layout.ts';
import { readSums } from '../release/sums.ts';
import { HttpStore, publishUrl } from '../update/http-store.ts';
import { liveFetch, liveWait } from '../update/live.ts';
import { useProxyOf } from '../update/proxy.ts';
import { publishFiles, type ObjectStore, type Published, type Upload } from '../update/publish.ts';
import type { Command, Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { readSmallFile } from './guestos-options.ts';
import { FolderStore } from './folder-store.ts';
import { requiredText, textOption } from './options.ts';
import { ProgressLine } from './progress-line.ts';
import { judgeFolder } from './release-verify.ts';
import { showStages } from './trust-options.ts';

const AUTHORIZATION = 'CVM_PUBLISH_AUTHORIZATION';
/** Files of a release below that size go up in a moment: no bar for them. */
const BAR_BYTES = 1 << 20;

export const PUBLISH_OPTIONS: readonly OptionSpec[] = [
  { flags: '--release <dir>', description: 'the release; the run target sets it', required: true },
  { flags: '--to <place>', description: 'a folder, or an https URL that takes PUT', required: true },
  {
    flags: '--authorization-file <file>',
    description: `one line, the value of the Authorization header (default: $${AUTHORIZATION})`,
  },
];

export const command: Command = {
  summary: 'publish a release that verifies',
  description:
    'Verifies the release as release verify does, then puts each file as cas/<sha256> and under its own name, SHA256SUMS last. ' +
    'What is there is compared and left alone; what was uploaded is read back and hashed; lost connections are made anew. ' +
    'A second call changes nothing. HTTPS_PROXY and NO_PROXY are obeyed, NODE_EXTRA_CA_CERTS too. Exit codes: 4 the release does ' +
    'not verify, 5 something else has a name already, or did not come back as it went, 6 the network failed.',
  options: PUBLISH_OPTIONS,
  run: (_args, options, io) => publishRelease(PRODUCTION, options, io),
};

/**
 * Publishes a release of a kind. What is no real one goes nowhere but to this machine.
 * @throws CvmError trust PUBLISH_UNVERIFIED; usage PUBLISH_URL | PUBLISH_AUTHORIZATION | PUBLISH_REHEARSAL; of the store
 */
export async function publishRelease(kind: ReleaseKind, options: OptionValues, io: Io): Promise<number> {
  const folder = resolvePath(io, requiredText(options, 'release'));
  const signal = new AbortController().signal;
  const store = storeOf(kind, options, io, signal);
  const verdict = await judgeFolder(folder, kind.network, {}, io);
  if (!verdict.ok) {
    io.err(showStages(verdict.verdicts));
    throw trustError('PUBLISH_UNVERIFIED', 'the release does not verify, so it is not published', {
      facts: verdict.verdicts.filter(({ ok }) => ok === false).map(({ name, detail }) => [name, detail]),
      mend: 'run cvm release verify on it, and build it anew',
    });
  }
  const progress = new Map<string, ProgressLine>();
  const published = await publishFiles(store, uploadsOf(folder, io), RELEASE_FILES.sums, {
    wait: liveWait,
    signal,
    onNote: (text) => io.err(`${showText(text)}\n`),
    onSent: (name, bytes, size) => {
      if (size < BAR_BYTES) return;
      const line = progress.get(name) ?? new ProgressLine(io, name);
      progress.set(name, line);
      line.show(bytes, size);
      if (bytes >= size) line.end();
    },
  });
  io.out(report(store, published));
  return 0;
}

function storeOf(kind: ReleaseKind, options: OptionValues, io: Io, signal: AbortSignal): ObjectStore {
  const to = requiredText(options, 'to');
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(to)) return new FolderStore(resolvePath(io, to));
  const url = publishUrl(to);
  if (kind.notice !== undefined && !['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname)) {
    throw usageError('PUBLISH_REHEARSAL', 'what is not for production is published to this machine alone', {
      facts: [['host', url.hostname]],
      mend: 'name a folder, or a server on 127.0.0.1',
    });
  }
  const authorization = authorizationOf(options, io);
  const proxy = useProxyOf(io.env);
  if (proxy !== undefined) io.err(`HTTPS_PROXY: by way of ${showText(proxy)}\n`);
  return new HttpStore(url, { fetch: liveFetch, wait: liveWait, signal, authorization });
}

/** @throws CvmError usage PUBLISH_AUTHORIZATION, whose facts do not hold it */
function authorizationOf(options: OptionValues, io: Io): string | undefined {
  const path = textOption(options, 'authorizationFile');
  const text =
    path === undefined
      ? io.env[AUTHORIZATION]
      : utf8FromBytes(readSmallFile(io, path, 'the authorization file'), 'the authorization file').replace(
          /\r?\n$/,
          '',
        );
  if (text === undefined || text === '') return undefined;
  if (/^[!-~]+( [!-~]+)+$/.test(text) && text.length <= 16_384) return text;
  throw usageError('PUBLISH_AUTHORIZATION', 'this is not the value of an Authorization header', {
    facts: [
      ['from', path ?? AUTHORIZATION],
      ['length', text.length],
    ],
    mend: 'one line: the scheme, a space and the credentials, for example Bearer and the token',
  });
}

/** By the digests that were verified: what changed since does not come back as it should. */
function uploadsOf(folder: string, io: Io): Upload[] {
  const sums = readSmallFile(io, join(folder, RELEASE_FILES.sums), RELEASE_FILES.sums);
  const own = { name: RELEASE_FILES.sums, sha256: bytesToHex(digestBytes('sha256', sums)) };
  return [...readSums(utf8FromBytes(sums, RELEASE_FILES.sums)), own].map(({ name, sha256 }) => {
    const path = join(folder, name);
    const file = openFile(path);
    file.close();
    return { name, size: file.sizeBytes, sha256, chunks: () => contentOf(path) };
  });
}

function* contentOf(path: string): Generator<Uint8Array> {
  const file = openFile(path);
  try {
    yield* chunks(file);
  } finally {
    file.close();
  }
}

function report(store: ObjectStore, published: readonly Published[]): string {
  const lines = published.map(
    ({ how, name, size }) => `${how.padEnd('uploaded'.length)}  ${name}  ${size} bytes`,
  );
  const uploaded = published.filter(({ how }) => how === 'uploaded').length;
  const sums = published.find(({ name }) => name === RELEASE_FILES.sums);
  return [
    ...lines,
    '',
    `published at ${store.place}: ${uploaded} uploaded and read back, ${published.length - uploaded} there already`,
    `sha256 of ${RELEASE_FILES.sums}: ${sums?.sha256 ?? ''}`,
    `next: fetch it elsewhere and run cvm release verify --sums-sha256 ${sums?.sha256 ?? ''} <dir>`,
  ]
    .map((line) => `${showText(line)}\n`)
    .join('');
}
