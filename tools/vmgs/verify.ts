/** A whole check of a VMGS file: everything that is wrong with it, and what OpenHCL would do with it. */
import { sliceSource, type ByteSource } from '../bytes/source.ts';
import { CvmError } from '../errors.ts';
import { checkBounds } from './file-table.ts';
import type { Finding } from './findings.ts';
import { readHeaders, REPROVISIONED } from './header.ts';
import { capacityBlocks, VMGS_BLOCK_BYTES, type SectorBytes, type StoreGeometry } from './layout.ts';
import { readFileTable, unlock, type Store } from './store.ts';
import { checkFiles, checkFileTable } from './verify-files.ts';
import { checkFooter, checkHeaders, checkSize, findingOf } from './verify-headers.ts';
import { readVhdFooter, VHD_SECTOR_BYTES } from './vhd.ts';

/** What OpenHCL does with a store: uses it, formats it (and writes a marker), or does not start. */
export type Outcome = 'open' | 'format' | 'refuse';

/** By the lifetime of the guest state that the host asks for. Source: openvmm, `Vmgs::try_open`, `request_format`. */
export interface Prediction {
  readonly default: Outcome;
  readonly reprovisionOnFailure: Outcome;
  readonly reprovision: Outcome;
}

export interface Report {
  readonly findings: readonly Finding[];
  readonly openhcl: Prediction;
  /** The store as far as it opens; with a key that fits, unlocked. */
  readonly store: Store | undefined;
}

export interface VerifyOptions {
  /** The file is a store without a footer, for a device of this sector size. */
  readonly raw?: SectorBytes | undefined;
  readonly key?: Uint8Array | undefined;
}

/**
 * Checks a file; reads its tables, and with a key its encrypted files. What is wrong with the file is a finding, never
 * an error.
 * @throws CvmError usage VMGS_KEY_LENGTH | VMGS_KEY_ZERO; what reading the file throws
 */
export function verifyVmgs(file: ByteSource, options: VerifyOptions = {}): Report {
  const findings: Finding[] = [];
  const attached = attach(file, options.raw, findings);
  if (attached === undefined) {
    const openhcl = { default: 'refuse', reprovisionOnFailure: 'refuse', reprovision: 'refuse' } as const;
    return { findings, openhcl, store: undefined };
  }
  const { source, geometry } = attached;
  findings.push(...checkSize(geometry));
  const headers = readHeaders(source, geometry);
  findings.push(...checkHeaders(source, geometry, headers));
  if (typeof headers.active !== 'number') {
    return { findings, openhcl: predict(headers.active, false), store: undefined };
  }
  const { header } = headers.slots[headers.active];
  const isReprovisioned = (header.markers & REPROVISIONED) !== 0;
  let store: Store;
  try {
    const files = readFileTable(source, geometry, header);
    const bytes = source.read(header.fileTableBlock * VMGS_BLOCK_BYTES, VMGS_BLOCK_BYTES);
    findings.push(...checkFileTable(bytes, files, header, capacityBlocks(geometry)));
    store = { geometry, activeSlot: headers.active, header, files, unlocked: undefined };
  } catch (error) {
    findings.push(findingOf(error, 'file table'));
    return { findings, openhcl: predict(error, isReprovisioned), store: undefined };
  }
  try {
    checkBounds(store.files, capacityBlocks(geometry));
  } catch (error) {
    // Told above, entry by entry.
    return { findings, openhcl: predict(error, isReprovisioned), store: undefined };
  }
  if (options.key !== undefined) {
    try {
      store = unlock(source, store, options.key);
    } catch (error) {
      if (error instanceof CvmError && error.kind === 'usage') throw error;
      findings.push(findingOf(error, 'extended file table'));
    }
  }
  findings.push(...checkFiles(source, store));
  return { findings, openhcl: predict(undefined, isReprovisioned), store };
}

interface Attached {
  readonly source: ByteSource;
  readonly geometry: StoreGeometry;
}

/** The store inside the file, or a finding that there is none. */
function attach(file: ByteSource, raw: SectorBytes | undefined, findings: Finding[]): Attached | undefined {
  try {
    let geometry: StoreGeometry = { storeBytes: file.sizeBytes, sectorBytes: raw ?? VHD_SECTOR_BYTES };
    if (raw === undefined) {
      const footer = readVhdFooter(file);
      findings.push(...checkFooter(file, footer));
      geometry = { ...geometry, storeBytes: footer.currentBytes };
    }
    const source = sliceSource(file, 0, geometry.storeBytes);
    // A store too small for its headers ends here.
    readHeaders(source, geometry);
    return { source, geometry };
  } catch (error) {
    findings.push(findingOf(error, 'file'));
    return undefined;
  }
}

function predict(error: unknown, isReprovisioned: boolean): Prediction {
  if (error === undefined) {
    return {
      default: 'open',
      reprovisionOnFailure: 'open',
      reprovision: isReprovisioned ? 'open' : 'format',
    };
  }
  return {
    default: error instanceof CvmError && error.code === 'VMGS_EMPTY' ? 'format' : 'refuse',
    reprovisionOnFailure: 'format',
    // With the mark set nothing is formatted, and a table that cannot be read is an error.
    reprovision: isReprovisioned ? 'refuse' : 'format',
  };
}
