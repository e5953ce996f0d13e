/** The folder in which verifiers keep registers: `<dir>/measurements/<key>.json`. */
import { join } from 'node:path';
import {
  CACHE_ENTRY_LIMIT_BYTES,
  readCacheEntry,
  writeCacheEntry,
  type TdxRegisters,
} from '../dstack/measurement-cache.ts';
import { measurementCacheKey, type VmConfig } from '../dstack/vm-config.ts';
import { CvmError } from '../errors.ts';
import { openFile, writeFileWhole } from './files.ts';

/**
 * The cached registers of a VmConfig, or those that `compute` makes, which are then kept. Old, foreign and corrupt entries
 * count as absent and are overwritten. Entries appear under their name whole, so any number of processes may share
 * a folder.
 *
 * A VmConfig that names no image is never cached: nothing would bind the entry to one.
 *
 * @throws CvmError usage FILE_ACCESS when the folder cannot be written, and what `compute` throws
 */
export async function cachedRegisters(
  folder: string,
  config: VmConfig,
  compute: () => TdxRegisters,
): Promise<{ readonly registers: TdxRegisters; readonly fromCache: boolean }> {
  if (config.osImageHash === '') return { registers: compute(), fromCache: false };
  const path = join(folder, 'measurements', `${measurementCacheKey(config)}.json`);
  const cached = readEntry(path);
  if (cached !== undefined) return { registers: cached, fromCache: true };
  const registers = compute();
  await writeFileWhole(path, [writeCacheEntry(registers)]);
  return { registers, fromCache: false };
}

function readEntry(path: string): TdxRegisters | undefined {
  try {
    const file = openFile(path);
    try {
      if (file.sizeBytes > CACHE_ENTRY_LIMIT_BYTES) return undefined;
      return readCacheEntry(file.read(0, file.sizeBytes));
    } finally {
      file.close();
    }
  } catch (error) {
    // Absent or unreadable: it is computed, and writing it says what is wrong with the folder.
    if (error instanceof CvmError && error.kind !== 'bug') return undefined;
    throw error;
  }
}
