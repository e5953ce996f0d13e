/** The base release of a pin: found in the cache, taken from a file, or downloaded; believed by its sha256 alone. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FileIdentity } from '../bytes/digest.ts';
import { showText } from '../bytes/text.ts';
import { CvmError, mismatchError, type Fact } from '../errors.ts';
import type { BaseFile } from '../lock/lock.ts';
import { checksumsUrl, fileNameOf } from '../lock/release-urls.ts';
import type { NetworkName } from '../nns/networks.ts';
import { liveFetch, liveWait } from '../update/live.ts';
import { useProxyOf } from '../update/proxy.ts';
import {
  downloadChecksum,
  downloadRelease,
  type ReleaseDownloadOptions,
} from '../update/release-download.ts';
import {
  baseCacheFolder,
  baseFileName,
  copyIntoCache,
  fileSha256,
  nameWhole,
  PartFile,
} from './base-cache.ts';
import type { Io } from './command.ts';
import { ProgressLine } from './progress-line.ts';

export interface BaseRequest {
  readonly commit: string;
  /** As they will stand in the lock; the first that answers is downloaded from. */
  readonly urls: readonly string[];
  /** An image that is there already. */
  readonly file: string | undefined;
  /** From the command line, or from the lock; when undefined the release's SHA256SUMS says it. */
  readonly sha256: { readonly value: string; readonly from: string } | undefined;
  readonly network: NetworkName;
}

export interface ObtainedBase {
  /** Where it is now: in the cache, on its way there, or wherever the user's file is. */
  readonly path: string;
  readonly pin: BaseFile;
  readonly how: string;
  /** Gives it its place in the cache, once it turned out to be a base release. Answers where. */
  keep(): Promise<string>;
}

/**
 * @throws CvmError mismatch BASE_SHA256; network and format of the download; usage of files
 */
export async function obtainBase(request: BaseRequest, io: Io): Promise<ObtainedBase> {
  const path = join(baseCacheFolder(io), baseFileName(request.commit));
  const found = (
    how: string,
    { sha256, size }: FileIdentity,
    at = path,
    place: () => Promise<void> = () => Promise.resolve(),
  ): ObtainedBase => ({
    path: at,
    pin: { commit: request.commit, urls: request.urls, sha256, size },
    how,
    keep: async () => {
      await place();
      return path;
    },
  });
  if (request.file !== undefined) {
    const { file } = request;
    const given = fileSha256(file);
    checkSha256(request, given.sha256, request.sha256, `the file ${file}`);
    return found(`from ${file}`, given, file, async () => {
      if (!existsSync(path) || fileSha256(path).sha256 !== given.sha256) await copyIntoCache(file, path);
    });
  }
  const network = networkOptions(request, io);
  const expected = request.sha256 ?? {
    value: await inTurn(request, io, (url) => downloadChecksum(checksumsUrl(url), fileNameOf(url), network)),
    from: 'SHA256SUMS of the release',
  };
  if (existsSync(path)) {
    const cached = fileSha256(path);
    if (cached.sha256 === expected.value) return found('from the cache', cached);
    io.err(`the cached base is another file (sha256 ${cached.sha256}); downloading it again\n`);
    rmSync(path, { force: true });
  }
  const part = `${path}.part`;
  const size = await download(request, part, expected, network, io);
  return found('downloaded', { sha256: expected.value, size }, part, () => nameWhole(part, path));
}

async function download(
  request: BaseRequest,
  partPath: string,
  expected: NonNullable<BaseRequest['sha256']>,
  network: ReleaseDownloadOptions,
  io: Io,
): Promise<number> {
  // What an interrupted download left may be of another file: then it is begun anew, once.
  for (let again = false; ; again = true) {
    const part = await PartFile.open(partPath);
    try {
      if (part.resumed) io.err(`going on after ${part.sizeBytes} bytes\n`);
      const line = new ProgressLine(io, `update image of ${request.commit.slice(0, 8)}`);
      const options: ReleaseDownloadOptions = {
        ...network,
        onProgress: (received, total) => {
          line.show(received, total);
        },
        onNote: (text) => {
          line.end();
          network.onNote?.(text);
        },
      };
      await inTurn(request, io, async (url) => {
        try {
          await downloadRelease(url, part, options);
        } finally {
          // What is said next, an error too, begins a line of its own.
          line.end();
        }
      });
      if (part.sha256 === expected.value) {
        await part.sync();
        return part.sizeBytes;
      }
      await part.discard();
      if (!part.resumed || again) checkSha256(request, part.sha256, expected, 'what was downloaded');
      io.err('what was downloaded does not fit what an earlier download began; beginning anew\n');
    } finally {
      await part.close();
    }
  }
}

function networkOptions({ network }: BaseRequest, io: Io): ReleaseDownloadOptions {
  const proxy = useProxyOf(io.env);
  if (proxy !== undefined) io.err(`HTTPS_PROXY: by way of ${proxy}\n`);
  return {
    network,
    fetch: liveFetch,
    wait: liveWait,
    // An interrupt ends the process; what was written of the .part stays for the next call.
    signal: new AbortController().signal,
    onNote: (text) => {
      io.err(`${showText(text)}\n`);
    },
  };
}

/** The next place is asked only when the network failed. */
async function inTurn<T>(request: BaseRequest, io: Io, step: (url: string) => Promise<T>): Promise<T> {
  for (const [i, url] of request.urls.entries()) {
    try {
      return await step(url);
    } catch (error) {
      const isLast = i + 1 === request.urls.length;
      if (isLast || !(error instanceof CvmError) || error.kind !== 'network') throw error;
      io.err(`${showText(url)}: ${showText(error.message)}; asking the next place\n`);
    }
  }
  throw new Error('a base has at least one URL');
}

/** @throws CvmError mismatch BASE_SHA256 */
function checkSha256(
  request: BaseRequest,
  found: string,
  expected: BaseRequest['sha256'],
  what: string,
): void {
  if (expected === undefined || expected.value === found) return;
  const facts: Fact[] = [
    ['commit', request.commit],
    ['expected sha256', expected.value],
    ['expected by', expected.from],
    ['found', found],
  ];
  throw mismatchError('BASE_SHA256', `${what} is not the base release that is meant`, {
    facts,
    mend:
      expected.from === 'pins.lock.json'
        ? 'find out why it changed before you go on; --refresh asks the release for its sha256 anew'
        : 'compare the sha256 with the one in the proposal that elected the release, and take the file from another place',
  });
}
