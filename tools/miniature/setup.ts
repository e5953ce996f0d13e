import { FIELDS, SETUP_CODE_OFFSET, SETUP_HEADER_OFFSET } from './bzimage.ts';
import {
  AL,
  Assembler,
  AX,
  CS,
  CX,
  DI,
  DS,
  EAX,
  EBP,
  EBX,
  EDI,
  ES,
  ESI,
  FS,
  GS,
  SI,
  SS,
} from './x86-assembler.ts';

/**
 * Where the zero page (struct boot_params) is built, relative to the real-mode segment: behind the setup sectors,
 * inside the 32 KiB that the boot protocol leaves to the real-mode kernel.
 */
export const ZERO_PAGE_OFFSET = 0x1000;
const ZERO_PAGE_BYTES = 0x1000;

/** Selectors that the 32-bit boot protocol fixes (__BOOT_CS, __BOOT_DS): flat, 4 GiB. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;

/** Descriptors: limit 15:0, base 15:0, base 23:16, access, flags and limit 19:16, base 31:24. */
const FLAT_CODE = [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0];
const FLAT_DATA = [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0];
const GDT_BYTES = 4 * 8;

const FAST_A20_PORT = 0x92;

/**
 * The real-mode part of the kernel: what a loader that follows the 16-bit boot protocol (QEMU with SeaBIOS does)
 * jumps to. It copies the setup header into a clean zero page, opens A20, enters protected mode and jumps to
 * code32_start in the state that the 32-bit boot protocol promises: esi = zero page, ebx = ebp = edi = 0, flat
 * segments, interrupts off. It calls no BIOS, so the zero page holds no memory map.
 *
 * Entered with cs 0x20 paragraphs above the real-mode segment; uses no stack.
 * Source: Linux Documentation/arch/x86/boot.rst, "Running the Kernel" and "32-bit Boot Protocol".
 */
export function assembleSetup(): Uint8Array {
  const asm = new Assembler(16, SETUP_CODE_OFFSET);
  asm.plain('cli');
  asm.plain('cld');
  asm.movFromSegment(AX, CS);
  asm.arithmeticImmediate('sub', AX, 0x20);
  asm.movToSegment(DS, AX);
  asm.movToSegment(ES, AX);
  // ebx: linear address of the real-mode segment
  asm.movzx(EBX, AX);
  asm.shift('shl', EBX, 4);

  asm.arithmetic('xor', EAX, EAX);
  asm.movImmediate(DI, ZERO_PAGE_OFFSET);
  asm.movImmediate(CX, ZERO_PAGE_BYTES / 4);
  asm.repStosd();
  asm.movImmediate(SI, SETUP_HEADER_OFFSET);
  asm.movImmediate(DI, ZERO_PAGE_OFFSET + SETUP_HEADER_OFFSET);
  asm.movImmediate(CX, SETUP_CODE_OFFSET - SETUP_HEADER_OFFSET);
  asm.plain('rep');
  asm.plain('movsb');

  // Bit 1 opens A20, bit 0 would reset the machine.
  asm.inAl(FAST_A20_PORT);
  asm.arithmeticImmediate('or', AL, 0x02);
  asm.arithmeticImmediate('and', AL, 0xfe);
  asm.outAl(FAST_A20_PORT);

  asm.mov(EAX, EBX);
  asm.arithmeticImmediate('add', EAX, { label: 'gdt' });
  asm.store({ label: 'gdtr', plus: 2 }, EAX);
  asm.mov(EAX, EBX);
  asm.arithmeticImmediate('add', EAX, { label: 'protected' });
  asm.store({ label: 'target' }, EAX);
  asm.lidt({ label: 'null-idtr' });
  asm.lgdt({ label: 'gdtr' });
  asm.movFromCr0(EAX);
  asm.arithmeticImmediate('or', AL, 1);
  asm.movToCr0(EAX);
  // A branch right behind the switch drops what was decoded as 16-bit code.
  asm.jmpShort('switched');
  asm.label('switched');
  asm.jmpFar32(BOOT_CS, 0, 'target');

  asm.mode(32);
  asm.label('protected');
  asm.movImmediate(EAX, BOOT_DS);
  for (const segment of [DS, ES, SS, FS, GS]) asm.movToSegment(segment, AX);
  asm.lea(ESI, EBX, ZERO_PAGE_OFFSET);
  asm.load(EAX, ESI, FIELDS.code32Start);
  asm.arithmetic('xor', EBX, EBX);
  asm.arithmetic('xor', EBP, EBP);
  asm.arithmetic('xor', EDI, EDI);
  asm.jmpRegister(EAX);

  asm.label('gdtr');
  asm.data16(GDT_BYTES - 1);
  asm.data32(0);
  asm.label('null-idtr');
  asm.data16(0);
  asm.data32(0);
  asm.label('gdt');
  asm.data([...new Uint8Array(BOOT_CS), ...FLAT_CODE, ...FLAT_DATA]);
  return asm.bytes();
}
