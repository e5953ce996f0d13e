import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import type { OptionValues } from '../../tools/commands/command.ts';
import {
  buildFirmware,
  firmwareS,
  INITRD,
  KERNEL,
  S_ENTRIES,
  S_SECTIONS,
  svsmV,
} from '../support/firmware.ts';
import { scratchFolder } from '../support/run-command.ts';
import { askOurs, askPeer, withPeer } from './snp-peer.ts';

function makeFiles(): string {
  const folder = scratchFolder();
  const write = (name: string, bytes: Uint8Array): void => writeFileSync(join(folder, name), bytes);
  write('S.fd', firmwareS());
  write('no-section.fd', buildFirmware({ entries: S_ENTRIES, sections: S_SECTIONS.slice(0, 5) }));
  write('no-table.fd', buildFirmware({ entries: [S_ENTRIES[0], S_ENTRIES[2]], sections: S_SECTIONS }));
  write('no-reset.fd', buildFirmware({ entries: S_ENTRIES.slice(0, 2), sections: S_SECTIONS }));
  write('V.bin', svsmV());
  write('kernel', KERNEL.subarray(0, 4097));
  write('initrd', INITRD.subarray(0, 100));
  return folder;
}

const optional = (values: readonly string[]): fc.Arbitrary<string | undefined> =>
  fc.option(fc.constantFrom(...values), { nil: undefined, freq: 2 });

/** Calls on which the two must agree to the byte: everything but what the peer crashes on or measures as nonsense. */
const calls: fc.Arbitrary<OptionValues> = fc.record({
  mode: fc.constantFrom('snp', 'snp', 'snp', 'seves', 'sev', 'snp:ovmf-hash'),
  ovmf: fc.constantFrom('S.fd', 'S.fd', 'S.fd', 'no-section.fd', 'no-table.fd', 'no-reset.fd'),
  vcpus: fc.option(
    fc.integer({ min: 1, max: 9 }).map((count) => `${count}`),
    { nil: undefined, freq: 9 },
  ),
  vcpuType: optional(['EPYC', 'EPYC-v4', 'EPYC-Rome-v3', 'EPYC-Milan-v2', 'EPYC-Genoa', 'EPYC-Turin']),
  vcpuSig: optional(['0', '0xb00f21', '10489617']),
  vmmType: optional(['QEMU', 'ec2', 'gce']),
  kernel: optional(['kernel', 'initrd']),
  initrd: optional(['initrd']),
  append: optional(['', 'a', '  two  words ', 'ünïcode ☃']),
  guestFeatures: optional(['0x1', '0x21', '33', '0b1000000001', '0xffffffffffffffff']),
  outputFormat: optional(['hex', 'base64']),
  verbose: fc.option(fc.constant(true), { nil: undefined, freq: 2 }),
});

describe('cvm snp measure and sev-snp-measure', () => {
  withPeer(
    'answer random calls with the same output, exit code and first line of the error',
    async () => {
      const folder = makeFiles();
      await fc.assert(
        fc.asyncProperty(calls, async (options) => {
          const given = Object.fromEntries(
            Object.entries(options).filter(([, value]) => value !== undefined),
          );
          // The peer's hash mode looks at no other option.
          const asked =
            given['mode'] === 'snp:ovmf-hash' ? { mode: 'snp:ovmf-hash', ovmf: given['ovmf'] } : given;
          expect(await askOurs(folder, asked)).toEqual(askPeer(folder, asked));
        }),
        { numRuns: 150 },
      );
    },
    600_000,
  );

  withPeer('agree about an SVSM', async () => {
    const folder = makeFiles();
    const options = {
      mode: 'snp:svsm',
      ovmf: 'S.fd',
      svsm: 'V.bin',
      varsSize: '8192',
      vcpus: '3',
      vcpuType: 'EPYC',
    };
    expect(await askOurs(folder, options)).toEqual(askPeer(folder, options));
  });
});
