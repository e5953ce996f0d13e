import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { acpiTables } from '../../tools/tdx/acpi/tables.ts';
import { mrtd } from '../../tools/tdx/mrtd.ts';
import { ACPI_PROFILES } from '../../tools/tdx/qemu-profile.ts';
import { parseTdvf } from '../../tools/tdx/tdvf.ts';
import type { VmShape } from '../../tools/tdx/vm-shape.ts';
import { scratchFolder } from '../support/run-command.ts';
import { findOracle, findOracleFile, ORACLE_ENV, oracleTest } from './oracle.ts';

const iasl = findOracle('iasl');
const withIasl = oracleTest({ iasl });

const SHAPE: Omit<VmShape, 'profile'> = {
  pic: false,
  cpuCount: 3,
  memoryBytes: 2 ** 31,
  pciHole64Bytes: 0,
  hugepages: false,
  numGpus: 0,
  numNvswitches: 0,
  numNics: 1,
  numVerityVolumes: 0,
  hotplugOff: false,
};
const SHAPES: readonly (readonly [string, Partial<VmShape>])[] = [
  ['plain', {}],
  ['many processors', { cpuCount: 260 }],
  ['GPUs on huge pages', { hugepages: true, numGpus: 2 }],
  ['root ports', { numGpus: 2, numNvswitches: 4, hotplugOff: true }],
];

/** Disassembles, without the header of comments, which names the file and the time. */
function disassemble(folder: string, name: string): string {
  execFileSync(iasl ?? '', ['-d', `${name}.aml`], { cwd: folder, env: ORACLE_ENV, stdio: 'pipe' });
  const text = readFileSync(join(folder, `${name}.dsl`), 'utf8');
  return text.slice(text.indexOf('DefinitionBlock'));
}

describe('the DSDT, read by ACPICA', () => {
  for (const profile of ACPI_PROFILES) {
    for (const [label, change] of SHAPES) {
      withIasl(
        `profile ${profile}, ${label}: parses, compiles without an error, and parses to the same`,
        () => {
          const { blob, tables } = acpiTables({ ...SHAPE, profile, ...change });
          const folder = scratchFolder();
          for (const { signature, offset, length } of tables) {
            const bytes = blob.slice(offset, offset + length);
            bytes[9] = 256 - (bytes.reduce((sum, byte) => sum + byte, 0) % 256);
            if (signature === 'DSDT') writeFileSync(join(folder, 'dsdt.aml'), bytes);
          }
          const source = disassemble(folder, 'dsdt');
          expect(source).not.toMatch(/Unknown|Invalid|Error/i);
          expect(source.match(/Processor \(|"ACPI0007"/g)).toHaveLength({ ...SHAPE, ...change }.cpuCount);
          const options = ['-oa', '-p', 'again', 'dsdt.dsl'];
          const report = execFileSync(iasl ?? '', options, {
            cwd: folder,
            env: ORACLE_ENV,
            encoding: 'utf8',
            stdio: 'pipe',
          });
          expect(report).toContain('Compilation successful. 0 Errors');
          expect(disassemble(folder, 'again')).toBe(source);
        },
      );
    }
  }
});

// Debian's package ovmf-inteltdx 2026.08+ds-2: two other programs computed these values.
const firmware = findOracleFile(
  '/usr/share/ovmf/OVMF.inteltdx.ms.fd',
  'a265075b4147a096109e501e76196df1ec8a18659c26f7401492c597ec88f312',
);
oracleTest({ 'OVMF.inteltdx.ms.fd': firmware }, false)('MRTD of Debian’s TDX firmware', () => {
  const image = firmware ?? new Uint8Array();
  const sections = parseTdvf(image);
  expect(bytesToHex(mrtd(image, sections, 'single-pass'))).toBe(
    'a7a1f751abc454f9cbab198ca8d2edb2821935df525c74182b5e776cb0929e8c59aefecce725b0d08a5e9d3d3183bd08',
  );
  expect(bytesToHex(mrtd(image, sections, 'two-pass'))).toBe(
    'b90b236113eb4c0d4df4ef590568c14e6028a3a31d7e8ac63dee9845df5008d3ebf82d4f5974e933798f65d7a279b9a9',
  );
});
