/** A device's bytes after some steps, without writing them anywhere. */
import { sliceSource, sparseSource, type ByteSource, type Piece } from '../bytes/source.ts';
import type { Step } from './update.ts';

/**
 * What reads as `base` with the writes of `steps` over it, later ones over earlier ones; flushes mean nothing here.
 * Holes of a write are zeros that were written: they cover what was there.
 */
export function applySteps(base: ByteSource, steps: readonly Step[]): ByteSource {
  let pieces: Piece[] = [{ offset: 0, source: base }];
  for (const step of steps) {
    if (step.kind === 'write') pieces = covered(pieces, { offset: step.offset, source: step.data });
  }
  return sparseSource(
    base.sizeBytes,
    pieces.toSorted((a, b) => a.offset - b.offset),
  );
}

/** The pieces with what `piece` covers cut out, and `piece`. */
function covered(pieces: readonly Piece[], piece: Piece): Piece[] {
  const from = piece.offset;
  const to = from + piece.source.sizeBytes;
  const kept = pieces.flatMap(({ offset, source }): Piece[] => {
    const end = offset + source.sizeBytes;
    if (end <= from || to <= offset) return [{ offset, source }];
    return [
      ...(offset < from ? [{ offset, source: sliceSource(source, 0, from - offset) }] : []),
      ...(to < end ? [{ offset: to, source: sliceSource(source, to - offset, end - to) }] : []),
    ];
  });
  return [...kept, piece];
}
