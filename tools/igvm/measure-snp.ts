import { createHash } from 'node:crypto';
import { digestBytes } from '../bytes/digest.ts';
import { concatBytes } from '../bytes/compare.ts';
import { LaunchContext } from '../snp/gctx.ts';
import { pageSize, parameterAreaSizes, vmsaTest, type IgvmmeasureVersion } from './measured-file.ts';
import { EMPTY_PAGE, RunRecorder, type MeasuredRun } from './measured-runs.ts';
import { IGVM_PAGE_BYTES, PAGE_DATA_TYPES, PAGE_FLAGS, type IgvmFile, type PageData } from './model.ts';

export interface DigestWithRuns {
  readonly digest: Uint8Array;
  readonly runs: readonly MeasuredRun[];
}

export interface SnpOptions {
  /** Measure empty pages as page type ZERO, as Vanadium loads them, instead of as a normal page of zeros. */
  readonly nativeZero?: boolean;
  readonly compat?: IgvmmeasureVersion | undefined;
  /** SHA-384 of a page's data where it is known already; asked in file order, and only for what {@link hasMeasuredData}. */
  readonly pageSha384?: ((page: PageData) => Uint8Array | undefined) | undefined;
}

const ZERO_PAGE_SHA384 = digestBytes('sha384', new Uint8Array(IGVM_PAGE_BYTES));

/**
 * SEV-SNP launch digest: one SNP_LAUNCH_UPDATE a page, in file order. Neither the policy nor required memory nor the ID
 * block is measured.
 *
 * igvmmeasure differs from loaders in three points, which `compat` reproduces: of a parameter area it measures the first
 * page alone, it measures shared pages, and it measures VMSAs of other platforms.
 *
 * @param mask the platform's bit
 * @throws CvmError format IGVM_LARGE_PAGE | IGVM_TOO_MANY_PAGES
 */
export function measureSnp(file: IgvmFile, mask: number, options: SnpOptions = {}): DigestWithRuns {
  const context = new LaunchContext();
  const recorder = new RunRecorder(() => context.digest);
  const isCompat = options.compat !== undefined;
  const areas = parameterAreaSizes(file);
  const isVmsa = vmsaTest(file);
  file.headers.forEach((header, index) => {
    if (header.kind === 'page-data' && (header.mask & mask) !== 0) {
      if (!isCompat && (header.flags & PAGE_FLAGS.shared) !== 0) return;
      measurePage(context, recorder, header, index, options);
    } else if (header.kind === 'parameter-insert' && (header.mask & mask) !== 0) {
      const sizeBytes = isCompat ? IGVM_PAGE_BYTES : (areas.get(header.index) ?? 0);
      recorder.add('Unmeasured', header.gpa, sizeBytes, index);
      context.emptyPages('unmeasured', header.gpa, sizeBytes);
    } else if (isVmsa(header)) {
      if (!isCompat && (header.mask & mask) === 0) return;
      recorder.add('VMSA', header.gpa, IGVM_PAGE_BYTES, index, [header]);
      context.update('vmsa', header.gpa, digestBytes('sha384', header.data));
    }
  });
  return { runs: recorder.finish(), digest: context.digest };
}

/** Whether the contents of a page enter the digest. */
export function hasMeasuredData({ dataType, flags, mask }: PageData, platform: number): boolean {
  return (
    (mask & platform) !== 0 && dataType === PAGE_DATA_TYPES.NORMAL && (flags & PAGE_FLAGS.unmeasured) === 0
  );
}

function measurePage(
  context: LaunchContext,
  recorder: RunRecorder,
  header: PageData,
  index: number,
  options: SnpOptions,
): void {
  const { gpa, dataType, flags } = header;
  const sizeBytes = pageSize(header, index);
  if (dataType !== PAGE_DATA_TYPES.NORMAL) {
    const isSecrets = dataType === PAGE_DATA_TYPES.SECRETS;
    recorder.add(isSecrets ? 'Secrets' : 'Cpuid', gpa, sizeBytes, index);
    for (let at = 0; at < sizeBytes; at += IGVM_PAGE_BYTES)
      context.update(isSecrets ? 'secrets' : 'cpuid', gpa + at);
  } else if ((flags & PAGE_FLAGS.unmeasured) !== 0) {
    recorder.add('Unmeasured', gpa, sizeBytes, index);
    context.emptyPages('unmeasured', gpa, sizeBytes);
  } else measureNormal(context, recorder, header, index, sizeBytes, options);
}

function measureNormal(
  context: LaunchContext,
  recorder: RunRecorder,
  header: PageData,
  index: number,
  sizeBytes: number,
  { nativeZero, pageSha384 }: SnpOptions,
): void {
  const { gpa } = header;
  const known = pageSha384?.(header);
  if (known !== undefined) {
    recorder.add('Normal', gpa, sizeBytes, index, [header]);
    context.update('normal', gpa, known);
    return;
  }
  const { data } = header;
  if (data !== undefined) {
    // One page: those of 2 MiB have no data.
    recorder.add('Normal', gpa, sizeBytes, index, [header]);
    context.normalPage(gpa, wholePage(data));
  } else if (nativeZero === true) {
    recorder.add('Zero', gpa, sizeBytes, index);
    context.emptyPages('zero', gpa, sizeBytes);
  } else {
    recorder.add('Normal', gpa, sizeBytes, index, new Array(sizeBytes / IGVM_PAGE_BYTES).fill(EMPTY_PAGE));
    for (let at = 0; at < sizeBytes; at += IGVM_PAGE_BYTES)
      context.update('normal', gpa + at, ZERO_PAGE_SHA384);
  }
}

/** A page's data as it is loaded; what the reader made is whole already. */
export function wholePage(data: Uint8Array): Uint8Array {
  return data.length === IGVM_PAGE_BYTES
    ? data
    : concatBytes(data, new Uint8Array(IGVM_PAGE_BYTES - data.length));
}

/**
 * SEV and SEV-ES launch digest, as igvmmeasure computes it: SHA-256 over the data of all pages and then of VMSAs in file
 * order, whatever flags and types they have. Empty pages and parameters contribute nothing.
 */
export function measureSev(
  file: IgvmFile,
  mask: number,
  options: Pick<SnpOptions, 'compat'> = {},
): DigestWithRuns {
  const hash = createHash('sha256');
  const recorder = new RunRecorder(() => undefined);
  const isVmsa = vmsaTest(file);
  file.headers.forEach((header, index) => {
    if (header.kind === 'page-data' && (header.mask & mask) !== 0) {
      const sizeBytes = pageSize(header, index);
      if (header.data !== undefined) hash.update(wholePage(header.data));
      recorder.add('Normal', header.gpa, sizeBytes, index, header.data === undefined ? [] : [header]);
    } else if (header.kind === 'parameter-insert' && (header.mask & mask) !== 0) {
      recorder.add('Normal', header.gpa, IGVM_PAGE_BYTES, index);
    } else if (isVmsa(header) && (options.compat !== undefined || (header.mask & mask) !== 0)) {
      hash.update(header.data);
      recorder.add('VMSA', header.gpa, IGVM_PAGE_BYTES, index, [header]);
    }
  });
  return { runs: recorder.finish(), digest: new Uint8Array(hash.digest()) };
}
