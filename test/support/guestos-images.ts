import { sliceSource, sourceFromBytes, sparseSource, type ByteSource } from '../../tools/bytes/source.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { bytesToHex, hexToBytes } from '../../tools/bytes/hex.ts';
import { writeExt4, type Ext4Options } from '../../tools/ext4/writer.ts';
import { measureBootPartition } from '../../tools/guestos/boot-partition.ts';
import {
  BOOT_FILES,
  ROOT_HASH_OFFSET,
  VERITY_BLOCK_BYTES,
  VERITY_SALT_HEX,
  VERITY_UUID,
} from '../../tools/guestos/layout.ts';
import type { LaunchMeasurement } from '../../tools/guestos/measurements.ts';
import { openExt4 } from '../../tools/ext4/reader.ts';
import { NO_XATTRS, type EntryCommon, type TreeEntry } from '../../tools/tree/entry.ts';
import { formatVerity } from '../../tools/verity/format.ts';
import { signProposal } from '../nns/answer.ts';
import { GOOD_PROPOSAL } from '../nns/examples.ts';
import type { DevProposal } from '../nns/proposal-reply.ts';
import { firmwareS, INITRD, KERNEL } from './firmware.ts';

const COMMON: Omit<EntryCommon, 'path'> = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSec: 0,
  mtimeNsec: 0,
  xattrs: NO_XATTRS,
};

const EXT4_OPTIONS: Omit<Ext4Options, 'sizeBytes'> = {
  uuid: new Uint8Array(16).fill(0x11),
  hashSeed: new Uint8Array(16).fill(0x22),
  label: '',
  epochSec: 0,
};

export function bootArgsText(rootHash: string): string {
  const line = (slot: string, tee: string): string =>
    `BOOT_ARGS${tee && '_TEE'}_${slot}="root=/dev/x dfinity.system=${slot}${tee} root_hash=${rootHash}"\n`;
  return ['A', 'B'].flatMap((slot) => [line(slot, ''), line(slot, ' dfinity.tee=1')]).join('');
}

export interface BootPlan {
  readonly bootArgs: string;
  readonly proposal?: Uint8Array;
  readonly version?: string;
  /** Files left out. */
  readonly without?: readonly string[];
  readonly kernel?: Uint8Array;
  /** Further files, raw names to contents; one of the names above replaces that file. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
}

/** A boot partition of 4 MiB with everything that is measured; kernel and initrd behind symlinks, as in releases. */
export function bootPartition(plan: BootPlan): ByteSource {
  const file = (path: string, bytes: Uint8Array): TreeEntry => ({
    ...COMMON,
    path,
    type: 'file',
    content: sourceFromBytes(bytes),
  });
  const link = (path: string, target: string): TreeEntry => ({
    ...COMMON,
    mode: 0o777,
    path,
    type: 'symlink',
    target,
  });
  const entries: TreeEntry[] = [
    { ...COMMON, mode: 0o755, path: '', type: 'dir' },
    file(BOOT_FILES.firmware, firmwareS()),
    ...(plan.proposal === undefined ? [] : [file(BOOT_FILES.proposal, plan.proposal)]),
    file(BOOT_FILES.bootArgs, utf8Bytes(plan.bootArgs)),
    link(BOOT_FILES.initrd, 'initrd.img-1'),
    file('initrd.img-1', INITRD.subarray(0, 5000)),
    file(BOOT_FILES.version, utf8Bytes(plan.version ?? 'base\n')),
    link(BOOT_FILES.kernel, 'vmlinuz-1'),
    file('vmlinuz-1', plan.kernel ?? KERNEL.subarray(0, 5000)),
  ];
  const { files = {}, without = [] } = plan;
  const more = Object.entries(files).map(([path, bytes]) => file(path, bytes));
  const kept = entries.filter(({ path }) => !without.includes(path) && !(path in files));
  return writeExt4([...kept, ...more], { ...EXT4_OPTIONS, sizeBytes: 4 << 20 });
}

/** A root partition with production's hash offset over a file system of 1 MiB. */
export function rootPartition(fill: number): { readonly image: ByteSource; readonly rootHash: string } {
  const data = writeExt4(
    [
      { ...COMMON, mode: 0o755, path: '', type: 'dir' },
      { ...COMMON, path: 'content', type: 'file', content: sourceFromBytes(new Uint8Array(5000).fill(fill)) },
    ],
    { ...EXT4_OPTIONS, sizeBytes: 1 << 20 },
  );
  return verityPartition(data, data.sizeBytes / VERITY_BLOCK_BYTES);
}

/** Data with a hash tree over its first `dataBlocks` blocks. */
export function verityPartition(
  data: ByteSource,
  dataBlocks: number,
): { readonly image: ByteSource; readonly rootHash: string } {
  const { rootHash, hashArea } = formatVerity(
    sliceSource(data, 0, dataBlocks * VERITY_BLOCK_BYTES),
    {
      hashType: 1,
      algorithm: 'sha256',
      dataBlockBytes: VERITY_BLOCK_BYTES,
      hashBlockBytes: VERITY_BLOCK_BYTES,
      dataBlocks,
      salt: hexToBytes(VERITY_SALT_HEX),
      uuid: hexToBytes(VERITY_UUID.replaceAll('-', '')),
    },
    ROOT_HASH_OFFSET,
  );
  return {
    image: sparseSource(ROOT_HASH_OFFSET + hashArea.sizeBytes, [
      { offset: 0, source: data },
      { offset: ROOT_HASH_OFFSET, source: hashArea },
    ]),
    rootHash: bytesToHex(rootHash),
  };
}

/** What a base release of this boot partition is measured as. */
export function measureSource(boot: ByteSource, vcpus: readonly number[] = [64]): LaunchMeasurement[] {
  return measureBootPartition(openExt4(boot), { vcpus, vcpuTypes: ['EPYC-v4'] });
}

export interface Recovery {
  /** The boot partition of the base release. */
  readonly base: ByteSource;
  readonly boot: ByteSource;
  readonly root: ByteSource;
  readonly rootHash: string;
  readonly proposal: DevProposal;
  readonly certificate: Uint8Array;
  readonly request: Uint8Array;
}

/**
 * A recovery image's parts that fit each other, but for what `over` changes in the proposal.
 * @param plans of the base's boot partition, and what is other in the image's own
 */
export function recovery(
  over: Partial<DevProposal> = {},
  plans: { readonly base?: Partial<BootPlan>; readonly boot?: Partial<BootPlan> } = {},
): Recovery {
  const base = rootPartition(1);
  const next = rootPartition(2);
  const basePlan: BootPlan = { bootArgs: bootArgsText(base.rootHash), ...plans.base };
  const baseBoot = bootPartition(basePlan);
  const proposal: DevProposal = {
    ...GOOD_PROPOSAL,
    rootfsHash: next.rootHash,
    measurements: measureSource(baseBoot).map(({ measurement, kernelCmdline, vcpuType }) => ({
      measurement,
      ...(kernelCmdline === null ? {} : { kernelCmdline }),
      ...(vcpuType === null ? {} : { vcpuType }),
    })),
    ...over,
  };
  const { certificate, request } = signProposal(proposal);
  return {
    base: baseBoot,
    boot: bootPartition({ ...basePlan, ...plans.boot, proposal: certificate }),
    root: next.image,
    rootHash: next.rootHash,
    proposal,
    certificate,
    request,
  };
}
