import { readU32 } from '../bytes/little-endian.ts';
import { guidFromBytes } from '../bytes/guid.ts';
import type { ByteSource } from '../bytes/source.ts';
import { CvmError, formatError } from '../errors.ts';
import { prepareSnpLaunch, requireKernelHashes } from '../snp/launch-digest.ts';
import {
  OVMF_GUIDS,
  parseOvmf,
  requireHashTableBase,
  requireResetEip,
  requireSections,
  type Ovmf,
} from '../snp/ovmf.ts';
import { TDVF_GUID, type TdvfRow } from '../tdx/tdvf-descriptor.ts';
import { readTdxMetadata } from './tdx-metadata.ts';

/** What stands in the way of something, undefined when nothing does. */
export type Obstacle = { readonly code: string; readonly text: string; readonly mend: string } | undefined;

/** All that an OVMF image says of itself. */
export interface FirmwareReport {
  readonly ovmf: Ovmf;
  readonly tdx: readonly TdvfRow[] | undefined;
  /** LD after the firmware pages, 48 bytes; undefined where no SNP guest can start with it. */
  readonly snpFirmwareDigest: Uint8Array | undefined;
  readonly obstacles: {
    /** To start an SEV-SNP guest and to measure it. */
    readonly snp: Obstacle;
    /** To bind kernel, initrd and command line under SEV-SNP. */
    readonly snpKernel: Obstacle;
    /** The same under SEV and SEV-ES. */
    readonly sevKernel: Obstacle;
    /** To start a TDX guest. */
    readonly tdx: Obstacle;
  };
}

const ENTRY_NAMES: Readonly<Record<string, string>> = {
  [OVMF_GUIDS.sevHashTable]: 'SEV hash table',
  [OVMF_GUIDS.sevEsResetBlock]: 'SEV-ES reset block',
  [OVMF_GUIDS.sevMetadata]: 'SEV metadata',
  [OVMF_GUIDS.svsmInfo]: 'SVSM info',
  [TDVF_GUID]: 'TDX metadata',
  '4c2eb361-7d9b-4cc3-8081-127c90d3d294': 'SEV secret block',
  '784fa70e-3176-4677-8a20-04b68699e374': 'IGVM parameter list',
};

const AMD_SEV_BUILD = 'use the AmdSev build (edk2 OvmfPkg/AmdSev/AmdSevX64.dsc, one OVMF.fd)';

const TDX_BUILD = 'use the whole image of a build for TDX (edk2 OvmfPkg/IntelTdx/IntelTdxX64.dsc, OVMF.fd)';

/** The variable stores of edk2: gEfiSystemNvDataFvGuid and its authenticated kin in a firmware volume's header. */
const NV_DATA_FV_GUID = 'fff12b8d-7696-4c8b-a985-2747075b4f50';

/** Files that people take for firmware, by bytes at a place. */
const STRANGERS: readonly {
  readonly at: number;
  readonly magic: string;
  readonly what: string;
  readonly mend: string;
}[] = [
  { at: 0, magic: '514649fb', what: 'a qcow2 disk image', mend: 'convert it first: qemu-img convert -O raw' },
  {
    at: 0,
    magic: '4947564d',
    what: 'an IGVM file',
    mend: 'measure it with cvm igvm measure: it lists its own pages',
  },
  { at: 0, magic: '7f454c46', what: 'an ELF program', mend: AMD_SEV_BUILD },
  {
    at: 0x202,
    magic: '48647253',
    what: 'a Linux kernel',
    mend: 'give it with --kernel, and the firmware with --ovmf',
  },
  { at: 0x1fe, magic: '55aa', what: 'a disk image', mend: AMD_SEV_BUILD },
  { at: 0, magic: '1f8b', what: 'a gzip file', mend: 'unpack it first' },
  { at: 0, magic: '28b52ffd', what: 'a zstd file', mend: 'unpack it first' },
];

/** Name of a footer table entry, undefined for an unknown GUID. */
export function footerEntryName(guid: string): string | undefined {
  return ENTRY_NAMES[guid];
}

/**
 * Reads an image, and says what it can be used for.
 * @throws CvmError format OVMF_NO_FOOTER | OVMF_TOO_SHORT with what the file is instead, and as parseOvmf
 */
export function reportFirmware(image: ByteSource): FirmwareReport {
  const ovmf = parseOrIdentify(image);
  let tdx: readonly TdvfRow[] | undefined;
  // SEV looks at none of it: an image cut to its end is measured all the same.
  const tdxObstacle = obstacle(() => (tdx = tdxRows(image, ovmf)));
  const snp = obstacle(() => {
    requireSections(ovmf);
    requireResetEip(ovmf, 1);
    prepareSnpLaunch({ firmware: image, ovmfHash: new Uint8Array(48) });
  }, ovmf);
  const sevKernel = obstacle(() => requireHashTableBase(ovmf), ovmf);
  const snpKernel =
    snp ?? obstacle(() => requireKernelHashes(ovmf, requireSections(ovmf)), ovmf) ?? sevKernel;
  return {
    ovmf,
    tdx,
    snpFirmwareDigest: snp === undefined ? digestOf(image) : undefined,
    obstacles: { snp, snpKernel, sevKernel, tdx: tdxObstacle },
  };
}

/** @throws CvmError format OVMF_NO_TDX_METADATA | OVMF_ENTRY_DATA | OVMF_TDX_METADATA */
function tdxRows(image: ByteSource, ovmf: Ovmf): readonly TdvfRow[] {
  const entry = ovmf.table.find(({ guid }) => guid === TDVF_GUID);
  if (entry === undefined) {
    throw formatError('OVMF_NO_TDX_METADATA', 'there is no TDX metadata', { mend: TDX_BUILD });
  }
  if (entry.data.length < 4) {
    throw formatError('OVMF_ENTRY_DATA', 'the TDX metadata entry is too short', { mend: TDX_BUILD });
  }
  try {
    return readTdxMetadata(image, readU32(entry.data, 0));
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind !== 'format') throw error;
    const { code, message, facts } = error;
    throw formatError(code, message, { facts, mend: TDX_BUILD });
  }
}

function digestOf(image: ByteSource): Uint8Array | undefined {
  return image.sizeBytes % 4096 === 0 ? prepareSnpLaunch({ firmware: image }).firmwareDigest : undefined;
}

function obstacle(demand: () => unknown, ovmf?: Ovmf): Obstacle {
  try {
    demand();
    return undefined;
  } catch (error) {
    if (!(error instanceof CvmError) || error.kind !== 'format') throw error;
    const { code } = error;
    if (ovmf?.svsmLaunchOffset !== undefined) {
      const text = 'this is an SVSM image: it takes no kernel, it starts the firmware of the guest';
      return { code, text, mend: 'measure it with that firmware: cvm snp measure --mode snp:svsm --svsm' };
    }
    // OvmfPkgX64 carries the entry with base 0: the most asked question about measured boot.
    const isX64 = ovmf?.table.some(({ guid }) => guid === OVMF_GUIDS.sevHashTable) === true;
    if (code === 'OVMF_NO_KERNEL_HASHES' || (code === 'OVMF_NO_HASH_TABLE' && isX64)) {
      const text =
        'this is no AmdSev build (OvmfPkgX64, most likely): it has no place for kernel hashes and would run any kernel';
      return { code, text, mend: AMD_SEV_BUILD };
    }
    return { code, text: error.message, mend: error.mend ?? AMD_SEV_BUILD };
  }
}

function parseOrIdentify(image: ByteSource): Ovmf {
  try {
    return parseOvmf(image);
  } catch (error) {
    if (!(error instanceof CvmError) || (error.code !== 'OVMF_NO_FOOTER' && error.code !== 'OVMF_TOO_SHORT'))
      throw error;
    const stranger = identify(image);
    if (stranger === undefined) throw error;
    throw formatError(error.code, `this is ${stranger.what}, not an OVMF image`, {
      facts: error.facts,
      mend: stranger.mend,
    });
  }
}

/** What a file without a footer table is, as far as its first bytes tell. */
function identify(image: ByteSource): { readonly what: string; readonly mend: string } | undefined {
  const head = image.read(0, Math.min(image.sizeBytes, 0x210));
  if (head.length >= 0x2c && Buffer.from(head.subarray(0x28, 0x2c)).toString('latin1') === '_FVH') {
    return guidFromBytes(head, 0x10) === NV_DATA_FV_GUID
      ? {
          what: 'a VARS file (variable store)',
          mend: `give the CODE file or the one OVMF.fd; for measured boot ${AMD_SEV_BUILD}`,
        }
      : { what: 'a firmware volume without a reset vector', mend: AMD_SEV_BUILD };
  }
  return STRANGERS.find(({ at, magic }) => {
    const found = Buffer.from(head.subarray(at, at + magic.length / 2)).toString('hex');
    return found === magic;
  });
}
