/** One verification of a delegated certificate, ours and the official agent's, in turn in one process. */
import { performance } from 'node:perf_hooks';
import { Certificate } from '@dfinity/agent';
import { Principal } from '@dfinity/principal';
import { verifyCertificate } from '../../tools/nns/certificate.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../../tools/nns/networks.ts';
import { DEV_TIME_NS, devCall } from '../nns/answer.ts';
import { GOOD_PROPOSAL } from '../nns/examples.ts';
import { encodeProposalReply } from '../nns/proposal-reply.ts';
import {
  DEV_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  makeCertificate,
  subnetIdOf,
} from '../nns/signer.ts';
import { callRequestId } from '../../tools/proposal/request.ts';

const RUNS = 31;

/** A certificate of an executed proposal through a delegation with the ranges that the agent knows. */
function delegatedCertificate(): Uint8Array {
  const subnetId = subnetIdOf(SUBNET_SECRET);
  const ranges = [{ start: new Uint8Array(10), end: new Uint8Array(10).fill(0xff) }];
  const inner = delegationTree({ form: 'legacy', subnetId, ranges, timeNs: DEV_TIME_NS });
  const { proposalId } = GOOD_PROPOSAL;
  return makeCertificate({
    tree: answerTree({
      requestId: callRequestId(devCall(proposalId)),
      reply: encodeProposalReply(GOOD_PROPOSAL),
      timeNs: DEV_TIME_NS,
    }),
    secret: SUBNET_SECRET,
    delegation: delegationCbor(subnetId, makeCertificate({ tree: inner, secret: DEV_SECRET })),
  });
}

/** Seconds of each run, ascending, ours and theirs. */
export async function timeCertificates(): Promise<{
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
}> {
  const certificate = delegatedCertificate();
  const rootKey = rootKeyOf({ network: 'dev' });
  const canisterId = Principal.fromUint8Array(GOVERNANCE_CANISTER_ID);
  const own = (): void => {
    verifyCertificate({ certificate, rootKey, canisterId: GOVERNANCE_CANISTER_ID });
  };
  const peer = async (): Promise<void> => {
    await Certificate.create({ certificate, rootKey, canisterId, disableTimeVerification: true });
  };
  const time = async (step: () => void | Promise<void>): Promise<number> => {
    const start = performance.now();
    await step();
    return (performance.now() - start) / 1000;
  };
  const ours: number[] = [];
  const theirs: number[] = [];
  // The first runs compile; they count for neither.
  for (let run = -3; run < RUNS; run++) {
    const [a, b] = [await time(own), await time(peer)];
    if (run < 0) continue;
    ours.push(a);
    theirs.push(b);
  }
  const ascending = (a: number, b: number): number => a - b;
  return { ours: ours.sort(ascending), theirs: theirs.sort(ascending) };
}
