import { readU32 } from '../bytes/little-endian.ts';
import { isZero } from '../bytes/compare.ts';
import { formatError } from '../errors.ts';
import { readFixedHeader } from './fixed-header.ts';
import { decodeHeader, placeFacts, type Payloads, type Place } from './header-decode.ts';
import { headerTypeName } from './header-types.ts';
import {
  IGVM_PAGE_BYTES,
  PLATFORM_TYPES,
  platformTypeName,
  type IgvmFile,
  type IgvmHeader,
} from './model.ts';
import { checkStructure } from './structure.ts';
import { NATIVE_CONTEXT_BYTES } from './vp-context.ts';

/** The largest file that is read; the format itself ends at 4 GiB, and real files at some hundred MiB. */
export const IGVM_LIMIT_BYTES = 1 << 30;

/** At most this many headers: one for every page of 4 GiB. */
export const HEADER_LIMIT = 1 << 20;

/**
 * Reads an IGVM file, every header of it. Payloads are views of `bytes`, not copies.
 *
 * @param bytes the whole file
 * @throws CvmError format IGVM_TOO_LARGE, of fixed-header.ts, header-decode.ts and structure.ts; IGVM_TRUNCATED_HEADER |
 *   IGVM_PADDING | IGVM_TOO_MANY_HEADERS | IGVM_DATA_BOUNDS | IGVM_VP_CONTEXT
 */
export function readIgvm(bytes: Uint8Array): IgvmFile {
  if (bytes.length > IGVM_LIMIT_BYTES) throw tooLarge(bytes.length);
  const fixed = readFixedHeader(bytes);
  const end = fixed.variableHeaderOffset + fixed.variableHeaderSize;
  const headers: IgvmHeader[] = [];
  // Types of the platforms so far, by mask: they stand before everything that refers to them.
  const platforms = new Map<number, number>();
  const payloads = payloadsOf(bytes, end, platforms);
  for (let at = fixed.variableHeaderOffset; at < end;) {
    const index = headers.length;
    if (index >= HEADER_LIMIT) throw tooManyHeaders(at);
    const type = at + 8 <= end ? readU32(bytes, at) : 0;
    const place: Place = { name: headerTypeName(type) ?? `type 0x${type.toString(16)}`, index, offset: at };
    const length = at + 8 <= end ? readU32(bytes, at + 4) : 0;
    const next = at + 8 + Math.ceil(length / 8) * 8;
    if (next > end) {
      throw formatError('IGVM_TRUNCATED_HEADER', 'an IGVM header ends behind the variable headers', {
        facts: [...placeFacts(place), ['ends at', next], ['variable headers end at', end]],
        mend: 'the file is damaged: fetch or build it again',
      });
    }
    const content = bytes.subarray(at + 8, at + 8 + length);
    const header = decodeHeader(type, content, payloads, place);
    if (header.kind === 'supported-platform') platforms.set(header.mask, header.platformType);
    headers.push(header);
    if (!isZero(bytes.subarray(at + 8 + length, next))) {
      throw formatError('IGVM_PADDING', 'the padding behind an IGVM header is not zero', {
        facts: placeFacts(place),
      });
    }
    at = next;
  }
  const file: IgvmFile = { version: fixed.version, architecture: fixed.architecture, headers };
  checkStructure(file);
  return file;
}

/** @throws CvmError format IGVM_TOO_LARGE */
export function tooLarge(sizeBytes: number): Error {
  return formatError('IGVM_TOO_LARGE', 'an IGVM file is larger than it may be', {
    facts: [
      ['size', `${sizeBytes} bytes`],
      ['limit', `${IGVM_LIMIT_BYTES} bytes`],
    ],
  });
}

function payloadsOf(bytes: Uint8Array, dataStart: number, platforms: ReadonlyMap<number, number>): Payloads {
  const at = (fileOffset: number, length: number, where: Place): Uint8Array => {
    if (fileOffset < dataStart || fileOffset + length > bytes.length) {
      throw formatError('IGVM_DATA_BOUNDS', 'an IGVM header points outside the file data', {
        facts: [
          ...placeFacts(where),
          ['points to', `${length} bytes at 0x${fileOffset.toString(16)}`],
          ['file data', `0x${dataStart.toString(16)} to 0x${bytes.length.toString(16)}`],
        ],
        mend: 'the file is damaged: fetch or build it again',
      });
    }
    return bytes.subarray(fileOffset, fileOffset + length);
  };
  return {
    at,
    vpContext(fileOffset, mask, where) {
      const type = platforms.get(mask);
      switch (type) {
        case PLATFORM_TYPES.SEV_SNP:
        case PLATFORM_TYPES.SEV_ES:
          return at(fileOffset, IGVM_PAGE_BYTES, where);
        case PLATFORM_TYPES.NATIVE:
        case PLATFORM_TYPES.SEV:
        case PLATFORM_TYPES.CCA: {
          const page = at(fileOffset, IGVM_PAGE_BYTES, where);
          const used = type === PLATFORM_TYPES.CCA ? CCA_CONTEXT_BYTES : NATIVE_CONTEXT_BYTES;
          if (isZero(page.subarray(used))) return page;
          throw badContext(where, mask, type, `bytes behind the context of ${used} are not zero`);
        }
        case PLATFORM_TYPES.VSM_ISOLATION: {
          const count = readU32(at(fileOffset, 4, where), 0);
          if (count === 0) throw badContext(where, mask, type, 'it sets no register');
          return at(fileOffset, 4 + 32 * count, where);
        }
        default:
          throw badContext(where, mask, type, 'its platform has none');
      }
    },
  };
}

/** IgvmVpContextAArch64Cca: x0 to x7, PC, flags. */
const CCA_CONTEXT_BYTES = 80;

function badContext(where: Place, mask: number, type: number | undefined, why: string): Error {
  return formatError('IGVM_VP_CONTEXT', `a VP context does not fit its platform: ${why}`, {
    facts: [
      ...placeFacts(where),
      ['mask', `0x${mask.toString(16)}`],
      ['platform', type === undefined ? 'none has this mask' : platformTypeName(type)],
    ],
    mend: 'a context belongs to exactly one platform: split its mask',
  });
}

function tooManyHeaders(at: number): Error {
  return formatError('IGVM_TOO_MANY_HEADERS', 'an IGVM file has more headers than it may have', {
    facts: [
      ['limit', HEADER_LIMIT],
      ['reached at', `byte 0x${at.toString(16)}`],
    ],
  });
}
