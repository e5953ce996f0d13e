import { concatBytes } from '../../bytes/compare.ts';
import type { VmShape } from '../vm-shape.ts';
import {
  acquire,
  arg,
  BREAK,
  buffer,
  call,
  DEBUG,
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
  logicalAnd,
  logicalOr,
  method,
  mutex,
  name,
  notify,
  opRegion,
  otherwise,
  pack,
  processor,
  release,
  scope,
  serialized,
  store,
  text,
  when,
  whilst,
  type Aml,
} from './aml.ts';
import { io, resources } from './resources.ts';

/** Processors and their hotplug controller. Source: QEMU hw/acpi/cpu.c. */

const CONTROLLER = '\\_SB.PCI0.PRES';
const at = (register: string): string => `${CONTROLLER}.${register}`;
const LOCK = at('CPLK');
/** What one round of the scan may gather. */
const BATCH = 255;

const [L0, L1, L2, L3, L4, L5] = [local(0), local(1), local(2), local(3), local(4), local(5)];
const [A0, A1, A2] = [arg(0), arg(1), arg(2)];

/** The first APIC id that needs the wide forms. */
const X2APIC = 255;

/** A processor's entry of the MADT, which its `_MAT` repeats. */
export function madtProcessor(id: number): Uint8Array {
  const u32 = (value: number): Uint8Array => Uint8Array.of(value, value >> 8, value >> 16, value >> 24);
  return id < X2APIC
    ? concatBytes(Uint8Array.of(0, 8, id, id), u32(1))
    : concatBytes(Uint8Array.of(9, 16, 0, 0), u32(id), u32(1), u32(id));
}

const processorName = (id: number): string => `C${id.toString(16).toUpperCase().padStart(3, '0')}`;

export function processors(shape: VmShape): Aml {
  const ids = Array.from({ length: shape.cpuCount }, (_, id) => id);
  const initializes = shape.profile === 'A' || shape.profile === 'B' || shape.profile === 'C';
  return scope(
    '_SB',
    device(
      CONTROLLER,
      name('_HID', eisaId('PNP0A06')),
      name('_UID', text('CPU Hotplug resources')),
      mutex('CPLK'),
      name('_CRS', resources(io(0xcd8, 1, 0xc))),
      opRegion('PRST', 'io', 0xcd8, 0xc),
      field('PRST', 'byte', 'zeros', [
        'gap:32',
        'CPEN:1',
        'CINS:1',
        'CRMV:1',
        'CEJ0:1',
        'CEJF:1',
        'gap:3',
        'CCMD:8',
      ]),
      field('PRST', 'dword', 'keep', ['CSEL:32', 'gap:32', 'CDAT:32']),
      ...(initializes ? [serialized('_INI', 0, store('CSEL', 0))] : []),
    ),
    device(
      '\\_SB.CPUS',
      name('_HID', text('ACPI0010')),
      name('_CID', eisaId('PNP0A05')),
      method('CTFY', 2, ...ids.map((id) => when(equal(A0, id), notify(processorName(id), A1)))),
      serialized(
        'CSTA',
        1,
        acquire(LOCK),
        store(at('CSEL'), A0),
        store(L0, 0),
        when(equal(at('CPEN'), 1), store(L0, 15)),
        release(LOCK),
        giveBack(L0),
      ),
      serialized('CEJ0', 1, acquire(LOCK), store(at('CSEL'), A0), store(at('CEJ0'), 1), release(LOCK)),
      scan(shape),
      serialized(
        'COST',
        4,
        acquire(LOCK),
        store(at('CSEL'), A0),
        store(at('CCMD'), 1),
        store(at('CDAT'), A1),
        store(at('CCMD'), 2),
        store(at('CDAT'), A2),
        release(LOCK),
      ),
      ...ids.map((id) => processorObject(shape, id)),
    ),
  );
}

/** Asks the controller for inserted and removed processors, a batch at a time. */
function scan(shape: VmShape): Aml {
  const queuesEjects = shape.profile !== 'A' && shape.profile !== 'B';
  const isRemoved = equal(at('CRMV'), 1);
  const removal = queuesEjects
    ? when(isRemoved, store(index('CEJL', L5), L3), increment(L5), store(L0, 1))
    : otherwise(when(isRemoved, call('CTFY', L3, 3), store(at('CRMV'), 1), store(L0, 1)));
  const isFull = equal(L1, BATCH);
  const inner = whilst(
    logicalAnd(equal(L0, 1), less(L3, shape.cpuCount)),
    store(L0, 0),
    store(at('CSEL'), L3),
    store(at('CCMD'), 0),
    when(less(at('CDAT'), L3), BREAK),
    when(queuesEjects ? logicalOr(isFull, equal(L5, BATCH)) : isFull, store(L4, 1), BREAK),
    store(L3, at('CDAT')),
    when(equal(at('CINS'), 1), store(index('CNEW', L1), L3), increment(L1), store(L0, 1)),
    removal,
    increment(L3),
  );
  const announce = whilst(
    less(L2, L1),
    store(L3, dereference(index('CNEW', L2))),
    call('CTFY', L3, 1),
    store(DEBUG, L3),
    store(at('CSEL'), L3),
    store(at('CINS'), 1),
    increment(L2),
  );
  const eject = whilst(
    less(L2, L5),
    store(L3, dereference(index('CEJL', L2))),
    call('CTFY', L3, 3),
    store(at('CSEL'), L3),
    store(at('CRMV'), 1),
    increment(L2),
  );
  return serialized(
    'CSCN',
    0,
    acquire(LOCK),
    name('CNEW', pack(BATCH)),
    ...(queuesEjects ? [name('CEJL', pack(BATCH))] : []),
    store(L3, 0),
    store(L4, 1),
    whilst(
      equal(L4, 1),
      store(L4, 0),
      store(L0, 1),
      store(L1, 0),
      ...(queuesEjects ? [store(L5, 0)] : []),
      inner,
      store(L2, 0),
      announce,
      ...(queuesEjects ? [store(L2, 0), eject] : []),
    ),
    release(LOCK),
  );
}

function processorObject(shape: VmShape, id: number): Aml {
  const body = [
    serialized('_STA', 0, giveBack(call('CSTA', id))),
    name('_MAT', buffer(madtProcessor(id))),
    ...(id > 0 ? [method('_EJ0', 1, call('CEJ0', id))] : []),
    serialized('_OST', 3, call('COST', id, A0, A1, A2)),
    ...(shape.hugepages ? [name('_PXM', 0)] : []),
  ];
  return id < X2APIC
    ? processor(processorName(id), id, ...body)
    : device(processorName(id), name('_HID', text('ACPI0007')), name('_UID', id), ...body);
}

/** The event that says that processors came or go. */
export function processorEvent(): Aml {
  return method('\\_GPE._E02', 0, '\\_SB.CPUS.CSCN');
}
