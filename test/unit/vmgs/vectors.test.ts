import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { crc32 } from '../../../tools/bytes/crc32.ts';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { guidToBytes } from '../../../tools/bytes/guid.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { createStore } from '../../../tools/vmgs/create.ts';
import { encodeHeader } from '../../../tools/vmgs/header.ts';
import { DEFAULT_MARKER, encodeMarker } from '../../../tools/vmgs/marker.ts';
import { applySteps } from '../../../tools/vmgs/overlay.ts';
import type { Secrets } from '../../../tools/vmgs/secrets.ts';
import { openStore, readFile, readRawFile, unlock, type Store } from '../../../tools/vmgs/store.ts';
import { addFirstKey, formatStore, updateKey, writeFile, type Change } from '../../../tools/vmgs/update.ts';
import { verifyVmgs } from '../../../tools/vmgs/verify.ts';
import { wrapVhd } from '../../../tools/vmgs/vhd.ts';
import { expectCvmError } from '../../support/errors.ts';

/** Vectors P and E come from a model program that shares no code with this one or with openvmm. */
const MARKER = encodeMarker({
  ...DEFAULT_MARKER,
  provisioner: 'openhcl',
  reason: 'empty',
  provisionerVersion: 'f85a038845b4fd5c74726be38f4be690c99db8c6',
});
const VHD_ID = guidToBytes('00112233-4455-4677-8899-aabbccddeeff');
const sha256 = (source: ByteSource): string =>
  bytesToHex(digestBytes('sha256', source.read(0, source.sizeBytes)));
const fill = (value: number, count: number): Uint8Array => new Uint8Array(count).fill(value);
const text = (value: string): ByteSource => sourceFromBytes(utf8Bytes(value));

/** A store in memory that changes are applied to. */
class Device {
  image: ByteSource;
  constructor(storeBytes: number) {
    this.image = sparseSource(storeBytes, []);
  }
  apply(change: Change): Store {
    this.image = applySteps(this.image, change.steps);
    return change.store;
  }
}

describe('vector P: plain', () => {
  test('its marker', () => {
    expect(MARKER.length).toBe(198);
    expect(bytesToHex(digestBytes('sha256', MARKER))).toBe(
      'a92e0f4a4b83a1822c09b157e97691e05c9d560d70dffe3414a016ecc47773d7',
    );
  });

  const rows = [
    [
      131_072,
      'e8f0f852d0cf14723277cba4ea370dcbc262e7ff03cd2dd6bf9dfb34b3732beb',
      'f4a0f52295ccbaf54f35ff6b7d2cf1c68e72133f8d6c5ab7c39ceda4433b1296',
      '75540b27cd8f747d5e369aabafafec3eb0f79d2595c1ca47df5afb09f0b73528',
      'ffffecbf',
      '61f5c3411e470f1a8b659e89a36a7450cde84116d9f8d9ffe0f8db2478c60aae',
    ],
    [
      4_194_304,
      'e6f577f099f3ea8e70aa9e2de7f11a64cd08bde4c4a45b83e3a65751f5a9c9b3',
      '102c86db3f6240a9c33ff7e99c37a29b84a0dbfc9b9e83295ca94df9c3d9fcb7',
      '5ffafbdcfc713472acd83d5c80a2ae6583018d6e7ef6aa537ddfca2c5700a235',
      'ffffec43',
      '4984201f935eeba5ca5fc66a528f2f7521d9b6501f3ee75bf664207cdc545272',
    ],
  ] as const;
  test.each(rows)('a store of %i bytes', (storeBytes, formatted, marked, written, checksum, whole) => {
    const geometry = { storeBytes, sectorBytes: 512 } as const;
    const device = new Device(storeBytes);
    let store = device.apply(formatStore(geometry));
    expect(sha256(device.image)).toBe(formatted);
    store = device.apply(writeFile(store, { id: 18, content: sourceFromBytes(MARKER), encrypt: false }));
    expect(sha256(device.image)).toBe(marked);
    store = device.apply(writeFile(store, { id: 1, content: text('hello world'), encrypt: false }));
    expect(sha256(device.image)).toBe(written);
    expect(store.activeSlot).toBe(0);
    expect(store.header.sequence).toBe(3);
    expect(store.header.fileTableBlock).toBe(2);
    expect(store.files[18]).toMatchObject({ firstBlock: 5, sizeBytes: 198 });
    expect(store.files[1]).toMatchObject({ firstBlock: 6, sizeBytes: 11 });
    const file = wrapVhd(device.image, VHD_ID);
    expect(bytesToHex(file.read(storeBytes + 64, 4))).toBe(checksum);
    expect(bytesToHex(file.read(storeBytes + 68, 16))).toBe('3322110055447746' + '8899aabbccddeeff');
    expect(sha256(file)).toBe(whole);
    // Made at once it is the same.
    const created = createStore({
      geometry,
      marker: MARKER,
      files: [{ id: 1, content: text('hello world') }],
    });
    expect(sha256(created.image)).toBe(written);
    const reopened = openStore(file, geometry);
    expect(reopened).toEqual(store);
    expect(verifyVmgs(file).findings).toEqual([]);
  });
});

/** The fixed randomness of vector E: `4 bytes || counter`, as openvmm makes nonces. */
function fixedSecrets(draws: readonly Uint8Array[]): Secrets {
  const left = [...draws];
  const next = (): Uint8Array => left.shift() ?? expect.fail('more draws than the vector has');
  return { key: next, nonce: next };
}
const nonce = (value: number, counter = 0): Uint8Array => {
  const bytes = new Uint8Array(12);
  bytes.fill(value, 0, 4);
  bytes[4] = counter;
  return bytes;
};

test('vector E: encrypted', () => {
  const geometry = { storeBytes: 131_072, sectorBytes: 512 } as const;
  const device = new Device(geometry.storeBytes);
  let store = device.apply(formatStore(geometry));
  store = device.apply(writeFile(store, { id: 18, content: sourceFromBytes(MARKER), encrypt: false }));
  store = device.apply(
    addFirstKey(store, fill(0x42, 32), fixedSecrets([fill(0x11, 32), nonce(0x21), nonce(0x31)])),
  );
  expect(store.header.sequence).toBe(3);
  expect(store.header.fileTableBlock).toBe(2);
  expect(store.files[63]?.firstBlock).toBe(6);
  expect(bytesToHex(device.image.read(36, 64))).toBe(
    '31313131000000000000000000000000' +
      '0d1e9c8b4fb6fe8819a4261d382f8c02' +
      'c3d28afa47d97f31c2c129e98a1262b5d6def2ca0bfcd6aef8694c6d0cc33f80',
  );
  expect(sha256(device.image)).toBe('c32886963e300b9225811da4a973ce860b9a1cdb68428436ed9fb2de3348dd38');

  const payload = Uint8Array.from({ length: 64 }, (_, i) => i);
  const draws = [fill(0x12, 32), nonce(0x22), fill(0x13, 32), nonce(0x23), nonce(0x33, 1)];
  const file = { id: 3, content: sourceFromBytes(payload), encrypt: true };
  store = device.apply(writeFile(store, file, fixedSecrets(draws)));
  expect(store.files[3]?.firstBlock).toBe(4);
  expect(bytesToHex(store.files[3]?.tag ?? fill(0, 0))).toBe('93575e14aabfa5acc9e60209643cf9c9');
  expect(bytesToHex(store.files[63]?.tag ?? fill(0, 0))).toBe('3c1758361ca2bf5f968c32f4b10d560d');
  expect(bytesToHex(readRawFile(device.image, store, 3).read(0, 16))).toBe(
    'ea212491a964d67acff44d8d4f5bde1e',
  );
  expect(bytesToHex(device.image.read(512 + 36 + 16, 16))).toBe('4dd763b6e0eee1522e014cb91c13f5ee');
  expect(sha256(device.image)).toBe('070a5ab90dca70d11b0cd6255b6ec6bad50e5f4c6597d34ed0464df3ea228484');
  expect(sha256(wrapVhd(device.image, VHD_ID))).toBe(
    '4e4c5e30c52842e5eeb9c05556cfefd43a238502c1c23c788dea44b3e74da8d7',
  );

  store = device.apply(updateKey(store, fill(0x43, 32), fixedSecrets([nonce(0x35)])));
  expect(store.header.sequence).toBe(6);
  expect(store.activeSlot).toBe(1);
  expect(sha256(device.image)).toBe('e66e294c1f7f13d20e068bd5e3097a1b94f5e3ec53c509375ce7f4e1031bd968');

  const locked = openStore(device.image, geometry);
  expectCvmError(() => unlock(device.image, locked, fill(0x42, 32)), 'VMGS_KEY_WRONG', 'mismatch');
  const opened = unlock(device.image, locked, fill(0x43, 32));
  expect(opened.unlocked?.keySlot).toBe(1);
  expect(readFile(device.image, opened, 3).read(0, 64)).toEqual(payload);
  expect(verifyVmgs(wrapVhd(device.image, VHD_ID), { key: fill(0x43, 32) }).findings).toEqual([]);
});

test('the header of a new store starts as the real vmgstool writes it', () => {
  const { store } = formatStore({ storeBytes: 1 << 20, sectorBytes: 512 });
  expect(bytesToHex(encodeHeader(store.header))).toBe(
    '47554553545254530000030028ed2e6d' + '01000000a8000000020000000100000000000000' + '00'.repeat(132),
  );
});

test('the check value of CRC-32', () => {
  expect(crc32(utf8Bytes('123456789'))).toBe(0xcbf43926);
  expect(crc32(new Uint8Array())).toBe(0);
});

test('the sequence of writes of openvmm’s own tests', () => {
  const device = new Device(4 << 20);
  const geometry = { storeBytes: 4 << 20, sectorBytes: 512 } as const;
  const write = (id: number, content: string): void => {
    store = device.apply(writeFile(store, { id, content: text(content), encrypt: false }));
  };
  let store = device.apply(formatStore(geometry));
  const places = (): unknown => [
    store.activeSlot + 1,
    store.header.sequence,
    store.header.fileTableBlock,
    store.files[1]?.firstBlock,
    store.files[2]?.firstBlock,
  ];
  write(1, 'hello world');
  expect(places()).toEqual([2, 2, 4, 5, undefined]);
  write(2, 'short sentence');
  expect(places()).toEqual([1, 3, 2, 5, 6]);
  write(1, 'funny joke');
  expect(places()).toEqual([2, 4, 4, 7, 6]);
  write(1, '');
  expect(store.files[1]).toMatchObject({ blocks: 1, sizeBytes: 0 });
  const large = sparseSource(5 << 20, []);
  expectCvmError(() => writeFile(store, { id: 1, content: large, encrypt: false }), 'VMGS_NO_SPACE', 'usage');
});

test('a sequence of 0xFFFFFFFF is followed by 0, and 0 wins over it', () => {
  const geometry = { storeBytes: 1 << 20, sectorBytes: 512 } as const;
  const device = new Device(geometry.storeBytes);
  const first = device.apply(formatStore(geometry));
  const last = { ...first, header: { ...first.header, sequence: 0xffff_fffe } };
  let store = device.apply(writeFile(last, { id: 1, content: text('a'), encrypt: false }));
  store = device.apply(writeFile(store, { id: 1, content: text('b'), encrypt: false }));
  expect(store.header.sequence).toBe(0);
  const reopened = openStore(device.image, geometry);
  expect(reopened.header.sequence).toBe(0);
  expect(readFile(device.image, reopened, 1).read(0, 1)).toEqual(utf8Bytes('b'));
});

test('the marker of openvmm’s unit test', () => {
  const bytes = encodeMarker({
    ...DEFAULT_MARKER,
    provisioner: 'openhcl',
    reason: 'empty',
    provisionerVersion: 'unit test',
  });
  expect(bytes.length).toBe(167);
  expect(bytesToHex(digestBytes('sha256', bytes))).toBe(
    'fc406bb5fd48f49faa088af803e7b1c72ed6b46e6bf6af29ea0ce9b07830cf7c',
  );
  expect(hexToBytes(bytesToHex(bytes))).toEqual(bytes);
});
