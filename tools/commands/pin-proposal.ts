/** The proposal of a pin: kept, taken from files, or downloaded; verified with the request that it answers. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { mismatchError, usageError } from '../errors.ts';
import { proposalFileNames } from '../lock/lock.ts';
import type { NetworkName } from '../nns/networks.ts';
import { verifyProposal } from '../proposal/verify.ts';
import type { DownloadedProposal } from '../update/download-proposal.ts';
import type { Io } from './command.ts';
import { resolvePath } from './files.ts';
import { readSmallFile } from './guestos-options.ts';
import { DEFAULT_TIMEOUT_S, download, hostUrls, readKept } from './proposal-download.ts';

export interface ProposalRequest {
  /** Undefined when only a file says it. */
  readonly id: bigint | undefined;
  readonly file: string | undefined;
  readonly network: NetworkName;
  readonly nnsUrls: readonly string[];
  /** The environment's folder. */
  readonly folder: string;
  readonly refresh: boolean;
}

export interface ObtainedProposal extends DownloadedProposal {
  readonly how: string;
}

/** @throws CvmError of `verifyProposal` and of the download; mismatch PROPOSAL_FILE_ID; usage REQUEST_FILE_MISSING */
export async function obtainProposal(request: ProposalRequest, io: Io): Promise<ObtainedProposal> {
  const { id, file, network, folder } = request;
  if (file !== undefined) return fromFile(request, file, io);
  if (id === undefined) throw usageError('PIN_PROPOSAL', 'no proposal was named');
  const names = proposalFileNames(id.toString());
  const target = {
    proposalId: id,
    network,
    certificatePath: join(folder, names.certificate),
    requestPath: join(folder, names.request),
  };
  const kept = request.refresh ? undefined : readKept(target, io);
  if (kept !== undefined) return { ...kept, how: 'kept' };
  const downloaded = await download(target, hostUrls(request.nnsUrls, network), DEFAULT_TIMEOUT_S, io);
  return { ...downloaded, how: 'downloaded' };
}

function fromFile({ id, network }: ProposalRequest, file: string, io: Io): ObtainedProposal {
  const requestFile = file.replace(/(\.cbor)?$/, '.request.cbor');
  const certificate = readSmallFile(io, file, 'the proposal certificate');
  if (!existsSync(resolvePath(io, requestFile))) {
    throw usageError(
      'REQUEST_FILE_MISSING',
      'the certificate has no request beside it, so which question was answered is unknown',
      {
        facts: [
          ['certificate', file],
          ['looked for', requestFile],
        ],
        mend: 'give --proposal=<id> instead: that downloads a certificate together with its request',
      },
    );
  }
  const request = readSmallFile(io, requestFile, 'the request');
  const facts = verifyProposal({ certificate, request, trust: { network }, demandRequest: true });
  if (id !== undefined && facts.proposalId !== id) {
    throw mismatchError('PROPOSAL_FILE_ID', 'the file holds another proposal than the one that was named', {
      facts: [
        ['file', file],
        ['named', id],
        ['in the file', facts.proposalId],
      ],
      mend: 'name the proposal that is in the file, or leave --proposal out',
    });
  }
  return { certificate, request, facts, how: `from ${file}` };
}
