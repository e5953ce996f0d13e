/** One table of what can be wrong with a proposal's two files, through the command that builds run. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { decodeCbor } from '../../../tools/cbor/decode.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborMap, CborValue } from '../../../tools/cbor/value.ts';
import { command } from '../../../tools/commands/proposal-verify.ts';
import type { ErrorKind } from '../../../tools/errors.ts';
import { rootHash } from '../../../tools/nns/hash-tree.ts';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import { callRequestId, encodeCallContent, proposalCall } from '../../../tools/proposal/request.ts';
import type { CallContent } from '../../../tools/proposal/request.ts';
import { DEV_TIME_NS, devCall, signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import {
  STATUS,
  encodeProposalReply,
  encodeReplyValue,
  proposalInfoValue,
} from '../../nns/proposal-reply.ts';
import {
  DEV_SECRET,
  STRANGER_SECRET,
  SUBNET_SECRET,
  answerTree,
  delegationCbor,
  delegationTree,
  makeCertificate,
  signRootHash,
  subnetIdOf,
  subtree,
} from '../../nns/signer.ts';
import { expectRefusalOf } from '../../support/refusals.ts';
import { runCommand, scratchFolder } from '../../support/run-command.ts';
import { ID, certify, certifyReply, good, replied, statuses } from './dev-proposals.ts';

/** The good certificate with one field of its map changed. */
function withField(key: string, change: (value: CborValue) => CborValue): Uint8Array {
  const map = decodeCbor(good.certificate) as CborMap;
  return encodeCbor(new Map([...map, [key, change(map.get(key))]]), true);
}

const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

/** The place of a text in the certificate: what is tampered there is tampered in the tree. */
const placeOf = (text: string): number => Buffer.from(good.certificate).indexOf(text);

/** What the root says about a subnet that holds the canisters from one id to another. */
const holding = (from: number, to: number): HashTree =>
  delegationTree({
    form: 'legacy',
    subnetId: subnetIdOf(SUBNET_SECRET),
    ranges: [{ start: new Uint8Array(10).fill(from), end: new Uint8Array(10).fill(to) }],
    timeNs: DEV_TIME_NS,
  });

/** The good answer, signed by a subnet below this delegation. */
const delegated = (inner: Uint8Array): Uint8Array =>
  makeCertificate({
    tree: answerTree({ requestId: ID, reply: encodeProposalReply(GOOD_PROPOSAL), timeNs: DEV_TIME_NS }),
    secret: SUBNET_SECRET,
    delegation: delegationCbor(subnetIdOf(SUBNET_SECRET), inner),
  });

type Info = Record<string, unknown>;
function withAction(action: readonly unknown[]): Uint8Array {
  const info = proposalInfoValue(GOOD_PROPOSAL);
  return certifyReply(
    encodeReplyValue([{ ...info, proposal: [{ ...(info['proposal'] as [Info])[0], action }] }]),
  );
}

const signed = (change: Partial<typeof GOOD_PROPOSAL>): Uint8Array =>
  signProposal({ ...GOOD_PROPOSAL, ...change }).certificate;

interface Pair {
  readonly certificate: Uint8Array;
  readonly request?: Uint8Array | null;
}

/** A pair that belongs together, about another question than get_proposal_info of this id at governance. */
function asked(change: Partial<CallContent>): Pair {
  const content = { ...devCall(139001n), ...change };
  const reply = encodeProposalReply(GOOD_PROPOSAL);
  return {
    certificate: certify(answerTree({ requestId: callRequestId(content), reply, timeNs: DEV_TIME_NS })),
    request: encodeCallContent(content),
  };
}

const certificateOf = (certificate: Uint8Array): Pair => ({ certificate });

const BAD: readonly (readonly [string, Pair, string, ErrorKind])[] = [
  [
    'certificate tampered in the tree',
    certificateOf(flipped(good.certificate, placeOf('1d1d1d'))),
    'CERT_SIGNATURE',
    'trust',
  ],
  [
    'certificate tampered in the signature',
    certificateOf(withField('signature', (value) => flipped(value as Uint8Array, 47))),
    'BLS_SIGNATURE_POINT',
    'trust',
  ],
  [
    'certificate with the signature of another',
    certificateOf(
      withField('signature', () => (decodeCbor(signed({ title: 'other' })) as CborMap).get('signature')),
    ),
    'CERT_SIGNATURE',
    'trust',
  ],
  [
    'certificate tampered in the delegation: ranges widened after they were signed',
    certificateOf(
      delegated(
        makeCertificate({
          tree: holding(0, 255),
          secret: DEV_SECRET,
          signature: signRootHash(rootHash(holding(1, 255)), DEV_SECRET),
        }),
      ),
    ),
    'CERT_DELEGATION_SIGNATURE',
    'trust',
  ],
  [
    'delegation signed by a stranger',
    certificateOf(delegated(makeCertificate({ tree: holding(0, 255), secret: STRANGER_SECRET }))),
    'CERT_DELEGATION_SIGNATURE',
    'trust',
  ],
  [
    'delegation to a subnet without governance',
    certificateOf(delegated(makeCertificate({ tree: holding(1, 255), secret: DEV_SECRET }))),
    'CERT_CANISTER_RANGE',
    'trust',
  ],
  [
    'trailing bytes',
    certificateOf(concatBytes(good.certificate, Uint8Array.of(0))),
    'CBOR_TRAILING',
    'format',
  ],
  ['certificate cut short', certificateOf(good.certificate.subarray(0, -1)), 'CBOR_TRUNCATED', 'format'],
  ['empty certificate', certificateOf(new Uint8Array()), 'CBOR_TRUNCATED', 'format'],
  ['open proposal', certificateOf(signed({ status: STATUS.open })), 'PROPOSAL_NOT_EXECUTED', 'trust'],
  ['rejected proposal', certificateOf(signed({ status: STATUS.rejected })), 'PROPOSAL_NOT_EXECUTED', 'trust'],
  ['adopted proposal', certificateOf(signed({ status: STATUS.adopted })), 'PROPOSAL_NOT_EXECUTED', 'trust'],
  ['failed proposal', certificateOf(signed({ status: STATUS.failed })), 'PROPOSAL_NOT_EXECUTED', 'trust'],
  [
    'other action',
    certificateOf(withAction([{ Motion: { motion_text: 'hi' } }])),
    'PROPOSAL_ACTION',
    'trust',
  ],
  ['no action', certificateOf(withAction([])), 'PROPOSAL_ACTION', 'trust'],
  ['null', certificateOf(certifyReply(encodeProposalReply(null))), 'PROPOSAL_MISSING', 'trust'],
  [
    'two request ids',
    certificateOf(certify(statuses(subtree([ID, replied()], [new Uint8Array(32).fill(9), replied()])))),
    'PROPOSAL_REQUEST_COUNT',
    'trust',
  ],
  ['request missing', { certificate: good.certificate, request: null }, 'REQUEST_MISSING', 'trust'],
  [
    'request for another id',
    { certificate: good.certificate, request: encodeCallContent(devCall(139002n)) },
    'REQUEST_ID',
    'trust',
  ],
  [
    'request of the same question at another time',
    { certificate: good.certificate, request: encodeCallContent(proposalCall(139001n, 5n, undefined)) },
    'REQUEST_ID',
    'trust',
  ],
  ['request for another id, answered so', asked({ arg: devCall(139002n).arg }), 'REQUEST_ARGUMENT', 'trust'],
  ['request to another canister', asked({ canisterId: new Uint8Array(10) }), 'REQUEST_CANISTER', 'trust'],
  ['request for another method', asked({ methodName: 'get_neuron_info' }), 'REQUEST_METHOD', 'trust'],
  ['request by another sender', asked({ sender: Uint8Array.of(1, 2) }), 'REQUEST_SENDER', 'trust'],
  ['request of another type', asked({ requestType: 'query' }), 'REQUEST_TYPE', 'trust'],
  [
    'request with a field that nobody knows',
    {
      certificate: good.certificate,
      request: encodeCbor(new Map([...(decodeCbor(good.request) as CborMap), ['sender_info', 'x']])),
    },
    'REQUEST_SHAPE',
    'format',
  ],
  [
    'request with a byte more',
    { certificate: good.certificate, request: Uint8Array.of(...good.request, 0) },
    'CBOR_TRAILING',
    'format',
  ],
  [
    'files exchanged',
    { certificate: good.request, request: good.certificate },
    'CERT_FIELD_UNKNOWN',
    'format',
  ],
];

let folder: string;

beforeAll(() => {
  folder = scratchFolder();
});

const verify = ({ certificate, request = good.request }: Pair, network = 'dev') => {
  writeFileSync(join(folder, '139001.cbor'), certificate);
  if (request !== null) writeFileSync(join(folder, '139001.request.cbor'), request);
  return runCommand(command, folder, ['139001.cbor'], {
    network,
    requireRequest: true,
    output: 'facts.json',
    ...(request === null ? {} : { request: '139001.request.cbor' }),
  });
};

describe('each is one error with code, facts and mend, and nothing is written', () => {
  test.each(BAD)('%s', async (_, pair, code, kind) => {
    await expectRefusalOf(() => verify(pair), code, kind);
    expect(readdirSync(folder)).not.toContain('facts.json');
  });

  test('wrong network’s key', async () => {
    await expectRefusalOf(() => verify(good, 'mainnet'), 'CERT_SIGNATURE', 'trust');
  });

  test('a file that is named after another proposal', async () => {
    for (const name of ['139002.cbor', '0139001.cbor']) {
      writeFileSync(join(folder, name), good.certificate);
      await expectRefusalOf(
        () => runCommand(command, folder, [name], { network: 'dev' }),
        'PROPOSAL_FILE_NAME',
        'mismatch',
      );
    }
    writeFileSync(join(folder, '139001.cbor'), good.certificate);
    writeFileSync(join(folder, '7.request.cbor'), good.request);
    await expectRefusalOf(
      () => runCommand(command, folder, ['139001.cbor'], { network: 'dev', request: '7.request.cbor' }),
      'PROPOSAL_FILE_NAME',
      'mismatch',
    );
  });
});

test('the pair that all this is made from is good', async () => {
  const { code } = await verify(good);
  expect(code).toBe(0);
  expect(readdirSync(folder)).toContain('facts.json');
});
