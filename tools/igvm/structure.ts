import { formatError, type CvmError, type Fact } from '../errors.ts';
import { sectionOfType, sectionRank, typeOfHeader, type HeaderSection } from './header-types.ts';
import {
  IGVM_PAGE_BYTES,
  PAGE_DATA_TYPES,
  PLATFORM_TYPES,
  platformTypeName,
  type CcaPolicy,
  type IgvmFile,
  type IgvmHeader,
  type PageTableRelocation,
  type RelocatableRegion,
  type SupportedPlatform,
} from './model.ts';

/**
 * What has to hold between the headers of a file, whoever made it: the reader refuses a file that breaks it, and the
 * writer never makes one. It is what microsoft/igvm (0.4) demands of a file, and a little more: no two platforms share
 * a mask bit.
 *
 * @param known `hasFittingData`: no payload is larger than it may be, so that no page has to be read
 * @throws CvmError format IGVM_SECTION_ORDER | IGVM_NO_PLATFORM | IGVM_PLATFORM | IGVM_PLATFORM_TWICE |
 *   IGVM_ALIGNMENT | IGVM_PAGE_DATA_TYPE | IGVM_DATA_SIZE | IGVM_PARAMETER_AREA | IGVM_RELOCATION | IGVM_CCA_POLICY |
 *   IGVM_NO_VP_CONTEXT | IGVM_VP_CONTEXT
 */
export function checkStructure(file: IgvmFile, known: { readonly hasFittingData?: boolean } = {}): void {
  checkOrder(file.headers);
  checkContextCount(file.headers);
  const platforms = checkPlatforms(file);
  const tables = checkRelocations(file.headers);
  checkParameterAreas(file.headers, tables);
  file.headers.forEach((header, index) => {
    if (known.hasFittingData !== true) checkDataSize(header, index);
    checkHeader(file, header, index, platforms);
  });
}

function checkDataSize(header: IgvmHeader, index: number): void {
  if (header.kind !== 'page-data' && header.kind !== 'parameter-area') return;
  const limit = header.kind === 'page-data' ? IGVM_PAGE_BYTES : header.sizeBytes;
  if (header.data === undefined || header.data.length <= limit) return;
  throw broken('IGVM_DATA_SIZE', 'a header has more data than it can hold', header, index, [
    ['limit', `${limit} bytes`],
    ['found', `${header.data.length} bytes`],
  ]);
}

/** KVM's own limit of processors, for two platforms. */
const CONTEXT_LIMIT = 8192;

function checkContextCount(headers: readonly IgvmHeader[]): void {
  let contexts = 0;
  headers.forEach((header, index) => {
    if (header.kind !== 'vp-context' || ++contexts <= CONTEXT_LIMIT) return;
    throw broken('IGVM_VP_CONTEXT', 'a file has more VP contexts than processors', header, index, [
      ['limit', CONTEXT_LIMIT],
    ]);
  });
}

function checkOrder(headers: readonly IgvmHeader[]): void {
  let rank = 0;
  headers.forEach((header, index) => {
    const section = sectionOfHeader(header);
    if (section === undefined) return;
    if (sectionRank(section) < rank) {
      throw broken(
        'IGVM_SECTION_ORDER',
        'an IGVM header stands behind headers of a later section',
        header,
        index,
        [['order', 'platform, initialization, directive']],
      );
    }
    rank = sectionRank(section);
  });
}

function sectionOfHeader(header: IgvmHeader): HeaderSection | undefined {
  // Nearly all headers are these.
  return header.kind === 'page-data' ? 'directive' : sectionOfType(typeOfHeader(header).type);
}

function checkPlatforms(file: IgvmFile): ReadonlyMap<number, SupportedPlatform> {
  const byMask = new Map<number, SupportedPlatform>();
  const types = new Set<number>();
  file.headers.forEach((header, index) => {
    if (header.kind !== 'supported-platform') return;
    const { mask, platformType, platformVersion, highestVtl, sharedGpaBoundary } = header;
    const refuse = (why: string): CvmError =>
      broken('IGVM_PLATFORM', `a platform header is unsound: ${why}`, header, index, [
        ['platform', platformTypeName(platformType)],
        ['mask', hex(mask)],
      ]);
    if (mask === 0 || (mask & (mask - 1)) !== 0) throw refuse('its mask is not exactly one bit');
    if (!(Object.values(PLATFORM_TYPES) as number[]).includes(platformType))
      throw refuse('its type is unknown');
    if (platformVersion !== 1) throw refuse(`its version is ${platformVersion}, not 1`);
    if (highestVtl !== 0 && highestVtl !== 2) throw refuse(`its highest VTL is ${highestVtl}, not 0 or 2`);
    const isPlain = platformType === PLATFORM_TYPES.NATIVE || platformType === PLATFORM_TYPES.VSM_ISOLATION;
    if (isPlain && sharedGpaBoundary !== 0) throw refuse('it has a shared GPA boundary');
    const isArm = platformType === PLATFORM_TYPES.CCA;
    if (platformType !== PLATFORM_TYPES.VSM_ISOLATION && isArm !== (file.architecture === 'aarch64'))
      throw refuse(`it does not exist on ${file.architecture}`);
    if (types.has(platformType) || byMask.has(mask)) {
      throw broken('IGVM_PLATFORM_TWICE', 'two platform headers share a type or a mask', header, index, [
        ['platform', platformTypeName(platformType)],
        ['mask', hex(mask)],
      ]);
    }
    types.add(platformType);
    byMask.set(mask, header);
  });
  if (byMask.size > 0) return byMask;
  throw formatError('IGVM_NO_PLATFORM', 'an IGVM file names no platform', {
    facts: [['headers', file.headers.length]],
    mend: 'add a SUPPORTED_PLATFORM header',
  });
}

interface Range {
  readonly mask: number;
  readonly from: number;
  readonly to: number;
}

/** At most this many relocation headers: they are compared pairwise. Real files have two or three. */
const RELOCATION_LIMIT = 256;

function checkRelocations(headers: readonly IgvmHeader[]): readonly Range[] {
  const regions: Range[] = [];
  const tables: Range[] = [];
  const contexts: (PageTableRelocation | RelocatableRegion)[] = [];
  headers.forEach((header, index) => {
    if (header.kind !== 'relocatable-region' && header.kind !== 'page-table-relocation') return;
    const refuse = (why: string): CvmError =>
      broken('IGVM_RELOCATION', `a relocation header is unsound: ${why}`, header, index, [
        ['gpa', hex(header.gpa)],
        ['size', hex(header.sizeBytes)],
      ]);
    if (header.sizeBytes % IGVM_PAGE_BYTES !== 0) throw refuse('its size is not whole pages');
    if (header.kind === 'relocatable-region') {
      const { alignment, gpa, minimumGpa, maximumGpa } = header;
      if (alignment === 0 || alignment % IGVM_PAGE_BYTES !== 0)
        throw refuse('its alignment is not whole pages');
      if ([gpa, minimumGpa, maximumGpa].some((address) => address % alignment !== 0))
        throw refuse('an address is not aligned as it asks');
    } else {
      if (header.gpa % IGVM_PAGE_BYTES !== 0 || header.usedBytes % IGVM_PAGE_BYTES !== 0)
        throw refuse('its address or used size is not whole pages');
      if (header.usedBytes > header.sizeBytes) throw refuse('more is used than there is');
      if (tables.some(({ mask }) => (mask & header.mask) !== 0)) throw refuse('its platform has one already');
    }
    const range = { mask: header.mask, from: header.gpa, to: header.gpa + header.sizeBytes };
    if (regions.some((other) => overlap(other, range))) throw refuse('it overlaps another one');
    regions.push(range);
    if (regions.length > RELOCATION_LIMIT) throw refuse(`there are more than ${RELOCATION_LIMIT}`);
    if (header.kind === 'page-table-relocation') tables.push(range);
    contexts.push(header);
  });
  for (const header of contexts) {
    const index = headers.indexOf(header);
    const found = headers.some(
      (other) =>
        other.kind === 'vp-context' && (other.mask & header.mask) !== 0 && other.vpIndex === header.vpIndex,
    );
    if (!found) {
      throw broken(
        'IGVM_NO_VP_CONTEXT',
        'a relocation header names a processor without a context',
        header,
        index,
        [
          ['mask', hex(header.mask)],
          ['vp', header.vpIndex],
        ],
      );
    }
  }
  return tables;
}

function overlap(a: Range, b: Range): boolean {
  return (a.mask & b.mask) !== 0 && a.from < b.to && b.from < a.to;
}

/** Declared once, then used, then inserted once: an index is dead afterwards. */
function checkParameterAreas(headers: readonly IgvmHeader[], tables: readonly Range[]): void {
  const areas = new Map<number, 'declared' | 'inserted'>();
  headers.forEach((header, index) => {
    if (header.kind === 'page-data') return;
    const refuse = (why: string, area: number): CvmError =>
      broken('IGVM_PARAMETER_AREA', why, header, index, [
        ['area', area],
        ['state', areas.get(area) ?? 'not declared'],
      ]);
    if (header.kind === 'parameter-area') {
      if (areas.has(header.index)) throw refuse('a parameter area is declared twice', header.index);
      areas.set(header.index, 'declared');
    } else if (header.kind === 'parameter') {
      if (areas.get(header.index) !== 'declared')
        throw refuse('a parameter goes into an area that is not there', header.index);
    } else if (header.kind === 'parameter-insert') {
      if (areas.get(header.index) !== 'declared')
        throw refuse('an insert names a parameter area that is not there', header.index);
      areas.set(header.index, 'inserted');
      const { gpa, mask } = header;
      if (tables.some((table) => (table.mask & mask) !== 0 && gpa >= table.from && gpa < table.to))
        throw refuse('parameters are inserted into a page table region', header.index);
    }
  });
}

const KNOWN_DATA_TYPES: readonly number[] = Object.values(PAGE_DATA_TYPES);

function requirePages(what: string, value: number, header: IgvmHeader, index: number): void {
  if (value % IGVM_PAGE_BYTES === 0) return;
  throw broken('IGVM_ALIGNMENT', `${what} is not whole pages`, header, index, [['found', hex(value)]]);
}

function checkHeader(
  file: IgvmFile,
  header: IgvmHeader,
  index: number,
  platforms: ReadonlyMap<number, SupportedPlatform>,
): void {
  switch (header.kind) {
    case 'page-data':
      requirePages('the address of a page', header.gpa, header, index);
      if (!KNOWN_DATA_TYPES.includes(header.dataType)) {
        throw broken('IGVM_PAGE_DATA_TYPE', 'a page has an unknown data type', header, index, [
          ['found', header.dataType],
        ]);
      }
      return;
    case 'parameter-area':
      requirePages('the size of a parameter area', header.sizeBytes, header, index);
      return;
    case 'required-memory':
      requirePages('the size of required memory', header.sizeBytes, header, index);
      requirePages('the address of required memory', header.gpa, header, index);
      return;
    case 'parameter-insert':
    case 'error-range':
      requirePages('the address of a range', header.gpa, header, index);
      return;
    case 'vp-context':
      checkVpContext(header.data.length, header, index, platforms.get(header.mask));
      return;
    case 'cca-policy':
      checkCcaPolicy(file, header, index, platforms);
      return;
    default:
      return;
  }
}

function checkVpContext(
  length: number,
  header: IgvmHeader & { readonly kind: 'vp-context' },
  index: number,
  platform: SupportedPlatform | undefined,
): void {
  const isList = platform?.platformType === PLATFORM_TYPES.VSM_ISOLATION;
  const isSound = isList ? length > 4 && (length - 4) % 32 === 0 : length === IGVM_PAGE_BYTES;
  if (platform === undefined || platform.platformType === PLATFORM_TYPES.TDX || !isSound) {
    throw broken('IGVM_VP_CONTEXT', 'a VP context does not fit its platform', header, index, [
      ['mask', hex(header.mask)],
      ['platform', platform === undefined ? 'none has this mask' : platformTypeName(platform.platformType)],
      ['data', `${length} bytes`],
    ]);
  }
  if (header.gpa % IGVM_PAGE_BYTES !== 0)
    throw broken('IGVM_ALIGNMENT', 'the address of a VMSA is not whole pages', header, index, [
      ['found', hex(header.gpa)],
    ]);
}

function checkCcaPolicy(
  file: IgvmFile,
  header: CcaPolicy,
  index: number,
  platforms: ReadonlyMap<number, SupportedPlatform>,
): void {
  const cca = [...platforms.values()].find(({ platformType }) => platformType === PLATFORM_TYPES.CCA);
  const why =
    file.architecture !== 'aarch64'
      ? 'the file is not for Arm'
      : cca === undefined || header.mask !== cca.mask
        ? 'its mask is not that of the CCA platform'
        : (header.requiredZeroes & header.requiredOnes) !== 0n
          ? 'a bit must be both zero and one'
          : undefined;
  if (why === undefined) return;
  throw broken('IGVM_CCA_POLICY', `a CCA policy is unsound: ${why}`, header, index, [
    ['mask', hex(header.mask)],
  ]);
}

function broken(
  code: string,
  message: string,
  header: IgvmHeader,
  index: number,
  facts: readonly Fact[],
): CvmError {
  return formatError(code, message, {
    facts: [['header', `${typeOfHeader(header).name} (number ${index})`], ...facts],
    mend: 'make the file again with a tool that follows the format; cvm igvm dump shows sound files',
  });
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
