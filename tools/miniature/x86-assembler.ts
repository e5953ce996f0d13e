import { CvmError } from '../errors.ts';
import { bytesToHex } from '../bytes/hex.ts';

/** A general register: its number in ModRM and its width. */
export interface Register {
  readonly code: number;
  readonly bits: 8 | 16 | 32;
}

export interface SegmentRegister {
  readonly segment: number;
}

export const EAX: Register = { code: 0, bits: 32 };
export const ECX: Register = { code: 1, bits: 32 };
export const EDX: Register = { code: 2, bits: 32 };
export const EBX: Register = { code: 3, bits: 32 };
export const ESP: Register = { code: 4, bits: 32 };
export const EBP: Register = { code: 5, bits: 32 };
export const ESI: Register = { code: 6, bits: 32 };
export const EDI: Register = { code: 7, bits: 32 };
export const AX: Register = { code: 0, bits: 16 };
export const CX: Register = { code: 1, bits: 16 };
export const DX: Register = { code: 2, bits: 16 };
export const SI: Register = { code: 6, bits: 16 };
export const DI: Register = { code: 7, bits: 16 };
export const AL: Register = { code: 0, bits: 8 };
export const DL: Register = { code: 2, bits: 8 };
export const AH: Register = { code: 4, bits: 8 };

export const ES: SegmentRegister = { segment: 0 };
export const CS: SegmentRegister = { segment: 1 };
export const SS: SegmentRegister = { segment: 2 };
export const DS: SegmentRegister = { segment: 3 };
export const FS: SegmentRegister = { segment: 4 };
export const GS: SegmentRegister = { segment: 5 };

/** The number that selects the operation in opcodes 80 /n, 81 /n and, times eight, in the register forms. */
const ARITHMETIC = { add: 0, or: 1, and: 4, sub: 5, xor: 6, cmp: 7 } as const;
export type Arithmetic = keyof typeof ARITHMETIC;

const SHIFTS = { rol: 0, shl: 4, shr: 5 } as const;
export type Shift = keyof typeof SHIFTS;

/** The low four bits of the opcodes 70+cc (rel8) and 0F 80+cc (rel32). */
const CONDITIONS = { b: 0x2, nc: 0x3, z: 0x4, nz: 0x5 } as const;
export type Condition = keyof typeof CONDITIONS;

/** What has no operands, or fixed ones. */
const PLAIN = {
  cld: [0xfc],
  cli: [0xfa],
  hlt: [0xf4],
  int3: [0xcc],
  lodsb: [0xac],
  movsb: [0xa4],
  rep: [0xf3],
  ret: [0xc3],
  inAlDx: [0xec],
  outDxAl: [0xee],
  /** Segment override for the next instruction. */
  cs: [0x2e],
} as const satisfies Record<string, readonly number[]>;
export type Plain = keyof typeof PLAIN;

type FixupKind = 'rel8' | 'rel16' | 'rel32' | 'abs16' | 'abs32';

interface Fixup {
  readonly kind: FixupKind;
  /** Where the field stands, in bytes from the start of the output. */
  readonly at: number;
  readonly label: string;
  readonly addend: number;
}

const FIXUP_BYTES: Readonly<Record<FixupKind, number>> = { rel8: 1, rel16: 2, rel32: 4, abs16: 2, abs32: 4 };

/** A number, or the address of a label plus a distance. */
export type Immediate = number | { readonly label: string; readonly plus?: number };

/**
 * Emits x86 machine code: the few instructions that the miniature kernel, its real-mode setup and the firmware's
 * reset stub are made of. One method an instruction, one encoding each: the shortest is not looked for, so that a
 * length never depends on a label's distance and one pass is enough.
 *
 *   16-bit code   operand and address size 16; 32-bit registers get the prefix 66
 *   32-bit code   operand and address size 32; 16-bit registers get the prefix 66
 *
 * Labels may be used before they are placed; {@link Assembler.bytes} fills them in. Branch distances count from
 * the end of the instruction, which is the end of the field.
 *
 * Source: Intel SDM volume 2 and AMD publication 24594, opcode tables.
 *
 * Faults of the caller are bugs of this program, thus CvmErrors of kind bug, with the codes ASM_LABEL_TWICE,
 * ASM_LABEL_MISSING, ASM_RANGE (a value that its field cannot hold) and ASM_OPERAND (no such encoding here).
 */
export class Assembler {
  readonly origin: number;
  #bits: 16 | 32;
  readonly #code: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];

  /** @param origin the address at which the first byte will stand when the code runs */
  constructor(bits: 16 | 32, origin = 0) {
    this.#bits = bits;
    this.origin = origin;
  }

  /** Bytes emitted so far. */
  get length(): number {
    return this.#code.length;
  }

  /** From here on the processor runs in the other mode. */
  mode(bits: 16 | 32): void {
    this.#bits = bits;
  }

  label(name: string): void {
    if (this.#labels.has(name)) throw fault('ASM_LABEL_TWICE', 'a label is placed twice', [['label', name]]);
    this.#labels.set(name, this.length);
  }

  plain(name: Plain): void {
    this.#code.push(...PLAIN[name]);
  }

  /** Data as it is. */
  data(bytes: Iterable<number>): void {
    for (const byte of bytes) this.#number(byte, 1);
  }

  /** Text as Latin-1, with a NUL behind it. */
  asciz(text: string): void {
    this.data([...Buffer.from(text, 'latin1'), 0]);
  }

  data16(value: Immediate): void {
    this.#immediate(value, 16);
  }

  data32(value: Immediate): void {
    this.#immediate(value, 32);
  }

  /** Filler up to `offset`, in bytes from the start of the output. */
  padTo(offset: number, filler: number): void {
    if (offset < this.length) {
      throw fault('ASM_RANGE', 'the code has already passed the place it is to be padded to', [
        ['offset', offset],
        ['length', this.length],
      ]);
    }
    while (this.length < offset) this.#number(filler, 1);
  }

  /** mov r, imm: B0+r ib, B8+r iw/id */
  movImmediate(to: Register, value: Immediate): void {
    this.#operandSize(to);
    this.#code.push((to.bits === 8 ? 0xb0 : 0xb8) + to.code);
    this.#immediate(value, to.bits);
  }

  /** mov r, r: 88 /r, 89 /r */
  mov(to: Register, from: Register): void {
    this.#registers(0x88, to, from);
  }

  /** mov r32, [base + disp32]: 8B /r with mod 10. Only in 32-bit code. */
  load(to: Register, base: Register, displacement: number): void {
    this.#opcodeWithBase(0x8a, to, base, displacement);
  }

  /** op r8, [base + disp32]: (00+8·op)|2 /r with mod 10. Only in 32-bit code. */
  arithmeticLoad(operation: Arithmetic, to: Register, base: Register, displacement: number): void {
    this.#opcodeWithBase((ARITHMETIC[operation] << 3) | 2, to, base, displacement);
  }

  /** lea r32, [base + disp32]: 8D /r with mod 10. Only in 32-bit code. */
  lea(to: Register, base: Register, displacement: number): void {
    if (to.bits !== 32) throw badOperand('lea needs a 32-bit register');
    this.#opcodeWithBase(0x8c, to, base, displacement);
  }

  /** mov [address], r: 89 /r with the mode's absolute address form */
  store(address: Immediate, from: Register): void {
    this.#operandSize(from);
    this.#code.push(from.bits === 8 ? 0x88 : 0x89);
    this.#absolute(from.code, address);
  }

  /** mov sreg, r16: 8E /r. cs cannot be loaded so. */
  movToSegment(to: SegmentRegister, from: Register): void {
    if (from.bits !== 16 || to === CS) throw badOperand('mov to a segment register');
    this.#code.push(0x8e, 0xc0 | (to.segment << 3) | from.code);
  }

  /** mov r16, sreg: 8C /r */
  movFromSegment(to: Register, from: SegmentRegister): void {
    if (to.bits !== 16) throw badOperand('mov from a segment register needs a 16-bit register');
    this.#operandSize(to);
    this.#code.push(0x8c, 0xc0 | (from.segment << 3) | to.code);
  }

  /** movzx r32, r16: 0F B7 /r */
  movzx(to: Register, from: Register): void {
    if (to.bits !== 32 || from.bits !== 16) throw badOperand('movzx goes from a 16-bit to a 32-bit register');
    this.#operandSize(to);
    this.#code.push(0x0f, 0xb7, 0xc0 | (to.code << 3) | from.code);
  }

  /** op r, r: (00+8·op) /r, (01+8·op) /r */
  arithmetic(operation: Arithmetic, to: Register, from: Register): void {
    this.#registers(ARITHMETIC[operation] << 3, to, from);
  }

  /** op r, imm: 80 /op ib, 81 /op iw/id */
  arithmeticImmediate(operation: Arithmetic, to: Register, value: Immediate): void {
    this.#operandSize(to);
    this.#code.push(to.bits === 8 ? 0x80 : 0x81, 0xc0 | (ARITHMETIC[operation] << 3) | to.code);
    this.#immediate(value, to.bits);
  }

  /** test r, r: 84 /r, 85 /r */
  test(a: Register, b: Register): void {
    this.#registers(0x84, a, b);
  }

  /** test al, imm8: A8 ib */
  testAl(mask: number): void {
    this.#code.push(0xa8);
    this.#number(mask, 1);
  }

  /** rol, shl, shr r32, imm8: C1 /n ib */
  shift(operation: Shift, register: Register, count: number): void {
    if (register.bits !== 32 || count < 1 || count > 31)
      throw badOperand('a shift of a 32-bit register by 1 to 31');
    this.#operandSize(register);
    this.#code.push(0xc1, 0xc0 | (SHIFTS[operation] << 3) | register.code, count);
  }

  /** inc: FE /0, FF /0 */
  inc(register: Register): void {
    this.#unary(0xfe, 0, register);
  }

  /** dec: FE /1, FF /1 */
  dec(register: Register): void {
    this.#unary(0xfe, 1, register);
  }

  /** not: F6 /2, F7 /2 */
  not(register: Register): void {
    this.#unary(0xf6, 2, register);
  }

  /** div r32 (edx:eax by r32): F7 /6 */
  div(register: Register): void {
    this.#unary(0xf6, 6, register);
  }

  /** push r32: 50+r */
  push(register: Register): void {
    this.#operandSize(register);
    this.#code.push(0x50 + register.code);
  }

  /** pop r32: 58+r */
  pop(register: Register): void {
    this.#operandSize(register);
    this.#code.push(0x58 + register.code);
  }

  /** rep stosd, the count in (e)cx: F3 AB */
  repStosd(): void {
    this.plain('rep');
    this.#operandSize(EAX);
    this.#code.push(0xab);
  }

  /** in al, imm8: E4 ib */
  inAl(port: number): void {
    this.#code.push(0xe4);
    this.#number(port, 1);
  }

  /** out imm8, al: E6 ib */
  outAl(port: number): void {
    this.#code.push(0xe6);
    this.#number(port, 1);
  }

  /** out dx, ax: EF */
  outDxAx(): void {
    this.#operandSize(AX);
    this.#code.push(0xef);
  }

  /** jmp rel8: EB cb */
  jmpShort(label: string): void {
    this.#code.push(0xeb);
    this.#fixup('rel8', label);
  }

  /** jmp rel16/rel32: E9 cw/cd */
  jmpNear(label: string): void {
    this.#code.push(0xe9);
    this.#fixup(this.#bits === 16 ? 'rel16' : 'rel32', label);
  }

  /** jmp r32: FF /4 */
  jmpRegister(register: Register): void {
    this.#operandSize(register);
    this.#code.push(0xff, 0xc0 | (4 << 3) | register.code);
  }

  /** jmp ptr16:32: EA cp, whose offset field may be patched at `${offsetLabel}` when the code runs */
  jmpFar32(selector: number, offset: Immediate, offsetLabel: string): void {
    this.#operandSize(EAX);
    this.#code.push(0xea);
    this.label(offsetLabel);
    this.#immediate(offset, 32);
    this.#number(selector, 2);
  }

  /** jcc rel8: 70+cc cb */
  jcc(condition: Condition, label: string): void {
    this.#code.push(0x70 | CONDITIONS[condition]);
    this.#fixup('rel8', label);
  }

  /** loop rel8, the count in (e)cx: E2 cb */
  loop(label: string): void {
    this.#code.push(0xe2);
    this.#fixup('rel8', label);
  }

  /** call rel16/rel32: E8 cw/cd */
  call(label: string): void {
    this.#code.push(0xe8);
    this.#fixup(this.#bits === 16 ? 'rel16' : 'rel32', label);
  }

  /** lgdt [address]: 0F 01 /2, with a 32-bit base */
  lgdt(address: Immediate): void {
    this.#operandSize(EAX);
    this.#code.push(0x0f, 0x01);
    this.#absolute(2, address);
  }

  /** lidt [address]: 0F 01 /3, with a 32-bit base */
  lidt(address: Immediate): void {
    this.#operandSize(EAX);
    this.#code.push(0x0f, 0x01);
    this.#absolute(3, address);
  }

  /** mov r32, cr0: 0F 20 /0 */
  movFromCr0(to: Register): void {
    this.#code.push(0x0f, 0x20, 0xc0 | to.code);
  }

  /** mov cr0, r32: 0F 22 /0 */
  movToCr0(from: Register): void {
    this.#code.push(0x0f, 0x22, 0xc0 | from.code);
  }

  /**
   * The finished code.
   * @throws CvmError bug ASM_LABEL_MISSING | ASM_RANGE
   */
  bytes(): Uint8Array {
    const code = Uint8Array.from(this.#code);
    const view = new DataView(code.buffer);
    for (const { kind, at, label, addend } of this.#fixups) {
      const offset = this.#labels.get(label);
      if (offset === undefined)
        throw fault('ASM_LABEL_MISSING', 'a label is never placed', [['label', label]]);
      const width = FIXUP_BYTES[kind];
      const relative = kind.startsWith('rel');
      const value = relative ? offset + addend - (at + width) : this.origin + offset + addend;
      const bits = 8 * width;
      const [least, most] = relative ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
      if (value < least || value > most) {
        throw fault('ASM_RANGE', 'a label lies too far away for the field that names it', [
          ['label', label],
          ['field', `${kind} at 0x${at.toString(16)}`],
          ['value', value],
          ['range', `${least} to ${most}`],
        ]);
      }
      if (width === 1) view.setInt8(at, value);
      else if (width === 2) view.setUint16(at, value & 0xffff, true);
      else view.setUint32(at, value >>> 0, true);
    }
    return code;
  }

  /** The prefix 66 where the operand is not of the mode's own size. */
  #operandSize(register: Register): void {
    if (register.bits !== 8 && register.bits !== this.#bits) this.#code.push(0x66);
  }

  /** Opcodes whose lowest bit says "not a byte": `opcode` for 8 bits, `opcode | 1` else. */
  #registers(opcode: number, rm: Register, reg: Register): void {
    if (rm.bits !== reg.bits) throw badOperand('two registers of different width');
    this.#operandSize(rm);
    this.#code.push(rm.bits === 8 ? opcode : opcode | 1, 0xc0 | (reg.code << 3) | rm.code);
  }

  #unary(opcode: number, extension: number, register: Register): void {
    this.#operandSize(register);
    this.#code.push(register.bits === 8 ? opcode : opcode | 1, 0xc0 | (extension << 3) | register.code);
  }

  #opcodeWithBase(opcode: number, to: Register, base: Register, displacement: number): void {
    if (this.#bits !== 32 || base.bits !== 32 || base === ESP) {
      throw badOperand('a base with a displacement: 32-bit code, any 32-bit register but esp');
    }
    this.#operandSize(to);
    this.#code.push(to.bits === 8 ? opcode : opcode | 1, 0x80 | (to.code << 3) | base.code);
    this.#number(displacement, 4);
  }

  /** ModRM for a bare address: mod 00, rm 110 and disp16 in 16-bit code, rm 101 and disp32 in 32-bit code. */
  #absolute(reg: number, address: Immediate): void {
    this.#code.push((reg << 3) | (this.#bits === 16 ? 6 : 5));
    this.#immediate(address, this.#bits);
  }

  #immediate(value: Immediate, bits: 8 | 16 | 32): void {
    if (typeof value === 'number') {
      this.#number(value, bits / 8);
    } else {
      if (bits === 8) throw badOperand('a label does not fit into 8 bits');
      this.#fixup(bits === 16 ? 'abs16' : 'abs32', value.label, value.plus ?? 0);
    }
  }

  #fixup(kind: FixupKind, label: string, addend = 0): void {
    this.#fixups.push({ kind, at: this.length, label, addend });
    for (let i = 0; i < FIXUP_BYTES[kind]; i++) this.#code.push(0);
  }

  #number(value: number, width: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * width)) {
      throw fault('ASM_RANGE', 'a value does not fit into its field', [
        ['value', value],
        ['field', `${width} bytes, unsigned`],
        ['at', `0x${this.length.toString(16)}`],
        ['behind', bytesToHex(Uint8Array.from(this.#code.slice(-8)))],
      ]);
    }
    for (let i = 0; i < width; i++) this.#code.push(Math.floor(value / 2 ** (8 * i)) % 256);
  }
}

function fault(
  code: string,
  message: string,
  facts: readonly (readonly [string, string | number])[],
): CvmError {
  return new CvmError('bug', code, message, { facts });
}

function badOperand(message: string): CvmError {
  return fault('ASM_OPERAND', `no such encoding: ${message}`, []);
}
