import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { readU32 } from '../../tools/bytes/little-endian.ts';
import { readElf } from '../../tools/elf/file.ts';
import { buildMiniatureSvsm } from '../../tools/miniature/svsm.ts';
import { scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const readelf = findOracle('readelf');
const withReadelf = oracleTest({ 'readelf (binutils)': readelf });

interface Seen {
  readonly vaddr: bigint;
  readonly memBytes: bigint;
  readonly fileBytes: number;
  readonly writable: boolean;
  readonly executable: boolean;
}

/** Loadable segments and the number of symbols as readelf sees them. */
function askReadelf(path: string): { segments: Seen[]; symbols: number } {
  const ask = (...flags: string[]): string =>
    execFileSync(readelf ?? '', [...flags, '--wide', path], { env: ORACLE_ENV, stdio: 'pipe' }).toString();
  const segments = [...ask('--program-headers').matchAll(/^ +LOAD +(.*)$/gm)].map(([, line = '']): Seen => {
    const [, , vaddr = '', , fileBytes = '', memBytes = ''] =
      / *(0x\w+) +(0x\w+) +(0x\w+) +(0x\w+) +(0x\w+)/.exec(line) ?? [];
    const flags = line.replace(/^( *0x\w+){5}/, '').replace(/0x\w+ *$/, '');
    return {
      vaddr: BigInt(vaddr),
      memBytes: BigInt(memBytes),
      fileBytes: Number(fileBytes),
      writable: flags.includes('W'),
      executable: flags.includes('E'),
    };
  });
  const [, size = '0', entry = '1'] =
    /\.symtab +SYMTAB +\w+ +\w+ +(\w+) +(\w+)/.exec(ask('--sections')) ?? [];
  return { segments, symbols: Number.parseInt(size, 16) / Number.parseInt(entry, 16) };
}

describe('the ELF loader and readelf', () => {
  withReadelf('see one file: ours', () => {
    const path = join(scratchFolder(), 'svsm.elf');
    writeFileSync(path, buildMiniatureSvsm());
    compare(path);
    expect(askReadelf(path).symbols).toBe(4);
  });

  withReadelf('see one file: the program that runs this test', () => {
    compare(process.execPath);
  });
});

function compare(path: string): void {
  const elf = readElf(new Uint8Array(readFileSync(path)), path);
  const seen = askReadelf(path);
  expect(seen.segments.length).toBeGreaterThan(0);
  expect(
    elf.segments.map(({ vaddr, memBytes, content, writable, executable }) => ({
      vaddr,
      memBytes,
      fileBytes: content.sizeBytes,
      writable,
      executable,
    })),
  ).toEqual(seen.segments);
  expect(elf.symbols?.count ?? 0).toBe(seen.symbols);
  if (elf.symbols !== undefined) expect(readU32(elf.symbols.table.read(0, 4), 0)).toBe(0);
}
