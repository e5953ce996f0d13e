import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import type { OptionValues } from '../../tools/commands/command.ts';
import { concatBytes } from '../../tools/bytes/compare.ts';
import { buildFirmware, firmwareS, GUID, le32, S_ENTRIES, S_SECTIONS, svsmV } from '../support/firmware.ts';
import { scratchFolder } from '../support/run-command.ts';
import { askOurs, askPeer, withPeer } from './snp-peer.ts';

const folder = scratchFolder();
writeFileSync(join(folder, 'kernel'), 'kernel');
writeFileSync(join(folder, 'empty'), '');
writeFileSync(join(folder, 'S.fd'), firmwareS());
writeFileSync(join(folder, 'V.bin'), svsmV());

/** Images that describe themselves badly: what the strict reader refuses is measured here, or makes both fail. */
const images: fc.Arbitrary<Uint8Array> = fc.oneof(
  // Bytes of the table and of the metadata changed.
  fc
    .array(
      fc.tuple(
        fc.oneof(fc.integer({ min: 0x1f80, max: 0x1fff }), fc.integer({ min: 0x1000, max: 0x1058 })),
        fc.constantFrom(0, 1, 0x10, 0x12, 0x11, 0x16, 0x1a, 0xff),
      ),
      { maxLength: 3 },
    )
    .map((edits) => {
      const image = firmwareS();
      for (const [at, value] of edits) image[at] = value;
      return image;
    }),
  // Cut at the front: the table may reach beyond the file.
  fc
    .constantFrom(0, 10, 17, 18, 30, 32, 33, 49, 50, 60, 100, 4096)
    .map((length) => firmwareS().slice(8192 - length)),
  // Sections as they come.
  fc
    .array(
      fc.tuple(
        fc.constantFrom(0, 0x1000, 0x1001, 0xffff_f000),
        fc.constantFrom(0, 0x1000, 0x3000, 0x800),
        fc.constantFrom(1, 2, 3, 4, 0x10, 0x10, 5),
      ),
      { maxLength: 4 },
    )
    .map((sections) => buildFirmware({ entries: S_ENTRIES, sections })),
  // Entries that are missing, doubled or short.
  fc
    .array(
      fc.constantFrom(
        ...S_ENTRIES,
        [GUID.hashTable, le32(0, 0)] as const,
        [GUID.hashTable, new Uint8Array()] as const,
        [GUID.resetBlock, Uint8Array.of(1, 2, 3)] as const,
        [GUID.resetBlock, le32(0)] as const,
        [GUID.footer, le32(7)] as const,
      ),
      { maxLength: 5 },
    )
    .map((entries) => buildFirmware({ entries, sections: S_SECTIONS })),
  // Images of odd sizes.
  fc.constantFrom(1, 100).map((length) => concatBytes(new Uint8Array(length), firmwareS())),
);

const calls: fc.Arbitrary<OptionValues> = fc.record(
  {
    mode: fc.constantFrom('snp', 'snp', 'seves', 'sev', 'snp:ovmf-hash'),
    vcpus: fc.constantFrom('1', '2', '0', '-3'),
    vcpuSig: fc.constantFrom('0x800f12', '-1', '0x1_0000_0000_0000_0001', '0'),
    guestFeatures: fc.constantFrom('1', '-1', '0x1_0000_0000_0000_0021', ' 0b11 '),
    vmmType: fc.constantFrom('QEMU', 'QEMU', 'ec2', 'gce', 'kvm'),
    kernel: fc.constantFrom('kernel', 'empty', ''),
    initrd: fc.constantFrom('', 'kernel'),
    append: fc.constantFrom('', 'a'),
    vcpuFamily: fc.constantFrom('0', '15', '26', '-2', '300'),
  },
  { requiredKeys: ['mode', 'vcpus', 'vcpuSig'] },
);

/** Of a family the peer needs model and stepping too, or crashes. */
const complete = (options: OptionValues): OptionValues =>
  'vcpuFamily' in options ? { ...options, vcpuModel: '33', vcpuStepping: '17' } : options;

describe('cvm snp measure --compat sev-snp-measure and sev-snp-measure', () => {
  withPeer(
    'measure the same of broken firmware with odd numbers, and fail at the same calls',
    async () => {
      await fc.assert(
        fc.asyncProperty(images, calls, async (image, options) => {
          writeFileSync(join(folder, 'image.fd'), image);
          const given = { ...complete(options), ovmf: 'image.fd' };
          const peer = askPeer(folder, given);
          const ours = await askOurs(folder, { ...given, compat: 'sev-snp-measure' });
          expect({ code: ours.code, out: ours.out }).toEqual({ code: peer.code, out: peer.out });
        }),
        { numRuns: 250 },
      );
    },
    600_000,
  );

  withPeer('place an SVSM alike', async () => {
    for (const varsSize of ['4096', '100', '-8192', '0']) {
      for (const vcpus of ['0', '2']) {
        const given = { mode: 'snp:svsm', ovmf: 'S.fd', svsm: 'V.bin', vcpuSig: '7', varsSize, vcpus };
        const { code, out } = await askOurs(folder, { ...given, compat: 'sev-snp-measure' });
        const peer = askPeer(folder, given);
        expect({ varsSize, code, out }).toEqual({ varsSize, code: peer.code, out: peer.out });
      }
    }
    const file = {
      mode: 'snp:svsm',
      ovmf: 'S.fd',
      svsm: 'V.bin',
      vcpuSig: '7',
      varsFile: 'empty',
      vcpus: '1',
    };
    const { code, out } = await askOurs(folder, { ...file, compat: 'sev-snp-measure' });
    expect({ code, out }).toEqual({ code: 0, out: askPeer(folder, file).out });
  });
});
