import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { describe, expect } from 'vitest';
import { fillerSource } from '../../tools/miniature/filler.ts';
import { buildMiniatureFirmware } from '../../tools/miniature/firmware.ts';
import { buildMiniatureKernel, COMMAND_LINE_LIMIT } from '../../tools/miniature/kernel.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const qemu = findOracle('qemu-system-x86_64');
const withQemu = oracleTest({ 'qemu-system-x86_64': qemu });

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'qemu-'));
const RELEASE = '6.1.0-miniature';
const BANNER = `Linux-protocol miniature kernel ${RELEASE}\r\n`;

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const KERNEL = file('bzImage', buildMiniatureKernel(RELEASE));
/** Odd in length, so that a copy in words would lose its end. */
const INITRD_BYTES = fillerSource('initrd', 300_001).read(0, 300_001);
const INITRD = file('initrd.img', INITRD_BYTES);

interface Run {
  readonly serial: Buffer;
  readonly exitCode: number | null;
  readonly complaints: string;
}

const CHILD_LIMIT_MS = 90_000;

/** Runs a machine without any acceleration until it is off, or until its serial port has said `enough`. */
function run(machine: string, args: readonly string[], enough?: string): Promise<Run> {
  const base = ['-M', machine, '-accel', 'tcg', '-m', '128', '-nodefaults', '-no-user-config'];
  const io = ['-display', 'none', '-monitor', 'none', '-serial', 'stdio'];
  const child = spawn(qemu ?? '', [...base, ...io, ...args], {
    env: ORACLE_ENV,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: CHILD_LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  const serial: Buffer[] = [];
  const complaints: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => {
    serial.push(chunk);
    if (enough !== undefined && Buffer.concat(serial).includes(enough)) child.kill('SIGKILL');
  });
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => {
      resolve({ serial: Buffer.concat(serial), exitCode, complaints: Buffer.concat(complaints).toString() });
    });
  });
}

/** What the serial port must have said, with SeaBIOS silent: everything from the banner on, once. */
function expected(commandLine: Buffer, initrd: RegExp | string): RegExp {
  const text = (value: string): string => value.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  const line = typeof initrd === 'string' ? text(initrd) : initrd.source;
  return new RegExp(
    `^${text(BANNER)}Command line: ${text(commandLine.toString('latin1'))}\r\nInitrd: ${line}\r\nPower off\r\n$`,
  );
}

const INITRD_LINE = new RegExp(
  `${INITRD_BYTES.length} bytes at 0x0[0-9a-f]{7}, CRC-32 ${crc32(INITRD_BYTES).toString(16).padStart(8, '0')}`,
);

/** Every printable ASCII character, blanks at both ends and in a row, a tab, and UTF-8. */
const ODD =
  '  ' +
  String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 32 + i)) +
  '\t  a="b c",,d=%s größe=寸法 ';

describe.each(['q35', 'pc'])('a machine of type %s', (machine) => {
  withQemu(
    `prints an odd command line to the byte, finds the whole initrd and powers off (${machine})`,
    async () => {
      const result = await run(machine, ['-kernel', KERNEL, '-initrd', INITRD, '-append', ODD]);
      expect(result.serial.toString('latin1'), result.complaints).toMatch(
        expected(Buffer.from(ODD), INITRD_LINE),
      );
      // Without -no-reboot a reset would print everything again: exit 0 after one banner is power off.
      expect(result.exitCode).toBe(0);
    },
  );

  withQemu(`prints a command line of the longest length whole (${machine})`, async () => {
    const longest = 'x'.repeat(COMMAND_LINE_LIMIT - 4) + ' end';
    const result = await run(machine, ['-no-reboot', '-kernel', KERNEL, '-append', longest]);
    expect(result.serial.toString('latin1'), result.complaints).toMatch(
      expected(Buffer.from(longest), 'none'),
    );
    expect(result.exitCode).toBe(0);
  });

  withQemu(`cuts a longer command line, as Linux does (${machine})`, async () => {
    const result = await run(machine, ['-no-reboot', '-kernel', KERNEL, '-append', 'y'.repeat(3000)]);
    const cut = Buffer.from('y'.repeat(COMMAND_LINE_LIMIT));
    expect(result.serial.toString('latin1'), result.complaints).toMatch(expected(cut, 'none'));
    expect(result.exitCode).toBe(0);
  });

  withQemu(`boots without command line and initrd, and says so (${machine})`, async () => {
    const result = await run(machine, ['-no-reboot', '-kernel', KERNEL]);
    expect(result.serial.toString('latin1'), result.complaints).toMatch(expected(Buffer.alloc(0), 'none'));
    expect(result.exitCode).toBe(0);
  });

  withQemu(`takes 64 processors, of which one runs the kernel (${machine})`, async () => {
    const result = await run(machine, ['-smp', '64', '-kernel', KERNEL, '-append', 'smp']);
    expect(result.serial.toString('latin1'), result.complaints).toMatch(expected(Buffer.from('smp'), 'none'));
    expect(result.exitCode).toBe(0);
  });

  withQemu(`starts the miniature firmware, which says that it is none (${machine})`, async () => {
    const firmware = file('firmware.fd', buildMiniatureFirmware());
    const text = 'Not a bootable firmware: it carries the tables that a SEV-SNP launch measures.\r\n';
    const result = await run(machine, ['-bios', firmware], text);
    expect(result.serial.toString('latin1'), result.complaints).toBe(text);
  });
});

withQemu('resets a machine without ACPI, since nothing else ends it', async () => {
  const result = await run('isapc', ['-no-reboot', '-kernel', KERNEL, '-append', 'old']);
  expect(result.serial.toString('latin1'), result.complaints).toMatch(expected(Buffer.from('old'), 'none'));
  expect(result.exitCode).toBe(0);
});
