import { showText } from '../bytes/text.ts';
import { bug, usageError } from '../errors.ts';
import { FIELDS, KERNEL_ADDRESS, writeBzImage } from './bzimage.ts';
import { emitSerialDrain, emitSerialInit, emitSerialPut } from './serial.ts';
import { assembleSetup } from './setup.ts';
import { AL, Assembler, AX, DL, DX, EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP } from './x86-assembler.ts';

/** Longest command line in bytes; longer ones are cut, as Linux does on x86 (COMMAND_LINE_SIZE less the NUL). */
export const COMMAND_LINE_LIMIT = 2047;

/** Memory from {@link KERNEL_ADDRESS} on; the stack grows down from its end. */
const INIT_SIZE = 0x1_0000;
const STACK_LEAST_BYTES = 0x1000;

/** PM1a control: SLP_EN with the sleep type 0, which QEMU's DSDT gives for S5. */
const SLEEP_ENABLE = 0x2000;
/** Where SeaBIOS and OVMF put it on q35 and on current pc machines, and where old ones had it. */
const PM1A_CONTROL_PORTS = [0x604, 0xb004];

const KEYBOARD_CONTROLLER = 0x64;
const PULSE_RESET = 0xfe;

/** A port whose reading only takes time (POST codes). */
const DELAY_PORT = 0x80;
const DELAY_READS = 0x10000;

const CRC32_REFLECTED = 0xedb8_8320;

export const DEFAULT_RELEASE = '6.1.0-miniature';

const RELEASE = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}$/;

/**
 * The miniature kernel: a complete bzImage of a few kilobytes that boots, says what it was given and powers off.
 * On the first serial port (115200 8N1, lines end in CR LF) it prints
 *
 *   Linux-protocol miniature kernel <release>
 *   Command line: <the bytes at cmd_line_ptr, up to 2047>
 *   Initrd: <size> bytes at 0x<address>, CRC-32 <8 hex digits>     or   Initrd: none
 *   Power off
 *
 * It powers off by ACPI (PM1a control on QEMU's machines); where that does nothing it resets by the keyboard
 * controller, then by a triple fault, and at last halts.
 *
 * @param release as `uname -r` would show it: 1 to 64 letters, digits and `._+~-`
 * @throws CvmError usage KERNEL_RELEASE_INVALID
 */
export function buildMiniatureKernel(release: string): Uint8Array {
  if (!RELEASE.test(release)) {
    throw usageError('KERNEL_RELEASE_INVALID', 'a kernel release is 1 to 64 letters, digits and ._+~-', {
      facts: [['found', showText(release.slice(0, 80))]],
      mend: 'give a release such as 6.1.0-miniature',
    });
  }
  return writeBzImage({
    setupCode: assembleSetup(),
    kernelCode: assembleKernel(release),
    // file(1) shows the text up to the first blank as the version
    version: `${release} (rules_cvm) miniature kernel`,
    cmdlineSize: COMMAND_LINE_LIMIT,
    initSize: INIT_SIZE,
  });
}

function assembleKernel(release: string): Uint8Array {
  const asm = new Assembler(32, KERNEL_ADDRESS);
  emitMain(asm);
  emitPrintText(asm);
  emitPrintHex(asm);
  emitPrintDecimal(asm);
  emitCrc32(asm);
  emitPowerOff(asm);
  emitTexts(asm, release);
  const code = asm.bytes();
  if (code.length + STACK_LEAST_BYTES > INIT_SIZE)
    throw bug('the miniature kernel leaves no room for its stack');
  return code;
}

/** ebp holds the zero page throughout. */
function emitMain(asm: Assembler): void {
  asm.plain('cli');
  asm.plain('cld');
  asm.movImmediate(ESP, KERNEL_ADDRESS + INIT_SIZE);
  asm.mov(EBP, ESI);
  emitSerialInit(asm);
  emitPrint(asm, 'banner');

  emitPrint(asm, 'command-line');
  asm.load(ESI, EBP, FIELDS.cmdLinePtr);
  asm.test(ESI, ESI);
  asm.jcc('z', 'no-command-line');
  asm.call('print');
  asm.label('no-command-line');
  emitPrint(asm, 'line-end');

  emitPrint(asm, 'initrd');
  asm.load(EAX, EBP, FIELDS.ramdiskSize);
  asm.test(EAX, EAX);
  asm.jcc('z', 'no-initrd');
  asm.call('print-decimal');
  emitPrint(asm, 'initrd-at');
  asm.load(EAX, EBP, FIELDS.ramdiskImage);
  asm.call('print-hex');
  emitPrint(asm, 'initrd-crc');
  asm.call('initrd-crc32');
  asm.call('print-hex');
  emitPrint(asm, 'line-end');
  asm.jmpNear('power-off');
  asm.label('no-initrd');
  emitPrint(asm, 'none');
  asm.jmpNear('power-off');
}

function emitPrint(asm: Assembler, text: string): void {
  asm.movImmediate(ESI, { label: `text.${text}` });
  asm.call('print');
}

/** print: the bytes at esi up to a NUL, at most {@link COMMAND_LINE_LIMIT}. print-byte: the one in al. */
function emitPrintText(asm: Assembler): void {
  asm.label('print');
  asm.movImmediate(ECX, COMMAND_LINE_LIMIT);
  asm.label('print.next');
  asm.plain('lodsb');
  asm.test(AL, AL);
  asm.jcc('z', 'print.end');
  asm.call('print-byte');
  asm.loop('print.next');
  asm.label('print.end');
  asm.plain('ret');

  asm.label('print-byte');
  emitSerialPut(asm, 'print-byte');
  asm.plain('ret');
}

/** print-hex: eax as eight digits. */
function emitPrintHex(asm: Assembler): void {
  asm.label('print-hex');
  asm.mov(EDI, EAX);
  asm.movImmediate(ECX, 8);
  asm.label('print-hex.next');
  asm.shift('rol', EDI, 4);
  asm.mov(EAX, EDI);
  asm.arithmeticImmediate('and', AL, 0x0f);
  asm.arithmeticImmediate('add', AL, 0x30);
  asm.arithmeticImmediate('cmp', AL, 0x3a);
  asm.jcc('b', 'print-hex.digit');
  asm.arithmeticImmediate('add', AL, 0x61 - 0x3a);
  asm.label('print-hex.digit');
  asm.call('print-byte');
  asm.loop('print-hex.next');
  asm.plain('ret');
}

/** print-decimal: eax without leading zeros; the digits wait on the stack. */
function emitPrintDecimal(asm: Assembler): void {
  asm.label('print-decimal');
  asm.arithmetic('xor', ECX, ECX);
  asm.movImmediate(EBX, 10);
  asm.label('print-decimal.divide');
  asm.arithmetic('xor', EDX, EDX);
  asm.div(EBX);
  asm.push(EDX);
  asm.inc(ECX);
  asm.test(EAX, EAX);
  asm.jcc('nz', 'print-decimal.divide');
  asm.label('print-decimal.next');
  asm.pop(EAX);
  asm.arithmeticImmediate('add', AL, 0x30);
  asm.call('print-byte');
  asm.loop('print-decimal.next');
  asm.plain('ret');
}

/** initrd-crc32: the CRC-32 (IEEE 802.3, as gzip has it) of the initrd, in eax. Bit by bit: small beats fast here. */
function emitCrc32(asm: Assembler): void {
  asm.label('initrd-crc32');
  asm.load(ESI, EBP, FIELDS.ramdiskImage);
  asm.load(ECX, EBP, FIELDS.ramdiskSize);
  asm.movImmediate(EAX, 0xffff_ffff);
  asm.label('crc.byte');
  asm.arithmeticLoad('xor', AL, ESI, 0);
  asm.inc(ESI);
  asm.movImmediate(DL, 8);
  asm.label('crc.bit');
  asm.shift('shr', EAX, 1);
  asm.jcc('nc', 'crc.zero');
  asm.arithmeticImmediate('xor', EAX, CRC32_REFLECTED);
  asm.label('crc.zero');
  asm.dec(DL);
  asm.jcc('nz', 'crc.bit');
  asm.loop('crc.byte');
  asm.not(EAX);
  asm.plain('ret');
}

/** power-off: does not come back. */
function emitPowerOff(asm: Assembler): void {
  asm.label('power-off');
  emitPrint(asm, 'power-off');
  emitSerialDrain(asm, 'power-off.drain');
  for (const port of PM1A_CONTROL_PORTS) {
    asm.movImmediate(DX, port);
    asm.movImmediate(AX, SLEEP_ENABLE);
    asm.outDxAx();
    // Power goes a moment after the write: nothing else may happen meanwhile.
    emitDelay(asm, `power-off.${port}`);
  }
  asm.movImmediate(AL, PULSE_RESET);
  asm.outAl(KEYBOARD_CONTROLLER);
  emitDelay(asm, 'power-off.reset');
  // An exception without an interrupt table is a triple fault, which resets the processor.
  asm.lidt({ label: 'null-idtr' });
  asm.plain('int3');
  asm.label('halt');
  asm.plain('hlt');
  asm.jmpShort('halt');
  asm.label('null-idtr');
  asm.data16(0);
  asm.data32(0);
}

function emitDelay(asm: Assembler, name: string): void {
  asm.movImmediate(ECX, DELAY_READS);
  asm.label(`${name}.delay`);
  asm.inAl(DELAY_PORT);
  asm.loop(`${name}.delay`);
}

function emitTexts(asm: Assembler, release: string): void {
  const texts: Readonly<Record<string, string>> = {
    banner: `Linux-protocol miniature kernel ${release}\r\n`,
    'command-line': 'Command line: ',
    initrd: 'Initrd: ',
    'initrd-at': ' bytes at 0x',
    'initrd-crc': ', CRC-32 ',
    none: 'none\r\n',
    'line-end': '\r\n',
    'power-off': 'Power off\r\n',
  };
  for (const [name, text] of Object.entries(texts)) {
    asm.label(`text.${name}`);
    asm.asciz(text);
  }
}
