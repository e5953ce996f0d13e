import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { CvmError } from '../../../tools/errors.ts';
import { snpLaunchDigest, type SnpConfiguration } from '../../../tools/snp/launch-digest.ts';
import { sevEsLaunchDigest } from '../../../tools/snp/legacy-digest.ts';
import { parseOvmf, requireSections } from '../../../tools/snp/ovmf.ts';
import { peerLaunchDigest, type PeerInput } from '../../../tools/snp/peer-digest.ts';
import { buildFirmware, firmwareS } from '../../support/firmware.ts';

const firmware = firmwareS();
const kernel = Uint8Array.from({ length: 333 }, (_, i) => i);
const initrd = Uint8Array.from({ length: 77 }, (_, i) => 3 * i);
const APPEND = 'root=/dev/vda1 quiet';
const BASE: SnpConfiguration = {
  append: APPEND,
  vcpus: 2,
  vcpuSig: 0x800f12,
  guestFeatures: 1n,
  vmmType: 'QEMU',
};

const flip = (bytes: Uint8Array, bit: number): Uint8Array => {
  const changed = bytes.slice();
  changed[bit >> 3]! ^= 1 << (bit & 7);
  return changed;
};
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

describe('any flipped bit of what is measured changes the digest', () => {
  const digest = (files: object, configuration: Partial<SnpConfiguration> = {}): string =>
    bytesToHex(snpLaunchDigest({ firmware, kernel, initrd, ...files, ...BASE, ...configuration }));
  const good = digest({});
  const changes: readonly (readonly [string, number, (bit: number) => string])[] = [
    // Beyond the tables, which may become unreadable instead.
    ['firmware', 0x1000 * 8, (bit) => digest({ firmware: flip(firmware, bit) })],
    ['kernel', kernel.length * 8, (bit) => digest({ kernel: flip(kernel, bit) })],
    ['initrd', initrd.length * 8, (bit) => digest({ initrd: flip(initrd, bit) })],
    [
      'command line',
      APPEND.length * 7,
      (bit) => {
        // Seven bits a character keep it ASCII, so that one bit of text is one bit of what is measured.
        const bytes = Uint8Array.from(Buffer.from(APPEND));
        bytes[Math.floor(bit / 7)]! ^= 1 << (bit % 7);
        return digest({}, { append: text(bytes) });
      },
    ],
    ['signature', 32, (bit) => digest({}, { vcpuSig: (0x800f12 ^ (1 << bit)) >>> 0 })],
    ['guest features', 64, (bit) => digest({}, { guestFeatures: 1n ^ (1n << BigInt(bit)) })],
  ];
  test.each(changes)('%s', (_, bits, change) => {
    fc.assert(
      fc.property(fc.nat(bits - 1), (bit) => {
        expect(change(bit)).not.toBe(good);
      }),
      { numRuns: 100, seed: 9 },
    );
  });

  test('so does another vCPU count, and SEV-ES notices as well', () => {
    const counts = Array.from({ length: 40 }, (_, i) => digest({}, { vcpus: i + 1 }));
    expect(new Set(counts).size).toBe(40);
    const es = (sig: number): string =>
      bytesToHex(sevEsLaunchDigest({ firmware, kernel, vcpus: 1, vcpuSig: sig, vmmType: 'QEMU' }));
    expect(es(1)).not.toBe(es(2));
  });
});

describe('no table crashes a reader', () => {
  const guids = fc.constantFrom(
    '7255371f-3a3b-4b04-927b-1da6efa8d454',
    '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
    'dc886566-984a-4798-a75e-5585a7bf67cc',
    'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd',
    '4c2eb361-7d9b-4cc3-8081-127c90d3d294',
  );
  const u32 = fc.oneof(fc.nat(0x3000), fc.constantFrom(0, 0x1000, 0x800000, 0xffff_f000, 0xffff_ffff));
  const images = fc
    .record({
      entries: fc.array(fc.tuple(guids, fc.uint8Array({ maxLength: 12 })), { maxLength: 6 }),
      sections: fc.array(fc.tuple(u32, u32, fc.constantFrom(0, 1, 2, 3, 4, 0x10, 0x11, 0xffff_ffff)), {
        maxLength: 8,
      }),
      distance: fc.option(fc.constantFrom(0, 15, 16, 0x1000, 0x2000, 0x2001, 0xffff_ffff), {
        nil: undefined,
      }),
      edits: fc.array(fc.tuple(fc.integer({ min: 0x1f00, max: 0x1fff }), fc.nat(255)), { maxLength: 3 }),
    })
    .map(({ entries, sections, distance, edits }) => {
      const metadata = Buffer.alloc(4);
      metadata.writeUInt32LE(distance ?? 0x1000);
      const pointer = ['dc886566-984a-4798-a75e-5585a7bf67cc', new Uint8Array(metadata)] as const;
      const image = buildFirmware({
        entries: distance === undefined ? entries : [pointer, ...entries],
        sections,
      });
      for (const [at, value] of edits) image[at] = value;
      return image;
    });
  const inHouse = (action: () => unknown): void => {
    try {
      action();
    } catch (error) {
      expect(error).toBeInstanceOf(CvmError);
      expect(['format', 'usage']).toContain((error as CvmError).kind);
    }
  };

  test('the strict one', () => {
    fc.assert(
      fc.property(images, (image) => inHouse(() => requireSections(parseOvmf(image)))),
      { numRuns: 1000, seed: 10 },
    );
  });

  test("the peer's", () => {
    const modes = fc.constantFrom<PeerInput['mode']>('sev', 'seves', 'snp', 'snp:ovmf-hash', 'snp:svsm');
    fc.assert(
      fc.property(images, modes, fc.integer({ min: -2, max: 3 }), fc.nat(8192), (image, mode, vcpus, cut) =>
        inHouse(() => {
          // Half of the images are cut.
          const source = sourceFromBytes(cut % 2 === 0 ? image : image.slice(cut));
          // Sections of gigabytes are right, and slow: the property is about reading.
          if (image.subarray(0x1010, 0x1080).includes(0xff)) return;
          peerLaunchDigest({
            mode,
            firmware: source,
            svsm: source,
            varsSizeBytes: 4096,
            kernel: sourceFromBytes(kernel),
            vcpus,
            vcpuSig: -1n,
            guestFeatures: 1n,
            vmmType: 'QEMU',
          });
        }),
      ),
      { numRuns: 300, seed: 11 },
    );
  });
});
