import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { CvmError } from '../../../tools/errors.ts';
import { verifyCertificate } from '../../../tools/nns/certificate.ts';
import type { VerifiedCertificate } from '../../../tools/nns/certificate.ts';
import { encodeLeb128 } from '../../../tools/nns/leb128.ts';
import { rootKeyOf } from '../../../tools/nns/networks.ts';
import { principalFromText } from '../../../tools/nns/principal.ts';
import { proposalFactsJson } from '../../../tools/proposal/facts.ts';
import { decodeProposalInfo } from '../../../tools/proposal/proposal-info.ts';
import { certifiedReply, certifiedRequestId } from '../../../tools/proposal/answer.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { SHARED_SUFFIX, ownVectors, sharedVectors } from '../../nns/vectors.ts';
import type { VectorCase, Vectors } from '../../nns/vectors.ts';
import { expectRefusal } from '../../support/refusals.ts';

const networkOf = (vector: VectorCase) => (vector.root_key === 'test' ? 'dev' : 'mainnet');

function verify(vectors: Vectors, vector: VectorCase): VerifiedCertificate {
  return verifyCertificate({
    certificate: vectors.file(vector.file),
    rootKey: rootKeyOf({ network: networkOf(vector) }),
    canisterId: principalFromText(vector.canister),
  });
}

const CERTIFICATE_CODES: Readonly<Record<VectorCase['certificate'], readonly string[]>> = {
  ok: [],
  'fails: ranges': ['CERT_CANISTER_RANGE', 'CERT_RANGES_MISSING'],
  'fails: delegation': ['CERT_DELEGATION_SIGNATURE'],
  'fails: signature': ['CERT_SIGNATURE'],
};

/** Where the way from certificate to proposal ends, in the words of the recorded results. */
const PROPOSAL_STAGES: Readonly<Record<string, string>> = {
  PROPOSAL_REQUEST_STATUS: 'request_status',
  PROPOSAL_NOT_REPLIED: 'status',
  PROPOSAL_MISSING: 'proposal_missing',
};

function checkVector(vectors: Vectors, vector: VectorCase): void {
  if (vector.certificate !== 'ok') {
    try {
      verify(vectors, vector);
      expect.unreachable('the certificate was accepted');
    } catch (error) {
      expect(error).toBeInstanceOf(CvmError);
      expect((error as CvmError).kind).toBe('trust');
      expect(CERTIFICATE_CODES[vector.certificate]).toContain((error as CvmError).code);
    }
    return;
  }
  const verified = verify(vectors, vector);
  expect(bytesToHex(verified.rootHash)).toBe(vector.root_hash);
  if (vector.time_leb128 !== undefined && !/^0+$/.test(vector.time_leb128)) {
    expect(bytesToHex(encodeLeb128(verified.timeNs))).toBe(vector.time_leb128);
  }
  if (vector.proposal_error_stage === undefined) return;
  try {
    decodeProposalInfo(certifiedReply(verified, certifiedRequestId(verified)));
    expect.unreachable('the proposal was accepted');
  } catch (error) {
    expect(PROPOSAL_STAGES[(error as CvmError).code]).toBe(vector.proposal_error_stage);
  }
}

describe('own vectors', () => {
  test.each(ownVectors.cases)('$file with the $root_key key for $canister: $certificate', (vector) => {
    checkVector(ownVectors, vector);
  });

  test('the proposal inside is the one that was put there, though nothing binds it to a request', () => {
    const facts = verifyProposal({
      certificate: ownVectors.file('testkey-executed-proposal.cbor'),
      trust: { network: 'dev' },
    });
    expect(proposalFactsJson(facts)).toEqual({
      proposalId: '139001',
      network: 'dev',
      status: 'executed',
      certifiedTime: '1970-01-01T00:00:00.000000000Z',
      requestId: '01'.repeat(32),
      requestBound: false,
      title: expect.any(String) as string,
      chipIds: ['2a'.repeat(64)],
      rootfsHash: '1d'.repeat(32),
      measurements: [
        {
          measurement: '42'.repeat(48),
          kernelCmdline: expect.stringMatching(
            /^root=\/dev\/disk\/by-partuuid\/.* root_hash=(c3){32}$/,
          ) as string,
          vcpuType: 'EPYC-Genoa',
        },
      ],
    });
  });

  test('the same bytes under a custom key say so', () => {
    const facts = verifyProposal({
      certificate: ownVectors.file('testkey-executed-proposal.cbor'),
      trust: { network: 'custom', rootKey: hexToBytes(ownVectors.rootKeys.test) },
    });
    expect(facts.network).toBe('custom');
  });

  test('a build for mainnet refuses it', () => {
    const certificate = ownVectors.file('testkey-executed-proposal.cbor');
    expectRefusal(
      () => verifyProposal({ certificate, trust: { network: 'mainnet' }, demandRequest: true }),
      'CERT_SIGNATURE',
      'trust',
    );
  });
});

describe(`real certificates${SHARED_SUFFIX}`, () => {
  test.skipIf(sharedVectors === undefined)('every recorded result is met', () => {
    const vectors = sharedVectors as Vectors;
    expect(vectors.cases.length).toBeGreaterThan(10);
    for (const vector of vectors.cases) checkVector(vectors, vector);
  });

  test.skipIf(sharedVectors === undefined)('the facts that the reference tells are met', () => {
    const vectors = sharedVectors as Vectors;
    const delegated = verifyCertificate({
      certificate: vectors.file('mainnet-replied-delegated.cbor'),
      rootKey: rootKeyOf({ network: 'mainnet' }),
      canisterId: principalFromText('suje7-zaaaa-aaaad-abnzq-cai'),
    });
    expect(bytesToHex(certifiedRequestId(delegated))).toBe(
      '0db17a4999e6d1bb9dadb9042489dfe1eee589e3f036aa1c7bfe12964c1ec75a',
    );
    expect(delegated.timeNs / 1_000_000n).toBe(BigInt(Date.UTC(2025, 6, 23, 12, 5, 54, 975)));
    expect(certifiedReply(delegated, certifiedRequestId(delegated))).toHaveLength(291);
  });
});
