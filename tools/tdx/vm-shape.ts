import { usageError } from '../errors.ts';
import { checkMemorySize } from './td-hob.ts';
import type { AcpiProfile } from './qemu-profile.ts';

/** What of a VM the ACPI tables tell, as dstack's VMM starts it (q35, split irqchip, no HPET, no SMM). */
export interface VmShape {
  readonly profile: AcpiProfile;
  readonly pic: boolean;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  /** 0: QEMU's own choice. */
  readonly pciHole64Bytes: number;
  readonly hugepages: boolean;
  readonly numGpus: number;
  readonly numNvswitches: number;
  readonly numNics: number;
  readonly numVerityVolumes: number;
  readonly hotplugOff: boolean;
}

/** Three hex digits name a processor. */
export const CPU_LIMIT = 4096;

/** GPUs on huge pages sit behind a second host bridge. */
export function hasExpanderBridge(shape: VmShape): boolean {
  return shape.hugepages && shape.numGpus > 0;
}

export function rootPortCount(shape: VmShape): number {
  return shape.numNvswitches + (hasExpanderBridge(shape) ? 0 : shape.numGpus);
}

const FIRST_FIXED_SLOT = 0x1f;
const EXPANDER_SLOT = 0x10;

/** Slots of a bus: first the end devices, then the root ports. */
export interface Slots {
  readonly endDevices: readonly number[];
  readonly rootPorts: readonly number[];
}

/**
 * Where the devices sit. What cannot be predicted is refused, never guessed.
 *
 * @throws CvmError usage CPU_COUNT | MEMORY_SIZE | PCI_SLOTS | ACPI_HOTPLUG_PORTS
 */
export function deviceSlots(shape: VmShape): Slots {
  if (!Number.isSafeInteger(shape.cpuCount) || shape.cpuCount < 1 || shape.cpuCount > CPU_LIMIT) {
    throw usageError('CPU_COUNT', 'the vCPU count is out of range', {
      facts: [
        ['found', shape.cpuCount],
        ['range', `1 to ${CPU_LIMIT}`],
      ],
      mend: 'name as many vCPUs as the VM has',
    });
  }
  checkMemorySize(shape.memoryBytes);
  const ports = rootPortCount(shape);
  if (ports > 0 && !shape.hotplugOff) {
    throw usageError('ACPI_HOTPLUG_PORTS', 'the ACPI tables of root ports with hotplug cannot be generated', {
      facts: [
        ['root ports', ports],
        ['hotplug_off', 'false'],
      ],
      mend: 'set qemu_hotplug_off on the host, as GPU hosts do, or give the tables with --acpi-tables or --acpi-digests',
    });
  }
  const hasExpander = hasExpanderBridge(shape);
  // The memory controller, three devices that every guest has, and the root file system.
  const last = 3 + 1 + shape.numNics + shape.numVerityVolumes;
  const isTooMany = last >= (hasExpander ? EXPANDER_SLOT : FIRST_FIXED_SLOT) || ports >= FIRST_FIXED_SLOT;
  const endDevices = isTooMany ? [] : Array.from({ length: last + 1 }, (_, slot) => slot);
  const rootPorts: number[] = [];
  for (let slot = last + 1; !isTooMany && rootPorts.length < ports; slot++) {
    if (!hasExpander || slot !== EXPANDER_SLOT) rootPorts.push(slot);
  }
  if (isTooMany || (rootPorts.at(-1) ?? 0) >= FIRST_FIXED_SLOT) {
    throw usageError('PCI_SLOTS', 'there are more devices than the bus has slots', {
      facts: [
        ['NICs', shape.numNics],
        ['verity volumes', shape.numVerityVolumes],
        ['root ports', ports],
      ],
      mend: 'no such VM starts: name the devices that it has',
    });
  }
  return { endDevices, rootPorts };
}
