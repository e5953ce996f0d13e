import type { ByteSource } from '../bytes/source.ts';
import { writeSourceWhole } from './files.ts';
import { writeTzst } from './image-files.ts';

/** Writes an image raw, its zeros as holes; as zstd of sparse tar when the path ends in `.tzst`. */
export async function writeImage(path: string, image: ByteSource): Promise<void> {
  await (path.endsWith('.tzst') ? writeTzst(path, image) : writeSourceWhole(path, image));
}
