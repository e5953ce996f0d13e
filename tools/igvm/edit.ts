import { formatError, mismatchError, usageError, type CvmError } from '../errors.ts';
import { Describer, hex } from './describe.ts';
import { typeOfHeader } from './header-types.ts';
import { loadedBytes, parameterAreaSizes } from './measured-file.ts';
import {
  ADDRESS_LIMIT,
  headersOfKind,
  IGVM_PAGE_BYTES,
  PAGE_DATA_TYPES,
  type IgvmFile,
  type IgvmHeader,
  type PageData,
} from './model.ts';

/** Bytes for memory from an address on. */
export interface MemoryEdit {
  /** Whole pages. */
  readonly gpa: number;
  /** The last page is padded with zeros. */
  readonly data: Uint8Array;
}

export interface IgvmEdits {
  /** For pages that the file has. */
  readonly replace?: readonly MemoryEdit[];
  /** For pages that it has not. */
  readonly add?: readonly MemoryEdit[];
  readonly policy?: bigint | undefined;
  /** Platforms that are meant, as a mask; all of the file when absent. */
  readonly mask?: number | undefined;
  /** Takes ID blocks and VBS measurements out: no edited file keeps its digest. */
  readonly dropSignatures?: boolean;
}

/**
 * An edited file. New pages go before the first page or VMSA of a higher address, which keeps a sorted file sorted and
 * the VMSA last.
 *
 * @throws CvmError format IGVM_UNKNOWN_HEADER (its file offsets would dangle); mismatch IGVM_SIGNED |
 *   IGVM_PAGE_MISSING | IGVM_PAGE_EXISTS | IGVM_PAGE_SHARED | IGVM_POLICY_MISSING; usage IGVM_EDIT_ADDRESS
 */
export function editIgvm(file: IgvmFile, edits: IgvmEdits): IgvmFile {
  requireMovable(file);
  const mask =
    edits.mask ??
    headersOfKind(file, 'supported-platform').reduce((all, { mask: bit }) => all | bit, 0) >>> 0;
  let headers = withoutSignatures(file, edits.dropSignatures === true);
  for (const edit of edits.replace ?? []) headers = replaced(file, headers, edit, mask);
  for (const edit of edits.add ?? []) headers = added(file, headers, edit, mask);
  if (edits.policy !== undefined) headers = withPolicy(file, headers, edits.policy, mask);
  return { ...file, headers };
}

/** Writing a file again moves its data; what an unknown header points to would be lost. @throws CvmError */
export function requireMovable(file: IgvmFile): void {
  const at = file.headers.findIndex(({ kind }) => kind === 'unknown');
  const header = file.headers[at];
  if (header === undefined) return;
  throw formatError(
    'IGVM_UNKNOWN_HEADER',
    'a file with a header of an unknown type cannot be written again',
    {
      facts: [['header', `${typeOfHeader(header).name} (number ${at})`]],
      mend: 'whether it points into the file data is not known here; change the file where it was made',
    },
  );
}

function withoutSignatures(file: IgvmFile, isDropped: boolean): IgvmHeader[] {
  const isSignature = ({ kind }: IgvmHeader): boolean =>
    kind === 'snp-id-block' || kind === 'vbs-measurement';
  const at = file.headers.findIndex(isSignature);
  if (at < 0 || isDropped) return file.headers.filter((header) => !isSignature(header));
  throw mismatchError('IGVM_SIGNED', 'the file holds a signed digest, which no edit keeps', {
    facts: [['header', `${typeOfHeader(file.headers[at] as IgvmHeader).name} (number ${at})`]],
    mend: 'pass --drop-signatures, and sign the edited file again',
  });
}

function pagesOf({ gpa, data }: MemoryEdit): { gpa: number; data: Uint8Array }[] {
  if (gpa % IGVM_PAGE_BYTES !== 0 || data.length === 0 || gpa + data.length > ADDRESS_LIMIT) {
    throw usageError('IGVM_EDIT_ADDRESS', 'an edit needs a page-aligned address and at least one byte', {
      facts: [
        ['gpa', hex(gpa)],
        ['data', `${data.length} bytes`],
      ],
      mend: 'write it as 0x800000=FILE, at a multiple of 0x1000, with a file that is not empty',
    });
  }
  const pages: { gpa: number; data: Uint8Array }[] = [];
  for (let at = 0; at < data.length; at += IGVM_PAGE_BYTES) {
    const page = new Uint8Array(IGVM_PAGE_BYTES);
    page.set(data.subarray(at, at + IGVM_PAGE_BYTES));
    pages.push({ gpa: gpa + at, data: page });
  }
  return pages;
}

function replaced(
  file: IgvmFile,
  headers: readonly IgvmHeader[],
  edit: MemoryEdit,
  mask: number,
): IgvmHeader[] {
  const result = [...headers];
  const places = new Map<number, number[]>();
  result.forEach((header, i) => {
    if (header.kind !== 'page-data' || (header.mask & mask) === 0) return;
    const found = places.get(header.gpa);
    if (found === undefined) places.set(header.gpa, [i]);
    else found.push(i);
  });
  for (const { gpa, data } of pagesOf(edit)) {
    const found = places.get(gpa) ?? [];
    if (found.length === 0)
      throw pageError('IGVM_PAGE_MISSING', 'a page to replace is not in the file', file, gpa, mask);
    for (const i of found) {
      const header = result[i] as PageData;
      if ((header.mask & ~mask) !== 0) {
        throw pageError(
          'IGVM_PAGE_SHARED',
          'a page to replace belongs to other platforms too',
          file,
          gpa,
          header.mask,
        );
      }
      result[i] = { ...header, data };
    }
  }
  return result;
}

function added(file: IgvmFile, headers: readonly IgvmHeader[], edit: MemoryEdit, mask: number): IgvmHeader[] {
  const pages = pagesOf(edit);
  const end = edit.gpa + pages.length * IGVM_PAGE_BYTES;
  const areas = parameterAreaSizes(file);
  for (const header of headers) {
    if (!('mask' in header) || (header.mask & mask) === 0) continue;
    const size =
      header.kind === 'page-data'
        ? loadedBytes(header)
        : header.kind === 'parameter-insert'
          ? (areas.get(header.index) ?? 0)
          : 0;
    if (size > 0 && 'gpa' in header && header.gpa < end && header.gpa + size > edit.gpa)
      throw pageError(
        'IGVM_PAGE_EXISTS',
        'a page to add is in the file already',
        file,
        header.gpa,
        header.mask,
      );
  }
  const at = headers.findIndex(
    (header) =>
      (header.kind === 'page-data' || (header.kind === 'vp-context' && header.gpa > 0)) && header.gpa >= end,
  );
  const fresh: IgvmHeader[] = pages.map(({ gpa, data }) => ({
    kind: 'page-data',
    gpa,
    mask,
    flags: 0,
    dataType: PAGE_DATA_TYPES.NORMAL,
    data,
  }));
  const place = at < 0 ? headers.length : at;
  return [...headers.slice(0, place), ...fresh, ...headers.slice(place)];
}

function withPolicy(
  file: IgvmFile,
  headers: readonly IgvmHeader[],
  policy: bigint,
  mask: number,
): IgvmHeader[] {
  if (!headers.some((header) => header.kind === 'guest-policy' && (header.mask & mask) !== 0)) {
    throw mismatchError('IGVM_POLICY_MISSING', 'the file has no policy to set', {
      facts: [['platforms', new Describer(file).platforms(mask)]],
      mend: 'build the file for SEV-SNP: only such files have a policy',
    });
  }
  return headers.map((header) =>
    header.kind === 'guest-policy' && (header.mask & mask) !== 0 ? { ...header, policy } : header,
  );
}

function pageError(code: string, message: string, file: IgvmFile, gpa: number, mask: number): CvmError {
  return mismatchError(code, message, {
    facts: [
      ['gpa', hex(gpa)],
      ['platforms', new Describer(file).platforms(mask)],
    ],
    mend:
      code === 'IGVM_PAGE_EXISTS'
        ? 'replace it with --replace'
        : code === 'IGVM_PAGE_SHARED'
          ? 'name all of its platforms with --platforms'
          : 'add it with --add; cvm igvm dump lists the pages',
  });
}
