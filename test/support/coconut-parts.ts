import { concatBytes } from '../../tools/bytes/compare.ts';
import { sourceFromBytes } from '../../tools/bytes/source.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import type { ImageOptions, ImageParts } from '../../tools/coconut/image-input.ts';
import { LAYOUTS } from '../../tools/coconut/layouts.ts';
import { writePackit } from '../../tools/packit/archive.ts';
import { buildFirmware, GUID, le32 } from './firmware.ts';

/** Synthetic components, with the sizes and fills of the vectors. */
export const fill = (bytes: number, value: number): Uint8Array => new Uint8Array(bytes).fill(value);

export const LOADER = fill(5000, 0x90);
export const STAGE1 = fill(4096, 0xf4);
export const STAGE2_KERNEL = concatBytes(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46), fill(9000, 1));

export const FS_IMAGE = ((): Uint8Array => {
  const archive = writePackit([{ name: 'init', content: sourceFromBytes(utf8Bytes('hello igvm\n')) }]);
  return archive.read(0, archive.sizeBytes);
})();

export const OVMF_SECTIONS = [
  [0x809000, 0x1000, 1],
  [0x80d000, 0x1000, 2],
  [0x80e000, 0x1000, 3],
  [0x80f000, 0x1000, 4],
  [0x810c00, 0x400, 16],
] as const;

/** 8192 × 0xff with SEV metadata at 0x1000 and the footer table of the vectors. */
export function ovmf(
  sections: readonly (readonly [number, number, number])[] = OVMF_SECTIONS,
  entries: readonly (readonly [string, Uint8Array])[] = [],
): Uint8Array {
  return buildFirmware({
    fill: () => 0xff,
    sections,
    entries: [...entries, [GUID.metadata, le32(0x1000)], [GUID.resetBlock, le32(0x80b004)]],
  });
}

export interface SegmentPlan {
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: bigint;
  readonly fileBytes: number;
  readonly memBytes: number;
  readonly type?: number;
  readonly align?: bigint;
}

export const KERNEL_BASE = 0xffff_ff80_0000_0000n;

/** An ELF file with these program headers and this content behind the headers. */
export function buildElf(
  segments: readonly SegmentPlan[],
  content: readonly (readonly [offset: number, bytes: Uint8Array])[],
  entry = KERNEL_BASE,
): Uint8Array {
  const end = Math.max(64 + 56 * segments.length, ...content.map(([offset, bytes]) => offset + bytes.length));
  const file = new Uint8Array(end);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, entry, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments.length, true);
  view.setUint16(58, 64, true);
  for (const [i, segment] of segments.entries()) {
    const at = 64 + 56 * i;
    view.setUint32(at, segment.type ?? 1, true);
    view.setUint32(at + 4, segment.flags, true);
    view.setBigUint64(at + 8, BigInt(segment.offset), true);
    view.setBigUint64(at + 16, segment.vaddr, true);
    view.setBigUint64(at + 24, segment.vaddr, true);
    view.setBigUint64(at + 32, BigInt(segment.fileBytes), true);
    view.setBigUint64(at + 40, BigInt(segment.memBytes), true);
    view.setBigUint64(at + 48, segment.align ?? 0x1000n, true);
  }
  for (const [offset, bytes] of content) file.set(bytes, offset);
  return file;
}

/** The kernel of the bldr vectors: code, and data with a BSS behind it. */
export const BLDR_KERNEL = buildElf(
  [
    { flags: 5, offset: 0x1000, vaddr: KERNEL_BASE, fileBytes: 100, memBytes: 100 },
    { flags: 6, offset: 0x2000, vaddr: KERNEL_BASE + 0x1000n, fileBytes: 5000, memBytes: 0x4000 },
  ],
  [
    [0x1000, fill(100, 0xc3)],
    [0x2000, fill(5000, 0x5a)],
  ],
);

/** Options of a target of the first generation, with changes. */
export function stage2Options(changes: Partial<ImageOptions> = {}): ImageOptions {
  return {
    layout: LAYOUTS['stage2-2025-05'],
    hypervisor: 'qemu',
    platforms: ['snp'],
    policy: 0x30000n,
    comport: '1',
    noVtom: false,
    ...changes,
  };
}

export function bldrOptions(changes: Partial<ImageOptions> = {}): ImageOptions {
  return stage2Options({ layout: LAYOUTS['bldr-2026-08'], ...changes });
}

type Bytes = Partial<Record<keyof ImageParts, Uint8Array>>;

/** Parts from bytes; without changes the smallest set of each generation. */
export function parts(bytes: Bytes & { kernel: Uint8Array }): ImageParts {
  const source = (part: Uint8Array | undefined): ImageParts['fs'] =>
    part === undefined ? undefined : sourceFromBytes(part);
  return {
    kernel: sourceFromBytes(bytes.kernel),
    loader: source(bytes.loader),
    stage1: source(bytes.stage1),
    fs: source(bytes.fs),
    firmware: source(bytes.firmware),
  };
}
