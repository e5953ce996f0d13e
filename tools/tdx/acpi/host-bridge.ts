import { lowMemoryBytes } from '../td-hob.ts';
import { hasExpanderBridge, type VmShape } from '../vm-shape.ts';
import {
  acquire,
  and,
  arg,
  buffer,
  call,
  createDword,
  dereference,
  device,
  eisaId,
  equal,
  field,
  giveBack,
  increment,
  index,
  less,
  local,
  logicalOr,
  method,
  mutex,
  name,
  not,
  notEqual,
  opRegion,
  or,
  otherwise,
  pack,
  packageOf,
  release,
  scope,
  serialized,
  shiftLeft,
  sizeOf,
  store,
  subtract,
  text,
  toBuffer,
  toHexString,
  uuid,
  when,
  whilst,
  type Aml,
} from './aml.ts';
import { busRange, io, ioRange, memory32, memory64, resources } from './resources.ts';

/** Host bridge parts of QEMU's DSDT. Source: QEMU hw/i386/acpi-build.c, hw/acpi/pci-bridge.c, hw/acpi/pcihp.c. */

const PCI_HOST_OSC = '33db4d5b-1ff7-401c-9657-7441c03dd766';
const PCI_DSM = 'e5c937d0-3553-4d7a-9117-ea4d19c3434d';

const [L0, L1, L2] = [local(0), local(1), local(2)];
const [A0, A1, A2, A3, A4] = [arg(0), arg(1), arg(2), arg(3), arg(4)];

/** A port that prints. */
export function debugPort(): Aml {
  return scope(
    '\\',
    opRegion('DBG', 'io', 0x402, 1),
    field('DBG', 'byte', 'keep', ['DBGB:8']),
    method(
      'DBUG',
      1,
      toHexString(A0, L0),
      toBuffer(L0, L0),
      subtract(sizeOf(L0), 1, L1),
      store(L2, 0),
      whilst(less(L2, L1), store('DBGB', dereference(index(L0, L2))), increment(L2)),
      store('DBGB', 10),
    ),
  );
}

/** What the system may control of PCI Express. */
function oscMethod(mask: number): Aml {
  return method(
    '_OSC',
    4,
    createDword(A3, 0, 'CDW1'),
    when(
      equal(A0, uuid(PCI_HOST_OSC)),
      createDword(A3, 4, 'CDW2'),
      createDword(A3, 8, 'CDW3'),
      store(L0, 'CDW3'),
      and(L0, mask, L0),
      when(notEqual(A1, 1), or('CDW1', 8, 'CDW1')),
      when(notEqual('CDW3', L0), or('CDW1', 16, 'CDW1')),
      store('CDW3', L0),
    ),
    otherwise(or('CDW1', 4, 'CDW1')),
    giveBack(A3),
  );
}

/** Answers "which functions": nothing but what the caller may ask. */
const dsmFunctions = (...more: readonly Aml[]): Aml =>
  when(
    equal(A2, 0),
    store(L0, buffer(Uint8Array.of(0))),
    when(notEqual(A0, uuid(PCI_DSM)), giveBack(L0)),
    when(less(A1, 2), giveBack(L0)),
    ...more,
    giveBack(L0),
  );

export function rootBridge(shape: VmShape): Aml {
  const edsm = serialized(
    'EDSM',
    5,
    dsmFunctions(store(index(L0, 0), 0x81)),
    when(
      equal(A2, 7),
      store(L0, packageOf(0, text(''))),
      store(L1, dereference(index(A4, 0))),
      store(index(L0, 0), L1),
      giveBack(L0),
    ),
  );
  return scope(
    '_SB',
    device(
      'PCI0',
      name('_HID', eisaId('PNP0A08')),
      name('_CID', eisaId('PNP0A03')),
      name('_UID', 0),
      oscMethod(shape.hotplugOff ? 0x1f : 0x1e),
      edsm,
    ),
    device(
      'DRAC',
      name('_HID', text('PNP0C01')),
      name('_CRS', resources(memory32(1, 0xe000_0000, 0xefff_ffff))),
    ),
  );
}

/** ACPI hotplug of PCI devices: registers, ejection, and the index of a slot. */
export function pciHotplug(shape: VmShape): Aml {
  const findIndex = store(L2, call('AIDX', dereference(index(A4, 0)), dereference(index(A4, 1))));
  const unset = [equal(L2, 0), equal(L2, 0xffff_ffff)] as const;
  const isOld = shape.profile === 'A';
  const answer = isOld
    ? when(equal(A2, 7), store(L0, packageOf(0, text(''))), findIndex, store(index(L0, 0), L2), giveBack(L0))
    : when(
        equal(A2, 7),
        findIndex,
        store(L0, pack(2)),
        when(not(logicalOr(...unset)), store(index(L0, 0), L2), store(index(L0, 1), text(''))),
        giveBack(L0),
      );
  return scope(
    '_SB.PCI0',
    opRegion('PCST', 'io', 0xcc0, 8),
    field('PCST', 'dword', 'zeros', ['PCIU:32', 'PCID:32']),
    opRegion('SEJ', 'io', 0xcc8, 4),
    field('SEJ', 'dword', 'zeros', ['B0EJ:32']),
    opRegion('BNMR', 'io', 0xcd0, 8),
    field('BNMR', 'dword', 'zeros', ['BNUM:32', 'PIDX:32']),
    mutex('BLCK'),
    method(
      'PCEJ',
      2,
      acquire('BLCK'),
      store('BNUM', A0),
      store('B0EJ', shiftLeft(1, A1)),
      release('BLCK'),
      giveBack(0),
    ),
    method(
      'AIDX',
      2,
      acquire('BLCK'),
      store('BNUM', A0),
      store('PIDX', shiftLeft(1, A1)),
      store(L0, 'PIDX'),
      release('BLCK'),
      giveBack(L0),
    ),
    serialized(
      'PDSM',
      5,
      dsmFunctions(
        store(L1, 0),
        findIndex,
        // QEMU takes the bitwise operator here; all bits of a truth value are set or none.
        when(not(or(...unset)), or(L1, 1, L1), or(L1, shiftLeft(1, 7), L1)),
        store(index(L0, 0), L1),
      ),
      answer,
    ),
  );
}

const EXPANDER_BUS = 5;

/** The second host bridge, behind which GPUs on huge pages sit. */
export function expanderBridge(routing: Aml): Aml {
  return scope(
    '\\_SB',
    device(
      'PC05',
      name('_UID', EXPANDER_BUS),
      name('_BBN', EXPANDER_BUS),
      name('_HID', eisaId('PNP0A08')),
      name('_CID', eisaId('PNP0A03')),
      oscMethod(0x1f),
      name('_PXM', 0),
      method('_PRT', 0, giveBack(routing)),
      name('_CRS', resources(busRange(EXPANDER_BUS, EXPANDER_BUS))),
    ),
  );
}

const HIGH_WINDOW_BASE = 0x3800_0000_0000;
const DEFAULT_HIGH_WINDOW_BYTES = 0x8_0000_0000;

/** What of the address spaces the bridge passes on. */
export function windows(shape: VmShape): Aml {
  const lastBus = hasExpanderBridge(shape) ? EXPANDER_BUS - 1 : 255;
  const reserved = (path: string, label: string, base: number, length: number): Aml =>
    device(
      path,
      name('_HID', text('PNP0A06')),
      name('_UID', text(label)),
      name('_STA', 0xb),
      name('_CRS', resources(io(base, 1, length))),
    );
  return scope(
    '\\_SB.PCI0',
    name(
      '_CRS',
      resources(
        busRange(0, lastBus),
        io(0xcf8, 1, 8),
        ioRange(0, 0xcf7),
        ioRange(0xd00, 0xffff),
        memory32(3, 0xa_0000, 0xb_ffff),
        memory32(1, lowMemoryBytes(shape.memoryBytes), 0xdfff_ffff),
        memory32(1, 0xf000_0000, 0xfebf_ffff),
        memory64(
          HIGH_WINDOW_BASE,
          shape.pciHole64Bytes === 0 ? DEFAULT_HIGH_WINDOW_BYTES : shape.pciHole64Bytes,
        ),
      ),
    ),
    reserved('GPE0', 'GPE0 resources', 0x620, 0x10),
    ...(shape.hotplugOff ? [] : [reserved('PHPR', 'PCI Hotplug resources', 0xcc0, 0x18)]),
  );
}
