import { concatBytes } from '../../tools/bytes/compare.ts';
import { guidToBytes } from '../../tools/bytes/guid.ts';

export const GUID = {
  footer: '96b582de-1fb2-45f7-baea-a366c55a082d',
  hashTable: '7255371f-3a3b-4b04-927b-1da6efa8d454',
  resetBlock: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
  metadata: 'dc886566-984a-4798-a75e-5585a7bf67cc',
  svsmInfo: 'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd',
} as const;

export function le16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >> 8) & 0xff);
}

export function le32(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setUint32(4 * i, value, true));
  return bytes;
}

export interface FirmwarePlan {
  readonly sizeBytes?: number;
  readonly fill?: (index: number) => number;
  /** In file order; the footer is added. */
  readonly entries: readonly (readonly [guid: string, data: Uint8Array])[];
  readonly sections?: readonly (readonly [gpa: number, sizeBytes: number, type: number])[];
  /** Where the metadata header goes. */
  readonly metadataOffset?: number;
}

/** An image with the tables of an OVMF build and nothing that runs. */
export function buildFirmware(plan: FirmwarePlan): Uint8Array {
  const image = Uint8Array.from({ length: plan.sizeBytes ?? 8192 }, (_, i) => plan.fill?.(i) ?? 0);
  if (plan.sections !== undefined) {
    const length = 16 + 12 * plan.sections.length;
    image.set(
      concatBytes(
        Buffer.from('ASEV'),
        le32(length, 1, plan.sections.length),
        ...plan.sections.map((section) => le32(...section)),
      ),
      plan.metadataOffset ?? 0x1000,
    );
  }
  const body = concatBytes(
    ...plan.entries.map(([guid, data]) => concatBytes(data, le16(data.length + 18), guidToBytes(guid))),
  );
  const table = concatBytes(body, le16(body.length + 18), guidToBytes(GUID.footer));
  image.set(table, image.length - 32 - table.length);
  return image;
}

export const S_SECTIONS = [
  [0x800000, 0x2000, 1],
  [0x802000, 0x1000, 2],
  [0x803000, 0x1000, 3],
  [0x804000, 0x1000, 4],
  [0x806000, 0x3000, 1],
  [0x805000, 0x1000, 0x10],
] as const;

export const S_ENTRIES = [
  [GUID.metadata, le32(0x1000)],
  [GUID.hashTable, le32(0x805c00, 0x400)],
  [GUID.resetBlock, le32(0x80b004)],
] as const;

/** Synthetic firmware S: a complete AmdSev-like description in two pages. */
export function firmwareS(): Uint8Array {
  return buildFirmware({ fill: (i) => (7 * i + 3) % 256, entries: S_ENTRIES, sections: S_SECTIONS });
}

/** Synthetic SVSM image V. */
export function svsmV(): Uint8Array {
  return buildFirmware({
    fill: (i) => (5 * i + 1) % 256,
    entries: [
      [GUID.metadata, le32(0x1000)],
      [GUID.svsmInfo, le32(0x20)],
    ],
    sections: [
      [0, 0x4000, 1],
      [0x4000, 0x1000, 2],
      [0x5000, 0x1000, 3],
    ],
  });
}

/** The first `length` bytes of a line repeated with its newline. */
export function repeatedLine(line: string, length: number): Uint8Array {
  const unit = Buffer.from(`${line}\n`);
  return Uint8Array.from({ length }, (_, i) => unit[i % unit.length] as number);
}

export const KERNEL = repeatedLine('public kernel image', 1048577);
export const INITRD = repeatedLine('public initrd image', 300000);
export const APPEND = 'console=ttyS0 loglevel=7';
