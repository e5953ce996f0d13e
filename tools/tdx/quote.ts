import { readU16, readU32 } from '../bytes/little-endian.ts';
import { formatError } from '../errors.ts';
import { REGISTER_BYTES } from './register.ts';

/** The registers that a TDX quote states. Its signature is another matter. */
export interface TdxQuote {
  readonly mrtd: Uint8Array;
  readonly rtmr0: Uint8Array;
  readonly rtmr1: Uint8Array;
  readonly rtmr2: Uint8Array;
  readonly rtmr3: Uint8Array;
  readonly mrConfigId: Uint8Array;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** Whether the host may look into the guest: then nothing it says is secret or certain. */
  readonly isDebug: boolean;
}

const HEADER_BYTES = 48;
const BODY_BYTES = 584;
const TEE_TDX = 0x81;
/** Offsets in the TD report body. */
const BODY = { attributes: 120, mrtd: 136, mrConfigId: 184, rtmr0: 328, reportData: 520 } as const;

export const QUOTE_LIMIT_BYTES = 1 << 20;

/**
 * Reads a TDX quote, version 4: header of 48 bytes (u16 version, u16 key type, u32 TEE type 0x81, …), TD report body of
 * 584 bytes, signature data. The signature is not checked here.
 *
 * Source: Intel TDX DCAP Quoting Library API, appendix A.3.
 * @throws CvmError format QUOTE_TRUNCATED | QUOTE_VERSION | QUOTE_TEE
 */
export function readQuote(bytes: Uint8Array): TdxQuote {
  if (bytes.length < HEADER_BYTES + BODY_BYTES) {
    throw formatError('QUOTE_TRUNCATED', 'the quote is too short', {
      facts: [
        ['size', `${bytes.length} bytes`],
        ['least', `${HEADER_BYTES + BODY_BYTES} bytes`],
      ],
    });
  }
  const version = readU16(bytes, 0);
  if (version !== 4) {
    throw formatError('QUOTE_VERSION', 'the quote has a version that is not read', {
      facts: [
        ['found', version],
        ['expected', 4],
      ],
    });
  }
  const tee = readU32(bytes, 4);
  if (tee !== TEE_TDX) {
    throw formatError('QUOTE_TEE', 'the quote is not of a TDX guest', {
      facts: [
        ['TEE type', `0x${tee.toString(16)}`],
        ['expected', `0x${TEE_TDX.toString(16)}`],
      ],
    });
  }
  const body = bytes.slice(HEADER_BYTES, HEADER_BYTES + BODY_BYTES);
  const register = (at: number): Uint8Array => body.slice(at, at + REGISTER_BYTES);
  return {
    mrtd: register(BODY.mrtd),
    rtmr0: register(BODY.rtmr0),
    rtmr1: register(BODY.rtmr0 + REGISTER_BYTES),
    rtmr2: register(BODY.rtmr0 + 2 * REGISTER_BYTES),
    rtmr3: register(BODY.rtmr0 + 3 * REGISTER_BYTES),
    mrConfigId: register(BODY.mrConfigId),
    reportData: body.slice(BODY.reportData, BODY.reportData + 64),
    isDebug: ((body[BODY.attributes] as number) & 1) !== 0,
  };
}
