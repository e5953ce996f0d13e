import { readFixedHeader } from '../igvm/fixed-header.ts';
import { hasMeasuredData, type SnpOptions } from '../igvm/measure-snp.ts';
import { hasPlatform, platformMask } from '../igvm/measured-file.ts';
import type { MeasuredPlatform } from '../igvm/measure.ts';
import { IGVM_PAGE_BYTES, type IgvmFile, type IgvmHeader } from '../igvm/model.ts';
import { FilePage } from '../igvm/page-window.ts';
import { readIgvm } from '../igvm/reader.ts';
import { formatError } from '../errors.ts';
import type { Io } from './command.ts';
import { DigestsAhead, isWorthAThread } from './digests-ahead.ts';
import { openFile, resolvePath } from './files.ts';
import { inFile } from './in-file.ts';

/**
 * Reads an IGVM file; errors name it. What is no such file is refused before the rest is read.
 *
 * @param path as the caller gave it
 * @throws CvmError usage FILE_*; format as readIgvm
 */
export function openIgvm(io: Pick<Io, 'cwd'>, path: string): IgvmFile {
  const source = openFile(resolvePath(io, path));
  try {
    return inFile(path, () => {
      readFixedHeader(source);
      return readIgvm(source.read(0, source.sizeBytes));
    });
  } finally {
    source.close();
  }
}

/**
 * Runs `action` on an IGVM file whose pages are read as they are asked for: see sharesPageBuffer of readIgvm. Errors name it.
 *
 * @throws CvmError usage FILE_*; format as readIgvm; what `action` throws
 */
export function withIgvm<T>(io: Pick<Io, 'cwd'>, path: string, action: (file: IgvmFile) => T): T {
  const source = openFile(resolvePath(io, path));
  try {
    return inFile(path, () => action(readIgvm(source, { sharesPageBuffer: true })));
  } finally {
    source.close();
  }
}

/**
 * {@link withIgvm} for what measures the file: a second thread hashes pages for SEV-SNP, where that saves time.
 *
 * @throws CvmError usage FILE_*; format as readIgvm; what `action` throws
 */
export async function withMeasuredPages<T>(
  io: Pick<Io, 'cwd'>,
  path: string,
  platform: MeasuredPlatform,
  action: (file: IgvmFile, pageSha384: SnpOptions['pageSha384']) => T,
): Promise<T> {
  const source = openFile(resolvePath(io, path));
  let ahead: DigestsAhead | undefined;
  try {
    const file = inFile(path, () => readIgvm(source, { sharesPageBuffer: true }));
    const pages = platform === 'sev-snp' ? pagesOf(file) : [];
    const ranges = pages.map(({ fileOffset }) => ({ offset: fileOffset, length: IGVM_PAGE_BYTES }));
    if (isWorthAThread(ranges)) ahead = new DigestsAhead(source.descriptor, ranges);
    let next = 0;
    return inFile(path, () =>
      action(file, (page) => {
        while (next < pages.length && pages[next] !== page) next++;
        return ahead?.at(next++);
      }),
    );
  } finally {
    await ahead?.stop();
    source.close();
  }
}

/** The pages whose contents enter the launch digest of SEV-SNP. */
function pagesOf(file: IgvmFile): readonly FilePage[] {
  if (!hasPlatform(file, 'SEV_SNP')) return [];
  const mask = platformMask(file, 'SEV_SNP');
  return file.headers.filter(
    (header): header is IgvmHeader & FilePage => header instanceof FilePage && hasMeasuredData(header, mask),
  );
}

/** Small files: keys, signatures. @throws CvmError usage FILE_*; format FILE_TOO_LARGE */
export function readSmallFile(io: Pick<Io, 'cwd'>, path: string, limitBytes: number): Uint8Array {
  const source = openFile(resolvePath(io, path));
  try {
    if (source.sizeBytes <= limitBytes) return source.read(0, source.sizeBytes);
    throw formatError('FILE_TOO_LARGE', 'a file is larger than it may be', {
      facts: [
        ['file', path],
        ['size', `${source.sizeBytes} bytes`],
        ['limit', `${limitBytes} bytes`],
      ],
    });
  } finally {
    source.close();
  }
}
