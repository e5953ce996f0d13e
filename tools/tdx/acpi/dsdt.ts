import { deviceSlots, hasExpanderBridge, type VmShape } from '../vm-shape.ts';
import {
  device,
  eisaId,
  field,
  method,
  name,
  opRegion,
  packageOf,
  scope,
  sequence,
  text,
  type Aml,
} from './aml.ts';
import { debugPort, expanderBridge, pciHotplug, rootBridge, windows } from './host-bridge.ts';
import { processorEvent, processors } from './processors.ts';
import { io, irq, irqWithFlags, resources } from './resources.ts';
import { expanderRouting, interruptRouting, picMode } from './routing.ts';

/** A part of the DSDT under a name, for whoever looks for the place of a difference. */
export interface DsdtPart {
  readonly name: string;
  readonly aml: Aml;
}

/**
 * The body of the DSDT that QEMU's q35 hands to a dstack guest, part by part in order.
 *
 * Source: QEMU hw/i386/acpi-build.c, releases 8.2 to 11.1.
 * @throws CvmError usage CPU_COUNT | MEMORY_SIZE | PCI_SLOTS | ACPI_HOTPLUG_PORTS
 */
export function dsdtParts(shape: VmShape): DsdtPart[] {
  const slots = deviceSlots(shape);
  const hotplug = !shape.hotplugOff;
  const part = (label: string, aml: Aml): DsdtPart => ({ name: label, aml });
  return [
    part('debug port', debugPort()),
    part('root bridge', rootBridge(shape)),
    ...(hotplug ? [part('PCI hotplug', pciHotplug(shape))] : []),
    part('interrupt mode', sequence(picMode())),
    part('interrupt routing', interruptRouting(shape)),
    part('events', scope('_GPE', name('_HID', text('ACPI0006')))),
    part('processors', processors(shape)),
    part('processor event', processorEvent()),
    ...(hasExpanderBridge(shape) ? [part('expander bridge', expanderBridge(expanderRouting()))] : []),
    part('windows', windows(shape)),
    part('sleep states', sleepStates()),
    part('firmware configuration', firmwareConfiguration()),
    part('PCI devices', pciDevices(shape, slots.endDevices, slots.rootPorts)),
    ...(hotplug ? [part('hotplug event', scope('_GPE', method('_E01', 0)))] : []),
  ];
}

function sleepStates(): Aml {
  return scope(
    '\\',
    name('_S3', packageOf(1, 1, 0, 0)),
    name('_S4', packageOf(2, 2, 0, 0)),
    name('_S5', packageOf(0, 0, 0, 0)),
  );
}

function firmwareConfiguration(): Aml {
  return scope(
    '\\_SB.PCI0',
    device(
      'FWCF',
      name('_HID', text('QEMU0002')),
      name('_STA', 0xb),
      name('_CRS', resources(io(0x510, 1, 0xc))),
    ),
  );
}

const LPC = 0xf8;
const SATA = 0xfa;
const SMBUS = 0xfb;
const EXPANDER = 0x80;

function pciDevices(shape: VmShape, endDevices: readonly number[], rootPorts: readonly number[]): Aml {
  const children = new Map<number, readonly Aml[]>();
  for (const slot of endDevices) children.set(slot * 8, []);
  for (const slot of rootPorts) children.set(slot * 8, [device('S00', name('_ADR', 0))]);
  if (hasExpanderBridge(shape)) children.set(EXPANDER, []);
  children.set(LPC, legacyDevices(shape));
  children.set(SATA, []);
  children.set(SMBUS, []);
  const devices = [...children]
    .sort(([a], [b]) => a - b)
    .map(([devfn, body]) =>
      device(
        `S${devfn.toString(16).toUpperCase().padStart(2, '0')}`,
        name('_ADR', (devfn >> 3) * 0x1_0000 + (devfn & 7)),
        ...body,
      ),
    );
  return scope('\\_SB', scope('PCI0', ...devices));
}

/** Behind the LPC bridge: interrupt registers, keyboard, mouse, serial port, clock. */
function legacyDevices(shape: VmShape): Aml[] {
  const serialIrq = shape.profile === 'E' ? irqWithFlags(4, 0x18) : irq(4);
  const registers = ['A', 'B', 'C', 'D'].map((x) => `PRQ${x}:8`);
  const moreRegisters = ['E', 'F', 'G', 'H'].map((x) => `PRQ${x}:8`);
  return [
    opRegion('PIRQ', 'pciConfig', 0x60, 0xc),
    scope('\\_SB', field('PCI0.SF8.PIRQ', 'byte', 'keep', [...registers, 'gap:32', ...moreRegisters])),
    device(
      'KBD',
      name('_HID', eisaId('PNP0303')),
      name('_STA', 15),
      name('_CRS', resources(io(0x60, 1, 1), io(0x64, 1, 1), irq(1))),
    ),
    device('MOU', name('_HID', eisaId('PNP0F13')), name('_STA', 15), name('_CRS', resources(irq(12)))),
    device(
      'COM1',
      name('_HID', eisaId('PNP0501')),
      name('_UID', 1),
      name('_STA', 15),
      name('_CRS', resources(io(0x3f8, 0, 8), serialIrq)),
    ),
    device('RTC', name('_HID', eisaId('PNP0B00')), name('_CRS', resources(io(0x70, 1, 8), irq(8)))),
  ];
}
