import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { allocate, type BlockRun } from '../../../tools/vmgs/allocate.ts';
import { decodeHeader, encodeHeader } from '../../../tools/vmgs/header.ts';
import { VMGS_BLOCK_BYTES } from '../../../tools/vmgs/layout.ts';
import { openStore, readFile, unlock } from '../../../tools/vmgs/store.ts';
import {
  addFirstKey,
  deleteFile,
  moveFile,
  updateKey,
  writeFile,
  type Change,
} from '../../../tools/vmgs/update.ts';
import { verifyVmgs } from '../../../tools/vmgs/verify.ts';
import { wrapVhd } from '../../../tools/vmgs/vhd.ts';
import { expectCvmError } from '../../support/errors.ts';
import { contentsOf, Device, keyOf, payload, SECRETS } from '../../support/vmgs-device.ts';

const ID = fc.constantFrom(1, 2, 3, 17, 18, 30, 62);
const STEP = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    id: ID,
    length: fc.integer({ min: 0, max: 9000 }),
    value: fc.nat(255),
  }),
  fc.record({
    kind: fc.constant('plain' as const),
    id: ID,
    length: fc.integer({ min: 0, max: 5000 }),
    value: fc.nat(255),
  }),
  fc.record({ kind: fc.constant('delete' as const), id: ID }),
  fc.record({ kind: fc.constant('move' as const), id: ID, to: ID }),
  fc.record({ kind: fc.constant('copy' as const), id: ID, to: ID }),
  fc.record({ kind: fc.constant('key' as const) }),
  fc.record({ kind: fc.constant('reopen' as const) }),
);

describe.each([
  ['plain', false],
  ['encrypted', true],
] as const)('random commands against a map: a store that is %s', (_, isEncrypted) => {
  test.each([512, 4096] as const)('sectors of %i bytes', (sectorBytes) => {
    fc.assert(
      fc.property(fc.array(STEP, { maxLength: 25 }), (steps) => {
        const device = new Device(24 * 4096, sectorBytes);
        let key = keyOf(0x42);
        if (isEncrypted) device.apply(addFirstKey(device.store, key, SECRETS));
        const model = new Map<number, string>();
        const attempt = (make: () => Change, done: () => void): void => {
          try {
            device.apply(make());
          } catch (error) {
            // A full store stays as it is.
            if (!(error instanceof CvmError) || error.code !== 'VMGS_NO_SPACE') throw error;
            return;
          }
          done();
        };
        for (const step of steps) {
          if (step.kind === 'write' || step.kind === 'plain') {
            const bytes = payload(step.length, step.value);
            const file = {
              id: step.id,
              content: sourceFromBytes(bytes),
              encrypt: isEncrypted && step.kind === 'write',
            };
            attempt(
              () => writeFile(device.store, file, SECRETS),
              () => model.set(step.id, bytesToHex(bytes)),
            );
          } else if (step.kind === 'delete' && model.has(step.id)) {
            attempt(
              () => deleteFile(device.store, step.id, SECRETS),
              () => model.delete(step.id),
            );
          } else if (
            (step.kind === 'move' || step.kind === 'copy') &&
            model.has(step.id) &&
            step.id !== step.to
          ) {
            const content = model.get(step.id) ?? '';
            if (step.kind === 'copy') {
              const file = {
                id: step.to,
                content: readFile(device.image, device.store, step.id),
                encrypt: isEncrypted,
              };
              attempt(
                () => writeFile(device.store, file, SECRETS),
                () => model.set(step.to, content),
              );
            } else {
              attempt(
                () => moveFile(device.store, step.id, step.to, SECRETS),
                () => {
                  model.delete(step.id);
                  model.set(step.to, content);
                },
              );
            }
          } else if (step.kind === 'key' && isEncrypted) {
            const next = keyOf(((key[0] ?? 0) % 200) + 1);
            device.apply(updateKey(device.store, next, SECRETS));
            key = next;
          } else if (step.kind === 'reopen') {
            const opened = openStore(device.image, device.geometry);
            device.store = isEncrypted ? unlock(device.image, opened, key) : opened;
          }
        }
        const found = contentsOf(device.image, device.geometry, key);
        expect(new Map([...found].sort())).toEqual(new Map([...model].sort()));
        const report = verifyVmgs(device.image, { raw: sectorBytes, ...(isEncrypted ? { key } : {}) });
        const bad = report.findings.filter(
          ({ severity, code }) => severity !== 'info' && !code.startsWith('MARKER'),
        );
        expect(bad).toEqual([]);
      }),
      { numRuns: 60, seed: 20261121 },
    );
  });
});

describe('one corrupted byte of an encrypted store is detected, or changes nothing', () => {
  const key = keyOf(0x42);
  const device = new Device(20 * 4096);
  device.apply(addFirstKey(device.store, key, SECRETS));
  device.write(1, payload(100, 1), true);
  device.write(3, payload(5000, 2), true);
  device.write(7, payload(1, 3), true);
  const good = device.bytes();
  const contents = contentsOf(device.image, device.geometry, key);
  const isDetectedOrHarmless = (at: number, bit: number): boolean => {
    const bytes = good.slice();
    bytes[at] = (bytes[at] as number) ^ (1 << bit);
    const image = sourceFromBytes(bytes);
    if (verifyVmgs(image, { raw: 512, key }).findings.some(({ severity }) => severity !== 'info'))
      return true;
    try {
      expect(contentsOf(image, device.geometry, key)).toEqual(contents);
    } catch {
      return false;
    }
    return true;
  };
  const blockOf = (id: number): number => (device.store.files[id]?.firstBlock ?? 0) * VMGS_BLOCK_BYTES;

  test('headers: every byte of both', () => {
    for (const offset of [0, 512])
      for (let at = 0; at < 168; at++)
        for (const bit of [0, 7]) expect([at, isDetectedOrHarmless(offset + at, bit)]).toEqual([at, true]);
  });

  test('the file table: every byte of every entry that is used, and of the next', () => {
    for (const id of [0, 1, 2, 3, 7, 8, 63])
      for (let at = 0; at < 64; at++)
        for (const bit of [0, 3, 7])
          expect([id, at, isDetectedOrHarmless(blockOf(0) + id * 64 + at, bit)]).toEqual([id, at, true]);
  });

  test('encrypted data and the extended table: any byte', () => {
    const sizes = [1, 3, 7, 63].map((id) => [blockOf(id), device.store.files[id]?.sizeBytes ?? 0] as const);
    for (const [start, size] of sizes) {
      fc.assert(
        fc.property(fc.nat(size - 1), fc.nat(7), (at, bit) => {
          expect(isDetectedOrHarmless(start + at, bit)).toBe(true);
        }),
        { numRuns: 50, seed: 1 },
      );
    }
  });
});

describe('hostile stores', () => {
  test('random bytes after a header that is good: an error of the house, or a report, and nothing else', () => {
    const device = new Device(16 * 4096);
    device.write(1, payload(100, 1));
    const good = device.bytes();
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 40 }), (edits) => {
        const bytes = good.slice();
        for (const [at, value] of edits) bytes[at % 20_000] = value;
        const image = sourceFromBytes(bytes);
        verifyVmgs(image, { raw: 512 });
        try {
          contentsOf(image, device.geometry);
        } catch (error) {
          expect(error).toBeInstanceOf(CvmError);
          expect((error as CvmError).kind).not.toBe('bug');
        }
      }),
      { numRuns: 300, seed: 5 },
    );
  });

  test('sizes at the edges of 32 and 64 bits', () => {
    const device = new Device(16 * 4096);
    device.write(1, payload(100, 1));
    const entry = (device.store.header.fileTableBlock * VMGS_BLOCK_BYTES) / 1 + 64;
    for (const patch of [
      'ffffffff',
      '02000000ffffffff',
      '0600000001000000ffffffffffffffff',
      '0100000001000000',
    ]) {
      const bytes = device.bytes();
      bytes.set(Buffer.from(patch, 'hex'), entry);
      expectCvmError(() => openStore(sourceFromBytes(bytes), device.geometry), 'VMGS_FILE_BOUNDS', 'format');
    }
  });

  test('a file of any bytes as a VHD: a report, never an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2048 }), (bytes) => {
        expect(verifyVmgs(sourceFromBytes(bytes)).findings.length).toBeGreaterThan(0);
      }),
      { seed: 2 },
    );
    const store = sourceFromBytes(new Uint8Array(4096));
    expect(verifyVmgs(wrapVhd(store, new Uint8Array(16))).findings[0]?.code).toBe('VMGS_SIZE');
  });
});

test('a header that is encoded is the header that is decoded', () => {
  const device = new Device(16 * 4096);
  device.apply(addFirstKey(device.store, keyOf(9), SECRETS));
  const { header } = device.store;
  const slot = decodeHeader(encodeHeader(header));
  expect(slot.fault).toBeUndefined();
  expect(slot.header).toEqual(header);
});

describe('allocator', () => {
  /** The reference's steps: an allocator that remembers what it grants. */
  const grants = (capacity: number): { taken: BlockRun[]; take: (blocks: number) => number } => {
    const taken: BlockRun[] = [];
    return {
      taken,
      take: (blocks) => {
        const firstBlock = allocate(taken, blocks, capacity);
        taken.push({ firstBlock, blocks });
        return firstBlock;
      },
    };
  };

  test('vectors of openvmm', () => {
    const first = grants(1024);
    expect([first.take(3), first.take(95), first.take(2)]).toEqual([2, 5, 100]);
    first.taken.shift();
    expect([first.take(1), first.take(3), first.take(2)]).toEqual([2, 102, 3]);
    const second = grants(1024);
    expectCvmError(() => second.take(1025), 'VMGS_NO_SPACE', 'usage');
    expect([second.take(511), second.take(511)]).toEqual([2, 513]);
    expectCvmError(() => second.take(1), 'VMGS_NO_SPACE', 'usage');
  });

  test('overlapping runs are refused', () => {
    const taken = [
      { firstBlock: 4, blocks: 3 },
      { firstBlock: 6, blocks: 1 },
    ];
    expectCvmError(() => allocate(taken, 1, 100), 'VMGS_OVERLAP', 'format');
  });

  test('the smallest gap, the first of equal ones, never over anything', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 20 }), fc.nat(), (sizes, drop) => {
        const { taken, take } = grants(200);
        for (const size of sizes) take(size);
        if (taken.length > 0) taken.splice(drop % taken.length, 1);
        const at = allocate(taken, 2, 200);
        expect(
          taken.every(({ firstBlock, blocks }) => at + 2 <= firstBlock || firstBlock + blocks <= at),
        ).toBe(true);
      }),
      { seed: 3 },
    );
  });
});
