import { readFixedHeader } from '../igvm/fixed-header.ts';
import type { IgvmFile } from '../igvm/model.ts';
import { readIgvm } from '../igvm/reader.ts';
import { formatError } from '../errors.ts';
import type { Io } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { inFile } from './in-file.ts';

export { inFile };

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
