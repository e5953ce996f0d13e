import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { CvmError } from '../errors.ts';
import { linkTables, readTables } from './acpi/loader.ts';
import { acpiTables } from './acpi/tables.ts';
import {
  acpiDigests,
  cfvDigest,
  EMPTY_CFV_SHA384,
  firmwareEvents,
  SMBIOS_MEMORY_BYTES,
  type AcpiDigests,
  type EventLayout,
} from './firmware-events.ts';
import { cmdlineEvent, initrdEvent, kernelDigest, rtmr1Events } from './kernel-events.ts';
import { mrtd, type PageAddOrder } from './mrtd.ts';
import { replayEvents, type MeasuredEvent, type PredictedEvent } from './register.ts';
import { HIGH_MEMORY_SPLIT_BYTES, LOW_MEMORY_BYTES, tdHob } from './td-hob.ts';
import { parseTdvf, type TdvfSection } from './tdvf.ts';
import type { VmShape } from './vm-shape.ts';

/** The files of an image, and its command line. */
export interface TdxArtifacts {
  readonly firmware: ByteSource;
  readonly kernel: ByteSource;
  readonly initrd: ByteSource;
  /** Its SHA-384, where something else hashes it: asked last of all. */
  readonly initrdSha384?: (() => Uint8Array | undefined) | undefined;
  /** metadata.json's value, untouched. */
  readonly cmdline: string;
}

/** Where the ACPI digests come from: generated for the shape, a captured blob, or digests. */
export type AcpiSource =
  | { readonly kind: 'generate' }
  | { readonly kind: 'blob'; readonly blob: Uint8Array }
  | { readonly kind: 'digests'; readonly digests: AcpiDigests };

/** A VM that starts the image. */
export interface TdxGuest {
  readonly shape: VmShape;
  readonly pageAddOrder: PageAddOrder;
  /** Whether QEMU rewrites the kernel's setup header. */
  readonly patchesKernelHeader: boolean;
  readonly layout: EventLayout;
  readonly acpi: AcpiSource;
  /** Takes dstack's empty variable store for the firmware's, as dstack-mr does, instead of what the file has. */
  readonly assumesEmptyCfv?: boolean;
}

export interface TdxMeasurement {
  readonly mrtd: Uint8Array;
  /** undefined when an event of it cannot be predicted: then a note says why. */
  readonly rtmr0: Uint8Array | undefined;
  readonly rtmr1: Uint8Array;
  readonly rtmr2: Uint8Array;
  readonly events: {
    readonly rtmr0: readonly PredictedEvent[];
    readonly rtmr1: readonly MeasuredEvent[];
    readonly rtmr2: readonly MeasuredEvent[];
  };
  /** What a reader of the registers has to know. */
  readonly notes: readonly string[];
}

/** One image, measured under any number of VMs: each file is hashed once for each way of hashing it. */
export interface TdxImage {
  /** @throws CvmError usage CPU_COUNT | MEMORY_SIZE | MEMORY_TOO_SMALL | PCI_SLOTS; format INITRD_TOO_LARGE, KERNEL_*, PE_*, ACPI_BLOB */
  measure(guest: TdxGuest): TdxMeasurement;
}

/** What of an image enters the registers, however it is known: from its files, or from a document. */
export interface TdxParts {
  mrtd(order: PageAddOrder): Uint8Array;
  /** What of the firmware the HOB list depends on. */
  readonly sections: readonly TdvfSection[];
  readonly cfvDigest: Uint8Array;
  kernelDigest(patchesHeader: boolean, memoryBytes: number): Uint8Array;
  rtmr2Events(): readonly MeasuredEvent[];
}

/** @throws CvmError format TDVF_* */
export function prepareTdxImage(artifacts: TdxArtifacts): TdxImage {
  const { firmware, kernel, initrd, initrdSha384, cmdline } = artifacts;
  const sections = parseTdvf(firmware);
  const mrtds = new Map<PageAddOrder, Uint8Array>();
  const kernels = new Map<string, Uint8Array>();
  let rtmr2: readonly MeasuredEvent[] | undefined;
  const remembered = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
    const known = map.get(key);
    if (known !== undefined) return known;
    const made = make();
    map.set(key, made);
    return made;
  };
  return tdxImageOf({
    sections,
    cfvDigest: cfvDigest(firmware, sections),
    mrtd: (order) => remembered(mrtds, order, () => mrtd(firmware, sections, order)),
    kernelDigest: (patchesHeader, memoryBytes) =>
      remembered(kernels, `${patchesHeader} ${memoryBytes}`, () =>
        kernelDigest({ kernel, initrdBytes: initrd.sizeBytes, memoryBytes, patchesHeader }),
      ),
    rtmr2Events: () => (rtmr2 ??= [cmdlineEvent(cmdline), initrdEvent(initrd, initrdSha384?.())]),
  });
}

export function tdxImageOf(parts: TdxParts): TdxImage {
  return {
    measure(guest) {
      const { shape, patchesKernelHeader } = guest;
      const { memoryBytes } = shape;
      const notes = notesOn(guest, parts.cfvDigest);
      const acpi = acpiOf(guest, notes);
      const rtmr0 = firmwareEvents({
        layout: guest.layout,
        tdHob: tdHob(parts.sections, memoryBytes),
        cfvDigest: guest.assumesEmptyCfv === true ? hexToBytes(EMPTY_CFV_SHA384) : parts.cfvDigest,
        acpi,
        memoryBytes,
      });
      const how = patchesKernelHeader
        ? `with QEMU's setup header for ${memoryBytes} bytes of memory`
        : 'as in the file';
      const digest = parts.kernelDigest(patchesKernelHeader, memoryBytes);
      const rtmr1 = rtmr1Events(digest, `Authenticode of the kernel, ${how}`);
      const mrtd = parts.mrtd(guest.pageAddOrder);
      const rtmr2 = parts.rtmr2Events();
      return {
        mrtd,
        rtmr0: replayEvents(rtmr0),
        rtmr1: replayKnown(rtmr1),
        rtmr2: replayKnown(rtmr2),
        events: { rtmr0, rtmr1, rtmr2 },
        notes,
      };
    },
  };
}

function replayKnown(events: readonly MeasuredEvent[]): Uint8Array {
  return replayEvents(events) as Uint8Array;
}

function acpiOf(guest: TdxGuest, notes: string[]): AcpiDigests | undefined {
  switch (guest.acpi.kind) {
    case 'digests':
      return guest.acpi.digests;
    case 'blob':
      return acpiDigests(linkTables(guest.acpi.blob, readTables(guest.acpi.blob)));
    case 'generate':
      try {
        const { blob, tables } = acpiTables(guest.shape);
        return acpiDigests(linkTables(blob, tables));
      } catch (error) {
        if (!(error instanceof CvmError) || error.code !== 'ACPI_HOTPLUG_PORTS') throw error;
        notes.push(`RTMR0 cannot be precomputed: ${error.message}`);
        return undefined;
      }
  }
}

function notesOn({ shape, layout, patchesKernelHeader, acpi }: TdxGuest, cfv: Uint8Array): string[] {
  const notes: string[] = [];
  const { memoryBytes } = shape;
  if (layout === 17 && memoryBytes !== SMBIOS_MEMORY_BYTES) {
    notes.push(
      'RTMR0 cannot be precomputed: the 17-event firmware measures SMBIOS tables, which are known for 2 GiB alone',
    );
  }
  if (bytesToHex(cfv) !== EMPTY_CFV_SHA384) {
    notes.push(
      'the firmware’s variable store is not the empty one of dstack images: dstack-mr measures that one (--compat dstack-mr); with keys enrolled, the efi events differ too',
    );
  }
  if (acpi.kind === 'generate' && shape.numGpus > 0 && shape.pciHole64Bytes === 0) {
    notes.push(
      'GPUs without pci_hole64_size: the guest’s real 64-bit window depends on the firmware, RTMR0 may differ',
    );
  }
  if (patchesKernelHeader && memoryBytes !== LOW_MEMORY_BYTES && memoryBytes < HIGH_MEMORY_SPLIT_BYTES) {
    notes.push('RTMR1 depends on the memory size: it is another for 2 GiB, and from 2816 MiB on');
  }
  return notes;
}
