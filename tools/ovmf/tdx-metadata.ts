import type { ByteSource } from '../bytes/source.ts';
import { formatError, type Fact } from '../errors.ts';
import {
  readTdvfDescriptor,
  TDVF_TYPES,
  tdvfRowFault,
  type DescriptorFault,
  type TdvfRow,
  type TdvfRowFault,
} from '../tdx/tdvf-descriptor.ts';

const ROW_PROBLEMS: Readonly<Record<TdvfRowFault, string>> = {
  address: 'a section is not whole pages',
  raw: 'a section holds more than its memory',
  size: 'a section is not whole pages',
  content: 'the content of a section lies outside the image',
  beyond: 'a section lies beyond guest memory',
};

export function tdxSectionName(type: number): string {
  return TDVF_TYPES[type] ?? `type 0x${type.toString(16)}`;
}

/**
 * The TDX metadata of an OVMF image, see {@link readTdvfDescriptor}. To be shown: types may be unknown, and ranges may
 * overlap.
 *
 * @param distance of the descriptor from the end of the file, from the footer table's entry
 * @throws CvmError format OVMF_TDX_METADATA
 */
export function readTdxMetadata(image: ByteSource, distance: number): TdvfRow[] {
  const wrong = (why: string, ...facts: readonly Fact[]): Error =>
    formatError('OVMF_TDX_METADATA', `the TDX metadata is malformed: ${why}`, {
      facts: [['at', image.sizeBytes - distance], ...facts],
    });
  const rows = readTdvfDescriptor(image, distance, (fault) => wrong(...descriptorProblem(fault)));
  for (const [index, row] of rows.entries()) {
    const fault = tdvfRowFault(row, image.sizeBytes);
    if (fault === undefined) continue;
    throw wrong(ROW_PROBLEMS[fault], ['section', index], ['type', tdxSectionName(row.type)]);
  }
  return rows;
}

function descriptorProblem(fault: DescriptorFault): [why: string, ...facts: readonly Fact[]] {
  switch (fault.kind) {
    case 'place':
      return ['it lies outside the image'];
    case 'signature':
      return ['it does not start with "TDVF"'];
    case 'version':
      return ['its version is unknown', ['found', fault.version]];
    case 'count':
      return ['no firmware has so many sections', ['sections', fault.count]];
    case 'length':
      return ['its length does not fit its sections', ['length', fault.length], ['sections', fault.count]];
  }
}
