import { X509Certificate } from 'node:crypto';
import { isZero } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { formatError, trustError, type Fact } from '../errors.ts';
import { REPORT_SIGNED_BYTES, tcbText, type AttestationReport, type Tcb } from './attestation-report.ts';
import { certificateExtensions, smallInteger } from './certificate-extensions.ts';
import { isSignedBy, keyPoint, p384Key, readSnpSignature } from './p384.ts';

/** The certificates behind a report: each signs the one before it, the last itself. */
export interface ReportChain {
  /** VCEK or VLEK: the key that signed the report. */
  readonly endorsement: X509Certificate;
  /** ASK, or ASVK of a VLEK. */
  readonly intermediate: X509Certificate;
  /** ARK: whoever gives it trusts it. */
  readonly root: X509Certificate;
}

/** 1.3.6.1.4.1.3704.1, AMD's arc of these certificates. */
const ARC = '2b060104019c7801';
const OIDS = {
  bootLoader: '0301',
  tee: '0302',
  snp: '0303',
  microcode: '0308',
  fmc: '0309',
  chipId: '04',
} as const;

const ALGORITHM_P384_SHA384 = 1;
const RSA_BITS = 4096;

/** @throws CvmError format CERTIFICATE_FORMAT */
export function readCertificate(file: Uint8Array, what: string): X509Certificate {
  try {
    return new X509Certificate(file);
  } catch (cause) {
    throw formatError('CERTIFICATE_FORMAT', `${what} is no X.509 certificate`, {
      mend: 'give it as PEM or DER, one certificate a file',
      cause,
    });
  }
}

/**
 * Checks that a report was signed by a processor that AMD vouches for: the report by the endorsement key, that by the
 * intermediate, that by the root, the root by itself; and that the endorsement key is of the chip and TCB that the report names: a
 * key of an older, broken TCB must not speak for a newer one.
 *
 * @param report the bytes that `parsed` was read from
 * @param at seconds since 1970 at which all three must be valid; validity is not looked at when absent
 * @throws CvmError trust REPORT_* ; format SNP_SIGNATURE_FORMAT | SNP_KEY_FORMAT | CERTIFICATE_DER
 */
export function verifyReport(
  report: Uint8Array,
  parsed: AttestationReport,
  kind: 'VCEK' | 'VLEK',
  chain: ReportChain,
  at?: number,
): void {
  const { endorsement, intermediate, root } = chain;
  const intermediateName = kind === 'VCEK' ? 'ASK' : 'ASVK';
  if (parsed.signingKey !== kind) {
    throw trustError('REPORT_SIGNING_KEY', `the report says that no ${kind} signed it`, {
      facts: [['signing key', parsed.signingKey]],
      mend:
        parsed.signingKey === 'VLEK'
          ? 'give the certificate with --vlek'
          : 'give the certificate with --vcek',
    });
  }
  if (parsed.signatureAlgorithm !== ALGORITHM_P384_SHA384) {
    throw trustError('REPORT_ALGORITHM', 'the report is not signed by ECDSA P-384 with SHA-384', {
      facts: [['algorithm', parsed.signatureAlgorithm]],
    });
  }
  requireIssued('ARK', root, 'ARK', root);
  requireIssued(intermediateName, intermediate, 'ARK', root);
  requireIssued(kind, endorsement, intermediateName, intermediate);
  if (at !== undefined) {
    for (const [name, certificate] of [
      [kind, endorsement],
      [intermediateName, intermediate],
      ['ARK', root],
    ] as const)
      requireValid(name, certificate, at);
  }
  requireSameTcb(kind, endorsement, parsed);
  const key = p384Key(keyPoint(endorsement.publicKey, `the ${kind}`), `the ${kind}`);
  const signature = readSnpSignature(parsed.signature, "the report's signature");
  if (!isSignedBy(key, report.subarray(0, REPORT_SIGNED_BYTES), signature)) {
    throw trustError('REPORT_SIGNATURE', `the report is not signed by this ${kind}`, {
      facts: [
        ['chip id', bytesToHex(parsed.chipId)],
        ['reported TCB', tcbText(parsed.reportedTcb)],
      ],
      mend: 'fetch the certificate of this chip and this TCB; if it is that, the report was changed',
    });
  }
}

function requireIssued(
  name: string,
  certificate: X509Certificate,
  issuerName: string,
  issuer: X509Certificate,
): void {
  const facts: Fact[] = [
    [`${name} subject`, certificate.subject.replaceAll('\n', ', ')],
    [`${name} issuer`, certificate.issuer.replaceAll('\n', ', ')],
    [`${issuerName} subject`, issuer.subject.replaceAll('\n', ', ')],
  ];
  const { asymmetricKeyType, asymmetricKeyDetails } = issuer.publicKey;
  const isRsa = asymmetricKeyType === 'rsa' || asymmetricKeyType === 'rsa-pss';
  if (!issuer.ca || !isRsa || asymmetricKeyDetails?.modulusLength !== RSA_BITS) {
    throw trustError(
      'REPORT_CHAIN_ISSUER',
      `the ${issuerName} is no authority with a key of RSA ${RSA_BITS}`,
      { facts },
    );
  }
  let isSigned: boolean;
  try {
    isSigned = certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch (cause) {
    throw trustError('REPORT_CHAIN', `the ${name} cannot be checked against the ${issuerName}`, {
      facts,
      cause,
    });
  }
  if (!isSigned) {
    throw trustError('REPORT_CHAIN', `the ${name} is not signed by the ${issuerName}`, {
      facts,
      mend: 'take ASK and ARK of the same product line (Milan, Genoa, Turin) as the endorsement key',
    });
  }
}

function requireValid(name: string, certificate: X509Certificate, at: number): void {
  const [from, to] = [Date.parse(certificate.validFrom) / 1000, Date.parse(certificate.validTo) / 1000];
  // A date that cannot be read is no date in range.
  if (from <= at && at <= to) return;
  throw trustError('REPORT_CHAIN_DATE', `the ${name} is not valid at that time`, {
    facts: [
      ['from', certificate.validFrom],
      ['to', certificate.validTo],
      ['asked for', at],
    ],
  });
}

function requireSameTcb(
  kind: 'VCEK' | 'VLEK',
  certificate: X509Certificate,
  report: AttestationReport,
): void {
  const extensions = certificateExtensions(new Uint8Array(certificate.raw));
  const version = (name: keyof typeof OIDS): number | undefined => {
    const value = extensions.get(ARC + OIDS[name]);
    return value === undefined ? undefined : smallInteger(value);
  };
  const expected: Tcb = report.reportedTcb;
  for (const name of ['fmc', 'bootLoader', 'tee', 'snp', 'microcode'] as const) {
    if (expected[name] === undefined || version(name) === expected[name]) continue;
    throw trustError('REPORT_TCB', `the ${kind} is of another TCB than the report claims`, {
      facts: [
        ['part', name],
        [`in the ${kind}`, version(name) ?? 'missing'],
        ['reported', expected[name]],
      ],
      mend: `fetch the ${kind} for the reported TCB: ${tcbText(expected)}`,
    });
  }
  if (kind === 'VLEK') return;
  const chip = rawChipId(extensions.get(ARC + OIDS.chipId));
  const claimed = bytesToHex(report.chipId);
  // Turin has 8 bytes, and zeros behind them in the report. Hosts may mask the id: it is all zero then.
  const isSame = chip !== undefined && claimed === bytesToHex(chip).padEnd(2 * report.chipId.length, '0');
  if (isSame || isZero(report.chipId)) return;
  throw trustError('REPORT_CHIP', 'the VCEK is of another chip than the report claims', {
    facts: [
      ['in the VCEK', chip === undefined ? 'missing' : bytesToHex(chip)],
      ['in the report', claimed],
    ],
    mend: 'fetch the VCEK of this chip',
  });
}

/** 64 or 8 bytes as they are, or in an OCTET STRING. */
function rawChipId(value: Uint8Array | undefined): Uint8Array | undefined {
  if (value === undefined) return undefined;
  const isWrapped =
    (value.length === 66 || value.length === 10) && value[0] === 4 && value[1] === value.length - 2;
  const id = isWrapped ? value.subarray(2) : value;
  return id.length === 64 || id.length === 8 ? id : undefined;
}
