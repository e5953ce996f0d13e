import type { ByteSource, Extent } from '../bytes/source.ts';
import { dataRuns } from '../bytes/zero-blocks.ts';
import type { PlacedPiece } from '../ext4/placement.ts';
import type { BlockDigests } from '../verity/block-digest.ts';
import { BLOCK_BYTES, SECTOR_BYTES, scanBlocks, type DigestParameters } from './block-scan.ts';
import type { ContentIndex } from './content-index.ts';

/**
 * Digests of a file system's blocks: those of contents are known, metadata is made and hashed, holes have one digest.
 * For calls with ascending ranges.
 */
export function imageDigests(
  image: ByteSource,
  pieces: readonly PlacedPiece[],
  index: ContentIndex,
  parameters: DigestParameters,
  zeroDigest: Uint8Array,
): BlockDigests {
  let next = 0;
  return (from, to, visit) => {
    for (let block = from; block < to;) {
      const piece = pieceAt(block * BLOCK_BYTES);
      const first = piece === undefined ? to : Math.floor(piece.offset / BLOCK_BYTES);
      for (; block < Math.min(first, to); block++) visit(block, zeroDigest);
      if (piece === undefined || block >= to) continue;
      const end = Math.min(to, Math.ceil((piece.offset + piece.source.sizeBytes) / BLOCK_BYTES));
      const { content } = piece;
      if (content !== undefined) {
        const shift = content.from / BLOCK_BYTES - first;
        while (block < end) {
          const digests = index.digests(content.file, block + shift, end - block);
          visit(block, digests);
          block += digests.length / zeroDigest.length;
        }
        continue;
      }
      for (; block < end; block++) {
        const bytes = new Uint8Array(image.read(block * BLOCK_BYTES, BLOCK_BYTES));
        const { masks, digests } = scanBlocks(bytes, parameters);
        visit(block, masks[0] === 0 ? zeroDigest : digests);
      }
    }
  };

  /** The first piece that ends behind `offset`. */
  function pieceAt(offset: number): PlacedPiece | undefined {
    for (;;) {
      const piece = pieces[next];
      if (piece === undefined || piece.offset + piece.source.sizeBytes > offset) return piece;
      next++;
    }
  }
}

/**
 * What `dataRuns(image, 512)` would find, without reading contents anew: the runs of sectors that hold anything but
 * zeros.
 */
export function sectorRuns(pieces: readonly PlacedPiece[], index: ContentIndex): Extent[] {
  const runs: Extent[] = [];
  for (const piece of pieces) {
    if (piece.content === undefined) {
      for (const { offset, length } of dataRuns(piece.source, SECTOR_BYTES)) {
        // A long link's target ends anywhere; the grid is that of the image.
        addRun(runs, piece.offset + offset, Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES);
      }
      continue;
    }
    const { file, from } = piece.content;
    const count = Math.ceil(piece.source.sizeBytes / BLOCK_BYTES);
    index.masks(file, from / BLOCK_BYTES, count).forEach((mask, i) => {
      const at = piece.offset + i * BLOCK_BYTES;
      if (mask === 0xff) addRun(runs, at, BLOCK_BYTES);
      else {
        for (let sector = 0; sector < 8; sector++) {
          if ((mask & (1 << sector)) !== 0) addRun(runs, at + sector * SECTOR_BYTES, SECTOR_BYTES);
        }
      }
    });
  }
  return runs;
}

/** Adds a run behind those before, as part of the last one when it touches it. */
export function addRun(runs: Extent[], offset: number, length: number): void {
  const last = runs.at(-1);
  if (last !== undefined && last.offset + last.length === offset) {
    runs[runs.length - 1] = { offset: last.offset, length: last.length + length };
  } else {
    runs.push({ offset, length });
  }
}
