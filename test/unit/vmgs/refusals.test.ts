import { describe, expect, test } from 'vitest';
import { writeU32 } from '../../../tools/bytes/little-endian.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { seal } from '../../../tools/vmgs/cipher.ts';
import { encodeHeader } from '../../../tools/vmgs/header.ts';
import { seededSecrets, type Secrets } from '../../../tools/vmgs/secrets.ts';
import { openStore, readFile, readRawFile } from '../../../tools/vmgs/store.ts';
import { addFirstKey, deleteFile, formatStore, writeFile } from '../../../tools/vmgs/update.ts';
import { expectCvmError } from '../../support/errors.ts';
import { Device, keyOf, payload, SECRETS } from '../../support/vmgs-device.ts';

describe('which header counts', () => {
  const { store } = formatStore({ storeBytes: 64 * 4096, sectorBytes: 512 });
  const withSequences = (first: number, second: number): Uint8Array => {
    const bytes = new Device(64 * 4096).bytes();
    bytes.set(encodeHeader({ ...store.header, sequence: first }), 0);
    bytes.set(encodeHeader({ ...store.header, sequence: second }), 512);
    return bytes;
  };
  test.each([
    [2, 1, 0],
    [1, 2, 1],
    [0, 0xffff_ffff, 0],
    [0xffff_ffff, 0, 1],
  ])('%i and %i: slot %i', (first, second, slot) => {
    const opened = openStore(sourceFromBytes(withSequences(first, second)), store.geometry);
    expect(opened.activeSlot).toBe(slot);
  });
  test.each([
    [1, 1],
    [1, 3],
    [3, 1],
    [0, 2],
    [0x8000_0000, 0],
    [0xffff_ffff, 1],
  ])('%i and %i: neither', (first, second) => {
    const image = sourceFromBytes(withSequences(first, second));
    expectCvmError(() => openStore(image, store.geometry), 'VMGS_SEQUENCE', 'format');
  });
});

test('a header and a table that disagree about the table: no write', () => {
  const device = new Device(64 * 4096);
  device.write(1, payload(10, 1));
  const bytes = device.bytes();
  writeU32(bytes, device.store.header.fileTableBlock * 4096, 50);
  const opened = openStore(sourceFromBytes(bytes), device.geometry);
  const file = { id: 2, content: sourceFromBytes(payload(1, 1)), encrypt: false };
  expectCvmError(() => writeFile(opened, file), 'VMGS_TABLE_ENTRY', 'format');
  expectCvmError(() => deleteFile(opened, 1), 'VMGS_TABLE_ENTRY', 'format');
});

test('a ciphertext of zeros is drawn again', () => {
  const device = new Device(64 * 4096);
  device.apply(addFirstKey(device.store, keyOf(1), SECRETS));
  // The byte of the key stream as plaintext makes a ciphertext of one zero.
  const { ciphertext } = seal(keyOf(100), new Uint8Array(12), new Uint8Array(1));
  const attempts: number[] = [];
  const secrets: Secrets = {
    key: (purpose) => {
      if (purpose.use === 'file') attempts.push(purpose.attempt);
      return purpose.use === 'file' ? keyOf(100 + purpose.attempt) : SECRETS.key(purpose);
    },
    nonce: (purpose) => (purpose.use === 'file' ? new Uint8Array(12) : SECRETS.nonce(purpose)),
  };
  device.apply(
    writeFile(device.store, { id: 1, content: sourceFromBytes(ciphertext), encrypt: true }, secrets),
  );
  expect(attempts).toEqual([0, 1]);
  expect(readRawFile(device.image, device.store, 1).read(0, 1)[0]).not.toBe(0);
  expect(readFile(device.image, device.store, 1).read(0, 1)).toEqual(ciphertext);
});

describe('keys and nonces from a seed', () => {
  const purpose = { use: 'file', id: 1, sequence: 2, plaintext: payload(3, 1), attempt: 0 } as const;

  test('each thing they depend on changes them, and nothing else does', () => {
    const secrets = seededSecrets(keyOf(7));
    const others = [
      purpose,
      { ...purpose, use: 'table' as const },
      { ...purpose, id: 2 },
      { ...purpose, sequence: 3 },
      { ...purpose, plaintext: payload(3, 2) },
      { ...purpose, attempt: 1 },
    ];
    const drawn = others.flatMap((other) => [secrets.key(other).join(), secrets.nonce(other).join()]);
    expect(new Set(drawn).size).toBe(drawn.length);
    expect(seededSecrets(keyOf(7)).key(purpose)).toEqual(secrets.key(purpose));
    expect(seededSecrets(keyOf(8)).key(purpose)).not.toEqual(secrets.key(purpose));
    expect([secrets.key(purpose).length, secrets.nonce(purpose).length]).toEqual([32, 12]);
  });

  test.each([new Uint8Array(), payload(31, 1), new Uint8Array(32), payload(4097, 1)])(
    'a seed that is none',
    (seed) => {
      expectCvmError(() => seededSecrets(seed), 'VMGS_SEED', 'usage');
    },
  );
});
