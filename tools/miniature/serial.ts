import { AH, AL, DX, EBX, type Assembler } from './x86-assembler.ts';

/** I/O ports of the first 16550, and the bits used. Source: National Semiconductor PC16550D data sheet, table II. */
const COM1 = 0x3f8;
const INTERRUPT_ENABLE = COM1 + 1;
const FIFO_CONTROL = COM1 + 2;
const LINE_CONTROL = COM1 + 3;
const MODEM_CONTROL = COM1 + 4;
const LINE_STATUS = COM1 + 5;

const DIVISOR_LATCH = 0x80;
const EIGHT_BITS_NO_PARITY_ONE_STOP = 0x03;
const FIFO_ENABLE_AND_CLEAR = 0x07;
const DTR_AND_RTS = 0x03;
/** 115200 baud from the usual 1.8432 MHz clock. */
const DIVISOR = 1;

/** Line status: the holding register takes a byte; the shift register has sent the last one. */
const HOLDING_EMPTY = 0x20;
const ALL_SENT = 0x40;

/** How often the line status is read before giving up: a machine without a port must still power off. */
const POLLS = 0x10000;

/** Sets the port to 115200 8N1 without interrupts. Changes al and dx; runs in 16-bit and 32-bit code. */
export function emitSerialInit(asm: Assembler): void {
  const registers: readonly (readonly [port: number, value: number])[] = [
    [INTERRUPT_ENABLE, 0],
    [LINE_CONTROL, DIVISOR_LATCH],
    [COM1, DIVISOR],
    [COM1 + 1, 0],
    [LINE_CONTROL, EIGHT_BITS_NO_PARITY_ONE_STOP],
    [FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR],
    [MODEM_CONTROL, DTR_AND_RTS],
  ];
  for (const [port, value] of registers) {
    asm.movImmediate(DX, port);
    asm.movImmediate(AL, value);
    asm.plain('outDxAl');
  }
}

/** Sends the byte in al. Inline, as a reset stub has no stack. Changes ax, ebx, dx. @param name makes its labels unique */
export function emitSerialPut(asm: Assembler, name: string): void {
  asm.mov(AH, AL);
  emitWait(asm, name, HOLDING_EMPTY);
  asm.mov(AL, AH);
  asm.movImmediate(DX, COM1);
  asm.plain('outDxAl');
}

/** Waits until the last bit has left. Changes al, ebx, dx. */
export function emitSerialDrain(asm: Assembler, name: string): void {
  emitWait(asm, name, ALL_SENT);
}

function emitWait(asm: Assembler, name: string, mask: number): void {
  asm.movImmediate(DX, LINE_STATUS);
  asm.movImmediate(EBX, POLLS);
  asm.label(`${name}.poll`);
  asm.plain('inAlDx');
  asm.testAl(mask);
  asm.jcc('nz', `${name}.ready`);
  asm.dec(EBX);
  asm.jcc('nz', `${name}.poll`);
  asm.label(`${name}.ready`);
}
