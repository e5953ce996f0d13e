import type { VmShape } from '../vm-shape.ts';
import {
  and,
  arg,
  call,
  createDword,
  device,
  eisaId,
  equal,
  giveBack,
  method,
  name,
  or,
  otherwise,
  packageOf,
  scope,
  serialized,
  store,
  when,
  type Aml,
} from './aml.ts';
import { extendedIrq, resources } from './resources.ts';

/** Interrupt routing of q35. Source: QEMU hw/i386/acpi-build.c. */

const SLOTS = 32;
const PINS = 4;
const LINKS = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'] as const;
const FIRST_GSI = 16;
const A0 = arg(0);

/** Which interrupt controllers the system uses. */
export function picMode(): Aml[] {
  return [name('PICF', 0), method('_PIC', 1, store('PICF', A0))];
}

function routingTable(link: (slot: number, pin: number) => string): Aml {
  const entries = Array.from({ length: SLOTS * PINS }, (_, i) => {
    const slot = Math.floor(i / PINS);
    const pin = i % PINS;
    return packageOf(slot * 0x1_0000 + 0xffff, pin, link(slot, pin), 0);
  });
  return packageOf(...entries);
}

/** Of the root bus: E to H in turn, but A to D for the slots of the chipset's own devices. */
function rootLink(prefix: string): (slot: number, pin: number) => string {
  return (slot, pin) => {
    const isChipset = (slot >= 0x19 && slot <= 0x1d) || slot === 0x1f;
    const head = slot < 0x18 ? slot & 3 : 0;
    return `${prefix}${LINKS[(isChipset ? 0 : 4) + ((head + pin) % PINS)] ?? ''}`;
  };
}

/** Of the second host bridge. */
export function expanderRouting(): Aml {
  return routingTable((slot, pin) => `LNK${LINKS[(slot + pin + 3) & 3] ?? ''}`);
}

export function interruptRouting(shape: VmShape): Aml {
  // Edge triggered up to QEMU 9.1, which was a mistake.
  const flags = shape.profile === 'A' ? 0x0b : 0x09;
  return scope(
    '_SB',
    scope(
      'PCI0',
      name('PRTP', routingTable(rootLink('LNK'))),
      name('PRTA', routingTable(rootLink('GSI'))),
      method('_PRT', 0, when(equal('PICF', 0), giveBack('PRTP')), otherwise(giveBack('PRTA'))),
    ),
    method('IQST', 1, when(and(0x80, A0), giveBack(9)), giveBack(0xb)),
    serialized(
      'IQCR',
      1,
      name('PRR0', resources(extendedIrq(flags, 0))),
      createDword('PRR0', 5, 'PRRI'),
      store('PRRI', and(A0, 0xf)),
      giveBack('PRR0'),
    ),
    ...LINKS.map((letter, i) => {
      const register = `PRQ${letter}`;
      return device(
        `LNK${letter}`,
        name('_HID', eisaId('PNP0C0F')),
        name('_UID', i),
        name('_PRS', resources(extendedIrq(flags, 5, 10, 11))),
        method('_STA', 0, giveBack(call('IQST', register))),
        method('_DIS', 0, or(register, 0x80, register)),
        method('_CRS', 0, giveBack(call('IQCR', register))),
        method('_SRS', 1, createDword(A0, 5, 'PRRI'), store(register, 'PRRI')),
      );
    }),
    ...LINKS.map((letter, i) => {
      const line = resources(extendedIrq(flags, FIRST_GSI + i));
      return device(
        `GSI${letter}`,
        name('_HID', eisaId('PNP0C0F')),
        name('_UID', FIRST_GSI + i),
        name('_PRS', line),
        name('_CRS', line),
        method('_DIS', 0),
        method('_SRS', 1),
      );
    }),
  );
}
