import { describe, expect, test } from 'vitest';
import { writeU16, writeU32 } from '../../../tools/bytes/little-endian.ts';
import { sourceFromBytes, sparseSource, type ByteSource } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { encodeExtendedTable, encodeFileTable } from '../../../tools/vmgs/file-table.ts';
import {
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  type Header,
  type Slot,
} from '../../../tools/vmgs/header.ts';
import { DEFAULT_MARKER, encodeMarker } from '../../../tools/vmgs/marker.ts';
import type { Secrets } from '../../../tools/vmgs/secrets.ts';
import { hasZeroKeyDefect, openStore, readFile, unlock } from '../../../tools/vmgs/store.ts';
import {
  addFirstKey,
  deleteFile,
  setKeySlot,
  updateKey,
  wrapKey,
  writeFile,
} from '../../../tools/vmgs/update.ts';
import { verifyVmgs, type Report } from '../../../tools/vmgs/verify.ts';
import { wrapVhd } from '../../../tools/vmgs/vhd.ts';
import { createCipheriv } from 'node:crypto';
import { expectCvmError } from '../../support/errors.ts';
import { Device, keyOf, payload, SECRETS } from '../../support/vmgs-device.ts';

const KEY = keyOf(0x42);
const MARKER = encodeMarker(DEFAULT_MARKER);

function plainDevice(): Device {
  const device = new Device(64 * 4096);
  device.write(18, MARKER);
  device.write(1, payload(5000, 1));
  device.write(3, payload(100, 2));
  return device;
}

function encryptedDevice(): Device {
  const device = new Device(64 * 4096);
  device.write(18, MARKER);
  device.apply(addFirstKey(device.store, KEY, SECRETS));
  device.write(1, payload(5000, 1), true);
  device.write(3, payload(100, 2), true);
  return device;
}

const tableOf = (device: Device): number => device.store.header.fileTableBlock * 4096;
const codes = ({ findings }: Report): string[] => findings.map(({ severity, code }) => `${severity} ${code}`);
const check = (bytes: Uint8Array | ByteSource, key?: Uint8Array): Report =>
  verifyVmgs(bytes instanceof Uint8Array ? sourceFromBytes(bytes) : bytes, { raw: 512, key });

/** Writes the active header anew with other fields, its checksum right. */
function withHeader(
  device: Device,
  edit: (header: Header) => Header,
  slot: Slot = device.store.activeSlot,
): Uint8Array {
  const bytes = device.bytes();
  const { header } = decodeHeader(bytes.slice(slot * 512, slot * 512 + HEADER_BYTES));
  bytes.set(encodeHeader(edit(header)), slot * 512);
  return bytes;
}

test('sound stores have no findings', () => {
  expect(codes(check(plainDevice().image))).toEqual([]);
  expect(codes(check(encryptedDevice().image, KEY))).toEqual([]);
  expect(codes(check(encryptedDevice().image))).toEqual(['info LOCKED']);
  expect(codes(check(new Device(64 * 4096).image))).toEqual(['info NO_MARKER']);
});

describe('each finding', () => {
  const patches: readonly (readonly [string, (bytes: Uint8Array, table: number) => void, string[]])[] = [
    ['a torn spare header', (b) => (b[20] = 1), ['warning SPARE_HEADER']],
    ['a spare header that is gone', (b) => b.fill(0, 0, 512), ['warning SPARE_HEADER']],
    ['bytes behind a header', (b) => (b[300] = 1), ['warning HEADER_RESIDUE']],
    ['an entry of no file', (b, t) => (b[t + 5 * 64] = 1), ['warning ENTRY_RESIDUE']],
    ['reserved bytes', (b, t) => (b[t + 64 + 60] = 1), ['warning ENTRY_RESERVED']],
    ['more blocks than needed', (b, t) => writeU32(b, t + 3 * 64 + 4, 2), ['warning FILE_BLOCKS']],
    ['a file of no bytes', (b, t) => b.fill(0, t + 3 * 64 + 8, t + 3 * 64 + 16), ['info FILE_EMPTY']],
    ['other attributes', (b, t) => writeU32(b, t + 3 * 64 + 44, 1), ['warning ATTRIBUTES']],
    ['a tag in a plain store', (b, t) => (b[t + 3 * 64 + 30] = 1), ['error ENCRYPTED_WITHOUT_KEY']],
    ['a file table elsewhere', (b, t) => writeU32(b, t, 40), ['error TABLE_ENTRY']],
    ['no file table', (b, t) => b.fill(0, t, t + 64), ['error TABLE_ENTRY']],
    ['no extended table', (b, t) => b.fill(0, t + 63 * 64, t + 64 * 64), ['warning EXTENDED_TABLE']],
    ['an extended table with data', (b) => (b[3 * 4096] = 1), ['warning EXTENDED_TABLE_DATA']],
    ['an overlap', (b, t) => b.copyWithin(t + 3 * 64, t + 64, t + 68), ['error OVERLAP']],
    [
      'two overlaps of one file',
      (b, t) => {
        writeU32(b, t + 64 + 4, 20);
        writeU32(b, t + 5 * 64, 12);
        writeU32(b, t + 5 * 64 + 4, 1);
      },
      ['warning FILE_BLOCKS', 'info FILE_EMPTY', 'error OVERLAP', 'error OVERLAP'],
    ],
    ['a place behind the end', (b, t) => writeU32(b, t + 3 * 64, 64), ['error FILE_BOUNDS']],
    ['a place in front of the files', (b, t) => writeU32(b, t + 3 * 64, 1), ['error FILE_BOUNDS']],
    ['a size above its extent', (b, t) => writeU32(b, t + 3 * 64 + 8, 4097), ['error FILE_BOUNDS']],
    ['a marker that is no JSON', (b) => (b[5 * 4096] = 0x20), ['warning MARKER_JSON']],
  ];
  test.each(patches)('%s', (_, patch, expected) => {
    const device = plainDevice();
    const bytes = device.bytes();
    // The spare header is the first one.
    expect(device.store.activeSlot).toBe(1);
    patch(bytes, tableOf(device));
    expect(codes(check(bytes))).toEqual(expected);
  });

  const headers: readonly (readonly [string, (header: Header) => Header, string[]])[] = [
    ['the reprovisioned mark', (h) => ({ ...h, markers: 1 }), ['info REPROVISIONED']],
    ['unknown marks', (h) => ({ ...h, markers: 2 }), ['warning HEADER_RESERVED']],
    ['reserved bytes', (h) => ({ ...h, reserved: 1 }), ['warning HEADER_RESERVED']],
    ['encryption without keys', (h) => ({ ...h, algorithm: 1 }), ['error NO_KEY_SLOT', 'info LOCKED']],
    [
      'keys without encryption',
      (h) => ({ ...h, slots: [{ ...h.slots[0], wrapped: KEY }, h.slots[1]] }),
      ['warning KEY_SLOT_UNUSED'],
    ],
    [
      'a slot with a nonce alone',
      (h) => ({ ...h, slots: [h.slots[0], { ...h.slots[1], nonce: payload(12, 1) }] }),
      ['warning KEY_SLOT_RESERVED'],
    ],
    ['an unknown algorithm', (h) => ({ ...h, algorithm: 2 }), ['warning SPARE_HEADER']],
  ];
  test.each(headers)('in the header: %s', (_, edit, expected) => {
    const found = codes(check(withHeader(plainDevice(), edit)));
    for (const code of expected) expect(found).toContain(code);
  });

  test('what is told has a place and, for errors, a mend', () => {
    const bytes = plainDevice().bytes();
    bytes.set([64, 0, 0, 0], tableOf(plainDevice()) + 3 * 64);
    const [first] = check(bytes).findings;
    expect(first).toEqual({
      severity: 'error',
      code: 'FILE_BOUNDS',
      at: `file 3 TPM_NVRAM, byte ${tableOf(plainDevice()) + 3 * 64}`,
      what: 'Invalid file offset: 1 blocks from 64, 100 bytes',
      mend: 'take the store from a backup',
    });
  });
});

describe('encrypted stores', () => {
  test('a write without the key under an id that was encrypted', () => {
    const device = encryptedDevice();
    const locked = { ...device.store, unlocked: undefined };
    device.apply(writeFile(locked, { id: 3, content: sourceFromBytes(payload(5, 1)), encrypt: false }));
    expect(codes(check(device.image, KEY))).toEqual(['error STALE_ENTRY']);
    const open = unlock(device.image, openStore(device.image, device.geometry), KEY);
    expectCvmError(() => readFile(device.image, open, 3), 'VMGS_FILE_TAG', 'trust');
  });

  test('a deletion without the key; mended by the next write with it', () => {
    const device = encryptedDevice();
    device.apply(deleteFile({ ...device.store, unlocked: undefined }, 3));
    expect(codes(check(device.image, KEY))).toEqual(['warning EXTENDED_STALE']);
    device.store = unlock(device.image, openStore(device.image, device.geometry), KEY);
    device.write(20, payload(1, 1), true);
    expect(codes(check(device.image, KEY))).toEqual([]);
  });

  test('a changed byte of data, and of the extended table', () => {
    for (const [id, expected] of [
      [1, 'error VMGS_FILE_TAG'],
      [63, 'error VMGS_EXTENDED_TABLE_TAG'],
    ] as const) {
      const device = encryptedDevice();
      const bytes = device.bytes();
      const at = (device.store.files[id]?.firstBlock ?? 0) * 4096;
      bytes[at] = (bytes[at] as number) ^ 1;
      expect(codes(check(bytes, KEY))).toContain(expected);
    }
  });

  test('a wrong key is a finding; what the store itself is stays told', () => {
    const report = check(encryptedDevice().image, keyOf(9));
    expect(codes(report)).toEqual(['error VMGS_KEY_WRONG', 'info LOCKED']);
    expect(report.openhcl.default).toBe('open');
  });

  test('a file that is plain; files of writers that left the attributes out', () => {
    const device = encryptedDevice();
    device.write(7, payload(20, 1), false);
    expect(codes(check(device.image, KEY))).toEqual(['info PLAIN_FILE']);
    const bytes = device.bytes();
    bytes.set(
      encodeFileTable(
        device.store.files.map((entry) => (entry === undefined ? entry : { ...entry, attributes: 0 })),
      ),
      tableOf(device),
    );
    expect(codes(check(bytes, KEY))).toEqual([
      'info OLD_ATTRIBUTES',
      'info OLD_ATTRIBUTES',
      'info PLAIN_FILE',
    ]);
    const open = unlock(sourceFromBytes(bytes), openStore(sourceFromBytes(bytes), device.geometry), KEY);
    expect(readFile(sourceFromBytes(bytes), open, 1).read(0, 5000)).toEqual(payload(5000, 1));
  });

  test('between two keys: told, and no write until the exchange is finished', () => {
    const device = encryptedDevice();
    const { metadataKey } = device.store.unlocked ?? expect.fail('locked');
    const slot = wrapKey(keyOf(0x43), 1, metadataKey, 9, SECRETS);
    device.apply(setKeySlot(device.store, 1, slot));
    expect(codes(check(device.image, KEY))).toEqual(['warning TWO_KEYS']);
    expect(codes(check(device.image, keyOf(0x43)))).toEqual(['warning TWO_KEYS']);
    expectCvmError(() => device.write(5, payload(1, 1), true), 'VMGS_TWO_KEYS', 'usage');
    const { sequence } = device.store.header;
    device.apply(updateKey(device.store, keyOf(0x44), SECRETS));
    expect(device.store.header.sequence).toBe(sequence + 3);
    expect(codes(check(device.image, keyOf(0x44)))).toEqual([]);
    expectCvmError(
      () => unlock(device.image, openStore(device.image, device.geometry), keyOf(0x43)),
      'VMGS_KEY_WRONG',
    );
  });

  /** The store as openvmm wrote it from January to August 2026: the extended table under a key and nonce of zeros. */
  function defective(): Device {
    const device = encryptedDevice();
    const { extended } = device.store.unlocked ?? expect.fail('locked');
    const zero = new Uint8Array(32);
    const cipher = createCipheriv('aes-256-gcm', zero, new Uint8Array(12));
    const ciphertext = cipher.update(encodeExtendedTable(extended));
    cipher.final();
    const entry = device.store.files[63] ?? expect.fail('no table');
    const files = device.store.files.with(63, {
      ...entry,
      nonce: new Uint8Array(12),
      tag: new Uint8Array(cipher.getAuthTag()),
    });
    const bytes = withHeader(device, (header) => ({
      ...header,
      slots: [wrapKey(KEY, 0, zero, 1, SECRETS), header.slots[1]],
    }));
    bytes.set(ciphertext, entry.firstBlock * 4096);
    bytes.set(encodeFileTable(files), tableOf(device));
    device.image = sourceFromBytes(bytes);
    return device;
  }

  test('the all-zero-key defect: read, told with and without the key, mended by the next write', () => {
    const device = defective();
    expect(codes(check(device.image))).toEqual(['error ZERO_KEY', 'info LOCKED']);
    expect(codes(check(device.image, KEY))).toEqual(['error ZERO_KEY']);
    device.store = unlock(device.image, openStore(device.image, device.geometry), KEY);
    expect(hasZeroKeyDefect(device.image, device.store)).toBe(true);
    expect(readFile(device.image, device.store, 3).read(0, 100)).toEqual(payload(100, 2));
    device.write(20, payload(1, 1), true);
    expect(codes(check(device.image, KEY))).toEqual([]);
  });

  test('the all-zero-key defect does not go into the slot of a new key', () => {
    const device = defective();
    device.store = unlock(device.image, openStore(device.image, device.geometry), KEY);
    const { sequence } = device.store.header;
    device.apply(updateKey(device.store, keyOf(0x43), SECRETS));
    // Tables, new slot, old slot.
    expect(device.store.header.sequence).toBe(sequence + 3);
    expect(codes(check(device.image, keyOf(0x43)))).toEqual([]);
    const opened = unlock(device.image, openStore(device.image, device.geometry), keyOf(0x43));
    expect(opened.unlocked).toEqual(device.store.unlocked);
    expect(readFile(device.image, opened, 3).read(0, 100)).toEqual(payload(100, 2));
  });

  test('a source of keys that makes zeros writes nothing', () => {
    const device = new Device(64 * 4096);
    const zeros: Secrets = { key: () => new Uint8Array(32), nonce: () => new Uint8Array(12) };
    expectCvmError(() => addFirstKey(device.store, KEY, zeros), 'INTERNAL', 'bug');
  });
});

describe('what OpenHCL would do', () => {
  const expectOutcome = (report: Report, ...[normal, onFailure, onRequest]: string[]): void => {
    expect(report.openhcl).toEqual({
      default: normal,
      reprovisionOnFailure: onFailure,
      reprovision: onRequest,
    });
  };

  test('a sound store is opened, and formatted on request', () => {
    expectOutcome(check(plainDevice().image), 'open', 'open', 'format');
  });

  test('one that is marked as reprovisioned is left alone on request', () => {
    const marked = withHeader(plainDevice(), (header) => ({ ...header, markers: 1 }));
    expectOutcome(check(marked), 'open', 'open', 'open');
    const bytes = marked.slice();
    writeU32(bytes, tableOf(plainDevice()) + 3 * 64, 99);
    expectOutcome(check(bytes), 'refuse', 'format', 'refuse');
  });

  test('an empty one is formatted', () => {
    expectOutcome(check(sparseSource(1 << 20, [])), 'format', 'format', 'format');
  });

  test('a broken one is refused, or formatted where that is allowed', () => {
    const bytes = plainDevice().bytes();
    bytes.fill(0xff, 0, 100);
    bytes.fill(0xff, 512, 612);
    expectOutcome(check(bytes), 'refuse', 'format', 'format');
    const overlapping = plainDevice().bytes();
    const table = tableOf(plainDevice());
    overlapping.copyWithin(table + 3 * 64, table + 64, table + 68);
    // openvmm finds an overlap with its next write only.
    expectOutcome(check(overlapping), 'open', 'open', 'format');
  });

  test('a disk that is no disk is refused always', () => {
    expectOutcome(verifyVmgs(plainDevice().image), 'refuse', 'refuse', 'refuse');
  });
});

describe('footers', () => {
  const whole = (): Uint8Array => {
    const file = wrapVhd(plainDevice().image, payload(16, 1));
    return file.read(0, file.sizeBytes).slice();
  };
  const start = 64 * 4096;
  /** Sets big-endian fields and the checksum. */
  const edited = (edits: readonly (readonly [number, number])[], sums = true): Uint8Array => {
    const bytes = whole();
    const view = new DataView(bytes.buffer, start);
    for (const [at, value] of edits) view.setUint32(at, value);
    let sum = 0;
    bytes.subarray(start).forEach((byte, i) => (sum += i >= 64 && i < 68 ? 0 : byte));
    if (sums) view.setUint32(64, ~sum >>> 0);
    return bytes;
  };
  const cases: readonly (readonly [string, () => Uint8Array, string[]])[] = [
    ['as it is written', whole, []],
    ['no cookie', () => edited([[0, 0]]), ['error VHD_COOKIE']],
    ['a wrong checksum', () => edited([[24, 1]], false), ['error VHD_CHECKSUM']],
    ['another version', () => edited([[12, 0x20000]]), ['error VHD_VERSION']],
    ['a dynamic disk', () => edited([[60, 3]]), ['error VHD_TYPE']],
    ['a size above the file', () => edited([[52, start + 512]]), ['error VHD_SIZE']],
    ['a size of 2^32 times that', () => edited([[48, 1]]), ['error VHD_SIZE']],
    ['a size off the grid', () => edited([[52, start - 1]]), ['error VHD_SIZE']],
    [
      'a size below the file',
      () => edited([[52, start - 4096]]),
      ['warning VHD_SIZE_DIFFERS', 'info VHD_RESIZED'],
    ],
    ['reserved bytes', () => edited([[100, 1]]), ['warning VHD_RESERVED']],
    ['another creator', () => edited([[28, 0x77696e20]]), ['info VHD_CREATOR']],
  ];
  test.each(cases)('%s', (_, make, expected) => {
    expect(codes(verifyVmgs(sourceFromBytes(make())))).toEqual(expected);
  });
});

test('opening and checking a store of 4 GiB reads less than 64 KiB', () => {
  const device = new Device(64 * 4096);
  device.write(18, MARKER);
  let read = 0;
  const large = wrapVhd(sparseSource(2 ** 32, [{ offset: 0, source: device.image }]), payload(16, 1));
  const counted: ByteSource = {
    ...large,
    read: (offset, length) => {
      read += length;
      return large.read(offset, length);
    },
  };
  expect(codes(verifyVmgs(counted))).toEqual([]);
  expect(read).toBeLessThan(65_536);
  read = 0;
  openStore(counted, { storeBytes: 2 ** 32, sectorBytes: 512 });
  expect(read).toBe(3 * 4096);
});

test('a marker with more keys, the older name, or another order is told', () => {
  const cases = [
    [`{"hcl_version":"x"}`, 'the version is called hcl_version'],
    [`{"provisioner_version":"x","more":1}`, 'more keys: more'],
  ] as const;
  for (const [end, expected] of cases) {
    const device = new Device(64 * 4096);
    const text = new TextDecoder().decode(MARKER).replace(/"provisioner_version":""}$/, end.slice(1));
    device.write(18, utf8Bytes(text));
    const [finding] = check(device.image).findings;
    expect([finding?.severity, finding?.code]).toEqual(['info', 'MARKER_FORM']);
    expect(finding?.what).toContain(expected);
  }
});

test('the last bytes of a store that are no block are told', () => {
  const bytes = new Uint8Array(64 * 4096 + 512);
  bytes.set(plainDevice().bytes());
  expect(codes(check(bytes))).toEqual(['info PARTIAL_BLOCK']);
  writeU16(bytes, 0, 0);
  expect(codes(check(bytes))).toEqual(['info PARTIAL_BLOCK', 'warning SPARE_HEADER']);
});
