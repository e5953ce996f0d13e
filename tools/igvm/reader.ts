import { readU32 } from '../bytes/little-endian.ts';
import { isZero } from '../bytes/compare.ts';
import { asSource, type ByteSource } from '../bytes/source.ts';
import { formatError } from '../errors.ts';
import { readFixedHeader } from './fixed-header.ts';
import { decodeHeader, Fields, placeFacts, type Payloads, type Place } from './header-decode.ts';
import {
  IGVM_PAGE_BYTES,
  PLATFORM_TYPES,
  platformTypeName,
  type IgvmFile,
  type IgvmHeader,
} from './model.ts';
import { FilePage, PageWindow } from './page-window.ts';
import { checkStructure } from './structure.ts';
import { NATIVE_CONTEXT_BYTES } from './vp-context.ts';

/** At most this many headers: one for every page of 4 GiB. */
export const HEADER_LIMIT = 1 << 20;

/** At most so much data of headers other than pages, which may all point to the same. Start states take the most. */
const PAYLOAD_LIMIT_BYTES = 1 << 28;

const HEADER_ALIGNMENT = 8;

export interface ReadIgvmOptions {
  /**
   * The `data` of a page holds only until that of another is asked for. For whoever looks at one page at a time: memory is
   * then bounded by a buffer, not by the file. The source has to stay open as long as the file is in use.
   */
  readonly sharesPageBuffer?: boolean;
}

/**
 * Reads an IGVM file, every header of it. Payloads of bytes in memory are views.
 *
 * @throws CvmError format of fixed-header.ts, header-decode.ts and structure.ts; IGVM_TRUNCATED_HEADER |
 *   IGVM_PADDING | IGVM_TOO_MANY_HEADERS | IGVM_DATA_BOUNDS | IGVM_DATA_TOTAL | IGVM_VP_CONTEXT
 */
export function readIgvm(data: Uint8Array | ByteSource, options: ReadIgvmOptions = {}): IgvmFile {
  const source = asSource(data);
  const { version, architecture, variable, variableOffset } = readFixedHeader(source);
  const end = variable.length;
  const headers: IgvmHeader[] = [];
  // Types of the platforms so far, by mask: they stand before everything that refers to them.
  const platforms = new Map<number, number>();
  const window = options.sharesPageBuffer === true ? new PageWindow(source) : undefined;
  const payloads = payloadsOf(source, window, variableOffset + end, platforms);
  const fields = new Fields(variable, variableOffset);
  for (let at = 0; at < end;) {
    const contentEnd = fields.open(at, headers.length);
    if (headers.length >= HEADER_LIMIT) throw tooManyHeaders(fields);
    const next = Math.ceil(contentEnd / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
    if (next > end) {
      throw formatError('IGVM_TRUNCATED_HEADER', 'an IGVM header ends behind the variable headers', {
        facts: [
          ...placeFacts(fields),
          ['ends at', variableOffset + next],
          ['variable headers end at', variableOffset + end],
        ],
        mend: 'the file is damaged: fetch or build it again',
      });
    }
    const header = decodeHeader(fields, payloads);
    if (header.kind === 'supported-platform') platforms.set(header.mask, header.platformType);
    headers.push(header);
    if (next > contentEnd && !isZero(variable.subarray(contentEnd, next))) {
      throw formatError('IGVM_PADDING', 'the padding behind an IGVM header is not zero', {
        facts: placeFacts(fields),
        mend: 'the file is damaged, or made by a tool that does not follow the format',
      });
    }
    at = next;
  }
  const file: IgvmFile = { version, architecture, headers };
  checkStructure(file, { hasFittingData: true });
  return file;
}

function payloadsOf(
  source: ByteSource,
  window: PageWindow | undefined,
  dataStart: number,
  platforms: ReadonlyMap<number, number>,
): Payloads {
  let readBytes = 0;
  const requireInside = (fileOffset: number, length: number, where: Place): void => {
    if (fileOffset >= dataStart && fileOffset + length <= source.sizeBytes) return;
    throw formatError('IGVM_DATA_BOUNDS', 'an IGVM header points outside the file data', {
      facts: [
        ...placeFacts(where),
        ['points to', `${length} bytes at 0x${fileOffset.toString(16)}`],
        ['file data', `0x${dataStart.toString(16)} to 0x${source.sizeBytes.toString(16)}`],
      ],
      mend: 'the file is damaged: fetch or build it again',
    });
  };
  const at = (fileOffset: number, length: number, where: Place): Uint8Array => {
    requireInside(fileOffset, length, where);
    readBytes += length;
    if (readBytes > PAYLOAD_LIMIT_BYTES) {
      throw formatError('IGVM_DATA_TOTAL', 'the headers of an IGVM file point to more data than they may', {
        facts: [...placeFacts(where), ['limit', `${PAYLOAD_LIMIT_BYTES} bytes, pages not counted`]],
        mend: 'the same bytes may be meant again and again: make the file anew with a tool that follows the format',
      });
    }
    return source.read(fileOffset, length);
  };
  return {
    at,
    page(header, fileOffset, where) {
      requireInside(fileOffset, IGVM_PAGE_BYTES, where);
      if (window !== undefined) return new FilePage(header, window, fileOffset);
      return { kind: 'page-data', ...header, data: source.read(fileOffset, IGVM_PAGE_BYTES) };
    },
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

function tooManyHeaders(where: Place): Error {
  return formatError('IGVM_TOO_MANY_HEADERS', 'an IGVM file has more headers than it may have', {
    facts: [
      ['limit', HEADER_LIMIT],
      ['reached at', `byte 0x${where.offset.toString(16)}`],
    ],
    mend: 'a file needs no more than one header for every page of 4 GiB',
  });
}
