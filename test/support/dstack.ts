import { createHash } from 'node:crypto';
import { concatBytes } from '../../tools/bytes/compare.ts';
import { guidToBytes } from '../../tools/bytes/guid.ts';
import { writeU16, writeU32 } from '../../tools/bytes/little-endian.ts';
import { sourceFromBytes } from '../../tools/bytes/source.ts';
import { bindRootfs, DSTACK_CMDLINE } from '../../tools/dstack/cmdline.ts';
import type { Bundle, BundleParts } from '../../tools/dstack/bundle.ts';
import type { BundleContents, BundleItem } from '../../tools/dstack/contents.ts';
import type { MetadataParameters } from '../../tools/dstack/metadata.ts';
import { le16, le32 } from './firmware.ts';

/** The first n bytes of sha256(s || u32 0) || sha256(s || u32 1) || … */
export function pseudoRandom(n: number, seed: string): Uint8Array {
  const blocks = Array.from({ length: Math.ceil(n / 32) }, (_, i) =>
    createHash('sha256').update(seed, 'ascii').update(le32(i)).digest(),
  );
  return new Uint8Array(Buffer.concat(blocks).subarray(0, n));
}

export type TdvfRow = readonly [
  dataOffset: number,
  raw: number,
  address: number,
  size: number,
  type: number,
  attributes: number,
];

export const TDVF_1_SECTIONS: readonly TdvfRow[] = [
  [0x4000, 0x4000, 0xffffc000, 0x4000, 0, 1],
  [0, 0x4000, 0xffff8000, 0x4000, 1, 0],
  [0, 0, 0x810000, 0x3000, 3, 0],
  [0, 0, 0x809000, 0x2000, 2, 0],
  [0, 0, 0, 0x2000, 4, 2],
];

/** TD_HOB and TEMP_MEM as every dstack image has had them. */
export const STANDARD_SECTIONS: readonly TdvfRow[] = [
  [0x4000, 0x4000, 0xffffc000, 0x4000, 0, 1],
  [0, 0x4000, 0xffff8000, 0x4000, 1, 0],
  [0, 0, 0x809000, 0x2000, 2, 0],
  [0, 0, 0x800000, 0x6000, 3, 0],
  [0, 0, 0x80b000, 0x2000, 3, 0],
  [0, 0, 0x810000, 0x10000, 3, 0],
];

const TDVF_GUID = 'e47a6535-984a-4798-865e-4685a7bf8ec2';
const RESET_GUID = '00f771de-1a7e-4fcb-890e-68c77e2fb44e';
const FOOTER_GUID = '96b582de-1fb2-45f7-baea-a366c55a082d';

export function tdvfFirmware(sections: readonly TdvfRow[], seed = 'tdvf-1', sizeBytes = 0x8000): Uint8Array {
  const image = pseudoRandom(sizeBytes, seed);
  const at = sizeBytes - 0x1000;
  image.set(guidToBytes('e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae'), at - 16);
  image.set(concatBytes(Buffer.from('TDVF'), le32(16 + 32 * sections.length, 1, sections.length)), at);
  for (const [i, [offset, raw, address, size, type, attributes]] of sections.entries()) {
    image.set(le32(offset, raw, address, 0, size, 0, type, attributes), at + 16 + 32 * i);
  }
  const table = concatBytes(
    le32(0x1000),
    le16(22),
    guidToBytes(TDVF_GUID),
    le32(0x0080b004),
    le16(22),
    guidToBytes(RESET_GUID),
    le16(62),
    guidToBytes(FOOTER_GUID),
  );
  image.set(table, image.length - 32 - table.length);
  return image;
}

export const tdvf1 = (): Uint8Array => tdvfFirmware(TDVF_1_SECTIONS);

/** Kernel K of the reference: a PE image with a setup header. */
export function kernelK(): Uint8Array {
  const image = pseudoRandom(0x6000, 'k');
  image.fill(0, 0, 0x400);
  image.set(Buffer.from('MZ'), 0);
  writeU32(image, 0x3c, 0x40);
  image.set(Buffer.from('PE\0\0'), 0x40);
  writeU16(image, 0x44, 0x8664);
  writeU16(image, 0x46, 2);
  writeU16(image, 0x54, 0xf0);
  writeU16(image, 0x56, 0x206);
  writeU16(image, 0x58, 0x20b);
  writeU32(image, 0x58 + 0x3c, 0x400);
  writeU32(image, 0x58 + 0x40, 0x12345678);
  writeU32(image, 0x58 + 0x6c, 0x10);
  const section = (at: number, name: string, vsize: number, vaddr: number): void => {
    image.set(Buffer.from(name.padEnd(8, '\0')), at);
    image.set(le32(vsize, vaddr, vsize, vaddr), at + 8);
  };
  section(0x148, '.setup', 0x400, 0x400);
  section(0x170, '.text', 0x5800, 0x800);
  image[0x1f1] = 3;
  writeU16(image, 0x1fe, 0xaa55);
  image.set(Buffer.from('HdrS'), 0x202);
  writeU16(image, 0x206, 0x20f);
  image[0x211] = 1;
  writeU32(image, 0x22c, 0x7fffffff);
  writeU16(image, 0x236, 0x7f);
  writeU32(image, 0x238, 0x7ff);
  return image;
}

export const initrdI = (): Uint8Array => pseudoRandom(123457, 'i');

/** SEV firmware S of the reference: tables that dstack's reader takes and no other. */
export function sevFirmwareS(): Uint8Array {
  const image = new Uint8Array(4096);
  image.set(Buffer.from('ASEV'), 512);
  image.set(le32(1, 4), 520);
  image.set(le32(0x1000, 0x1000, 1, 0x2000, 0x1000, 2, 0x3000, 0x1000, 3, 0x4000, 0x1000, 0x10), 528);
  const table = concatBytes(
    le32(0x4000),
    le16(22),
    guidToBytes('7255371f-3a3b-4b04-927b-1da6efa8d454'),
    le32(0xfffffff0),
    le16(22),
    guidToBytes(RESET_GUID),
    le32(0xe00),
    le16(22),
    guidToBytes('dc886566-984a-4798-a75e-5585a7bf67cc'),
    le16(84),
    guidToBytes(FOOTER_GUID),
  );
  image.set(table, image.length - 32 - table.length);
  return image;
}

export const ROOTFS_HASH = '11'.repeat(32);
export const CMDLINE = bindRootfs(DSTACK_CMDLINE, ROOTFS_HASH, 4096);
export const REVISION = '0123456789abcdef0123456789abcdef01234567';

/** Parts of the vector "Bundle": three lines of text. */
export function textParts(sev: boolean): BundleParts {
  const text = (content: string): ReturnType<typeof sourceFromBytes> => sourceFromBytes(Buffer.from(content));
  return {
    ovmf: text('TDX firmware\n'),
    kernel: text('kernel\n'),
    initrd: text('initrd\n'),
    rootfs: text('rootfs\n'),
    ...(sev ? { ovmfSev: text('SEV firmware\n') } : {}),
  };
}

/** Parts of the vector "Whole bundle". */
export function wholeParts(sev = true): BundleParts {
  return {
    ovmf: sourceFromBytes(tdvf1()),
    kernel: sourceFromBytes(kernelK()),
    initrd: sourceFromBytes(initrdI()),
    rootfs: sourceFromBytes(Buffer.from('rootfs\n')),
    ...(sev ? { ovmfSev: sourceFromBytes(sevFirmwareS()) } : {}),
  };
}

export function parameters(version: string): Omit<MetadataParameters, 'hasSevFirmware'> {
  return {
    cmdline: CMDLINE,
    version,
    gitRevision: REVISION,
    sharedRo: true,
    isDev: false,
    ovmfVariant: 'pre202505',
  };
}

/** The bundle as a verifier meets it, with items exchanged: undefined takes one away. */
export function contentsOf(
  bundle: Bundle,
  change: Readonly<Record<string, string | Uint8Array | BundleItem | undefined>> = {},
  form: BundleContents['form'] = 'folder',
): BundleContents {
  const items = new Map<string, BundleItem>(
    [...bundle.files].map(([name, content]) => [name, { kind: 'file', content }]),
  );
  for (const [name, item] of Object.entries(change)) {
    if (item === undefined) items.delete(name);
    else if (typeof item === 'string')
      items.set(name, { kind: 'file', content: sourceFromBytes(Buffer.from(item)) });
    else if (item instanceof Uint8Array) items.set(name, { kind: 'file', content: sourceFromBytes(item) });
    else items.set(name, item);
  }
  return { form, name: 'dstack-0.6.0', items };
}

/** The content of a file of a bundle. */
export function fileOf(bundle: Bundle, name: string): Uint8Array {
  const source = bundle.files.get(name);
  if (source === undefined) throw new Error(`no ${name}`);
  return source.read(0, source.sizeBytes);
}
