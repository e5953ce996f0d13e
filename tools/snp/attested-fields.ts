import { readU32 } from '../bytes/little-endian.ts';
import { formatError } from '../errors.ts';

/** ATTESTATION_REPORT of every version so far: 1184 bytes. Source: SEV-SNP firmware ABI 1.58, table 23. */
const REPORT_BYTES = 1184;
const POLICY_AT = 0x08;
const MEASUREMENT_AT = 0x90;
const CHIP_ID_AT = 0x1a0;
const VERSIONS = [2, 3, 4, 5] as const;

export interface AttestedFields {
  /** The guest policy. */
  readonly policy: bigint;
  /** 48 bytes: the launch digest. */
  readonly measurement: Uint8Array;
  /** 64 bytes; all zero when the firmware was told to mask it. */
  readonly chipId: Uint8Array;
}

/**
 * What a report says of guest and chip. Its signature is not looked at: who believes a report has to check that first.
 * @throws CvmError format REPORT_SIZE | REPORT_VERSION
 */
export function readAttestedFields(report: Uint8Array): AttestedFields {
  if (report.length !== REPORT_BYTES) {
    throw formatError('REPORT_SIZE', 'an attestation report has another length', {
      facts: [
        ['expected', `${REPORT_BYTES} bytes`],
        ['found', `${report.length} bytes`],
      ],
      mend: 'give the report alone, as the firmware wrote it, without a table of certificates',
    });
  }
  const version = readU32(report, 0);
  if (!(VERSIONS as readonly number[]).includes(version)) {
    throw formatError('REPORT_VERSION', 'the attestation report has an unknown version', {
      facts: [
        ['found', version],
        ['known', VERSIONS.join(', ')],
      ],
    });
  }
  return {
    policy: BigInt(readU32(report, POLICY_AT)) | (BigInt(readU32(report, POLICY_AT + 4)) << 32n),
    measurement: report.slice(MEASUREMENT_AT, MEASUREMENT_AT + 48),
    chipId: report.slice(CHIP_ID_AT, CHIP_ID_AT + 64),
  };
}
