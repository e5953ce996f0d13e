import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sliceSource, sourceFromBytes, type ByteSource } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import type { StoreGeometry } from '../../../tools/vmgs/layout.ts';
import { applySteps } from '../../../tools/vmgs/overlay.ts';
import { isEncryptedStore, type Store } from '../../../tools/vmgs/store.ts';
import {
  addFirstKey,
  deleteFile,
  moveFile,
  updateKey,
  writeFile,
  type Change,
  type Step,
} from '../../../tools/vmgs/update.ts';
import { contentsOf, Device, flattened, keyOf, payload, SECRETS } from '../../support/vmgs-device.ts';

/*
 * What a power cut leaves. A device may bring the writes between two flushes to disk in any order and in part, sector by
 * sector; what was written before a flush is there after it. Whatever is left has to open as one of the two states
 * that the cut lies between.
 */
type Write = Extract<Step, { kind: 'write' }>;

/** What lies between two flushes, and the changes that it belongs to. */
interface Segment {
  readonly writes: readonly Write[];
  readonly firstChange: number;
  readonly lastChange: number;
}

function segmentsOf(changes: readonly Change[]): Segment[] {
  const segments: Segment[] = [];
  let open: { writes: Write[]; first: number; last: number } | undefined;
  changes.forEach(({ steps }, change) => {
    for (const step of steps) {
      if (step.kind === 'write') {
        open ??= { writes: [], first: change, last: change };
        open.writes.push(step);
        open.last = change;
      } else if (open !== undefined) {
        segments.push({ writes: open.writes, firstChange: open.first, lastChange: open.last });
        open = undefined;
      }
    }
  });
  if (open !== undefined)
    segments.push({ writes: open.writes, firstChange: open.first, lastChange: open.last });
  return segments;
}

const sectorsOf = ({ offset, data }: Write, sectorBytes: number): Write[] =>
  Array.from({ length: data.sizeBytes / sectorBytes }, (_, i) => ({
    kind: 'write',
    offset: offset + i * sectorBytes,
    data: sliceSource(data, i * sectorBytes, sectorBytes),
  }));

/** Subsets of a segment's writes that may have reached the disk: every choice of whole writes, then torn ones. */
function* survivals({ writes }: Segment, sectorBytes: number, seed: number): Generator<readonly Step[]> {
  for (let mask = 0; mask < 1 << writes.length; mask++) yield writes.filter((_, i) => (mask >> i) & 1);
  const sectors = writes.flatMap((write) => sectorsOf(write, sectorBytes));
  for (const [i] of sectors.entries()) {
    yield sectors.slice(0, i);
    yield sectors.slice(i);
    yield sectors.toSpliced(i, 1);
  }
  for (const chosen of fc.sample(fc.subarray(sectors), { numRuns: 10, seed })) yield chosen;
  // A sector that was being written: its beginning is new.
  for (const sector of sectors) {
    for (const length of [1, 12, 16, 24, 100, 167]) {
      yield [
        ...sectors.filter((other) => other !== sector),
        { ...sector, data: sliceSource(sector.data, 0, length) },
      ];
    }
  }
}

/** Files and keys in one text, so that states can be compared. */
function stateOf(image: ByteSource, geometry: StoreGeometry, keys: readonly Uint8Array[]): string {
  for (const key of keys) {
    try {
      return JSON.stringify([...contentsOf(image, geometry, key)]);
    } catch (error) {
      if (!(error instanceof CvmError) || error.code !== 'VMGS_KEY_WRONG') throw error;
    }
  }
  throw new Error('no key opens the store');
}

/** Cuts everywhere; answers how many cuts left neither an old nor a new state. */
function countMixes(before: Device, changes: readonly Change[], keys: readonly Uint8Array[]): number {
  const { geometry } = before;
  const states = [stateOf(before.image, geometry, keys)];
  let whole = before.image;
  for (const change of changes) {
    whole = flattened(applySteps(whole, change.steps));
    states.push(stateOf(whole, geometry, keys));
  }
  let durable = before.image;
  let mixes = 0;
  let cuts = 0;
  for (const segment of segmentsOf(changes)) {
    const allowed = states.slice(segment.firstChange, segment.lastChange + 2);
    for (const survived of survivals(segment, geometry.sectorBytes, cuts)) {
      cuts++;
      try {
        if (!allowed.includes(stateOf(applySteps(durable, survived), geometry, keys))) mixes++;
      } catch (error) {
        if (!(error instanceof CvmError)) throw error;
        mixes++;
      }
    }
    durable = flattened(applySteps(durable, segment.writes));
  }
  expect(cuts).toBeGreaterThan(25);
  return mixes;
}

/** A session on a store: every kind of change, blocks reused many times. */
function session(device: Device): Change[] {
  let { store } = device;
  const changes: Change[] = [];
  const apply = (change: Change): void => {
    changes.push(change);
    store = change.store;
  };
  const write = (id: number, length: number, value: number): void => {
    const content = sourceFromBytes(payload(length, value));
    apply(writeFile(store, { id, content, encrypt: isEncryptedStore(store) }, SECRETS));
  };
  write(1, 100, 1);
  write(2, 5000, 2);
  write(1, 9000, 3);
  write(1, 20, 4);
  apply(deleteFile(store, 2, SECRETS));
  write(2, 4096, 5);
  apply(moveFile(store, 1, 2, SECRETS));
  write(1, 600, 6);
  apply(moveFile(store, 2, 40, SECRETS));
  apply(deleteFile(store, 40, SECRETS));
  write(1, 0, 7);
  write(1, 4097, 8);
  return changes;
}

const OLD = keyOf(0x42);
const NEW = keyOf(0x43);

test('plain: every cut leaves the old or the new state', () => {
  const device = new Device(12 * 4096);
  expect(countMixes(device, session(device), [OLD])).toBe(0);
});

test('encrypted: every cut leaves the old or the new state', () => {
  const device = new Device(14 * 4096);
  device.apply(addFirstKey(device.store, OLD, SECRETS));
  expect(countMixes(device, session(device), [OLD])).toBe(0);
});

test('on a device of 4096-byte sectors', () => {
  const device = new Device(12 * 4096, 4096);
  expect(countMixes(device, session(device), [OLD])).toBe(0);
});

test('a first key, and an exchange of keys: one of the two keys opens the store, and the files are there', () => {
  const device = new Device(16 * 4096);
  device.write(1, payload(300, 1));
  expect(countMixes(device, [addFirstKey(device.store, OLD, SECRETS)], [OLD, NEW])).toBe(0);
  device.apply(addFirstKey(device.store, OLD, SECRETS));
  device.write(2, payload(300, 2), true);
  expect(countMixes(device, [updateKey(device.store, NEW, SECRETS)], [OLD, NEW])).toBe(0);
});

/* The model itself: it has to find what is wrong. */

const edited = (changes: readonly Change[], edit: (steps: readonly Step[]) => readonly Step[]): Change[] =>
  changes.map((change) => ({ ...change, steps: edit(change.steps) }));

test('without the flush after the header there are mixes: a later update overtakes it', () => {
  const device = new Device(12 * 4096);
  const changes = edited(session(device), (steps) => steps.slice(0, -1));
  expect(countMixes(device, changes, [OLD])).toBeGreaterThan(0);
});

test('without the flush before the header there are mixes: the header overtakes what it names', () => {
  const device = new Device(12 * 4096);
  const changes = edited(session(device), (steps) =>
    steps.filter((step, i) => step.kind === 'write' || i === steps.length - 1),
  );
  expect(countMixes(device, changes, [OLD])).toBeGreaterThan(0);
});

test('a delete that takes its blocks from the deleted file, as openvmm does, destroys the old state', () => {
  let mixes = 0;
  for (const sizes of fc.sample(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 4, maxLength: 8 }), {
    numRuns: 20,
    seed: 4,
  })) {
    const device = new Device(24 * 4096);
    sizes.forEach((blocks, i) => device.write((i % 3) + 1, payload(blocks * 4096, i)));
    for (const id of [1, 2, 3]) {
      const freed: Store = { ...device.store, files: device.store.files.with(id, undefined) };
      const change = deleteFile(freed, id);
      mixes += countMixes(device, [change], [OLD]);
      device.apply(change);
    }
  }
  expect(mixes).toBeGreaterThan(0);
});
