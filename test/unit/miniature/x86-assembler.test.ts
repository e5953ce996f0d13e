import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import {
  AL,
  Assembler,
  AX,
  CS,
  DS,
  EAX,
  EBP,
  EBX,
  ECX,
  ESI,
  ESP,
  type Register,
} from '../../../tools/miniature/x86-assembler.ts';
import { expectCvmError } from '../../support/errors.ts';

function assemble(bits: 16 | 32, emit: (asm: Assembler) => void, origin = 0): string {
  const asm = new Assembler(bits, origin);
  emit(asm);
  return bytesToHex(asm.bytes());
}

describe('encodings (Intel SDM volume 2)', () => {
  const cases: readonly (readonly [string, 16 | 32, (asm: Assembler) => void, string])[] = [
    [
      'mov eax, 0x12345678',
      32,
      (asm) => {
        asm.movImmediate(EAX, 0x12345678);
      },
      'b878563412',
    ],
    [
      'mov eax, imm in 16-bit code',
      16,
      (asm) => {
        asm.movImmediate(EAX, 1);
      },
      '66b801000000',
    ],
    [
      'mov ax, imm in 32-bit code',
      32,
      (asm) => {
        asm.movImmediate(AX, 0x2000);
      },
      '66b80020',
    ],
    [
      'mov ebp, esi',
      32,
      (asm) => {
        asm.mov(EBP, ESI);
      },
      '89f5',
    ],
    [
      'mov eax, [ebp+0x21c]',
      32,
      (asm) => {
        asm.load(EAX, EBP, 0x21c);
      },
      '8b851c020000',
    ],
    [
      'xor al, [esi+0]',
      32,
      (asm) => {
        asm.arithmeticLoad('xor', AL, ESI, 0);
      },
      '328600000000',
    ],
    [
      'mov ds, ax',
      16,
      (asm) => {
        asm.movToSegment(DS, AX);
      },
      '8ed8',
    ],
    [
      'mov ax, cs',
      16,
      (asm) => {
        asm.movFromSegment(AX, CS);
      },
      '8cc8',
    ],
    [
      'lgdt [0x1234], 32-bit base',
      16,
      (asm) => {
        asm.lgdt(0x1234);
      },
      '660f01163412',
    ],
    [
      'lidt [0x12345678]',
      32,
      (asm) => {
        asm.lidt(0x12345678);
      },
      '0f011d78563412',
    ],
    [
      'mov cr0, eax',
      16,
      (asm) => {
        asm.movToCr0(EAX);
      },
      '0f22c0',
    ],
    [
      'rep stosd in 16-bit code',
      16,
      (asm) => {
        asm.repStosd();
      },
      'f366ab',
    ],
    [
      'out dx, ax in 32-bit code',
      32,
      (asm) => {
        asm.outDxAx();
      },
      '66ef',
    ],
    [
      'jmp eax',
      32,
      (asm) => {
        asm.jmpRegister(EAX);
      },
      'ffe0',
    ],
    [
      'div ebx',
      32,
      (asm) => {
        asm.div(EBX);
      },
      'f7f3',
    ],
    [
      'jmp 0x10:0x100000 from 16-bit code',
      16,
      (asm) => {
        asm.jmpFar32(0x10, 0x100000, 'at');
      },
      '66ea000010001000',
    ],
  ];
  test.each(cases)('%s, %i-bit code', (_name, bits, emit, hex) => {
    expect(assemble(bits, emit)).toBe(hex);
  });
});

describe('labels', () => {
  test('a distance counts from the end of the instruction, forward and back', () => {
    const hex = assemble(32, (asm) => {
      asm.label('back');
      asm.jmpShort('forth');
      asm.call('back');
      asm.label('forth');
      asm.jmpNear('back');
    });
    expect(hex).toBe('eb05' + 'e8f9ffffff' + 'e9f4ffffff');
  });

  test('an address counts from the origin', () => {
    const hex = assemble(
      32,
      (asm) => {
        asm.movImmediate(ESI, { label: 'text', plus: 1 });
        asm.label('text');
        asm.asciz('a');
      },
      0x100000,
    );
    expect(hex).toBe('be' + '06001000' + '6100');
  });

  test('a short jump reaches 127 bytes ahead and 128 back, and not one more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 400 }), fc.boolean(), (gap, forward) => {
        const asm = new Assembler(32);
        if (forward) asm.jcc('z', 'target');
        else asm.label('target');
        asm.data(new Uint8Array(gap));
        if (forward) asm.label('target');
        else asm.jcc('z', 'target');
        const distance = forward ? gap : -(gap + 2);
        if (distance >= -128 && distance <= 127) {
          expect(asm.bytes()[forward ? 1 : gap + 1]).toBe(distance & 0xff);
        } else {
          expect(expectCvmError(() => asm.bytes(), 'ASM_RANGE', 'bug').facts).toContainEqual([
            'label',
            'target',
          ]);
        }
      }),
    );
  });

  test('rejects a call in 16-bit code to a label more than 32 KiB ahead', () => {
    const asm = new Assembler(16);
    asm.call('far');
    asm.padTo(3 + 0x8000, 0);
    asm.label('far');
    expectCvmError(() => asm.bytes(), 'ASM_RANGE', 'bug');
  });

  test('rejects a 16-bit address of a label that lies above 64 KiB', () => {
    const asm = new Assembler(16, 0xfffe);
    asm.data16({ label: 'end' });
    asm.label('end');
    expectCvmError(() => asm.bytes(), 'ASM_RANGE', 'bug');
  });

  test('rejects a label placed twice', () => {
    const asm = new Assembler(16);
    asm.label('here');
    expectCvmError(
      () => {
        asm.label('here');
      },
      'ASM_LABEL_TWICE',
      'bug',
    );
  });

  test('rejects a label never placed', () => {
    const asm = new Assembler(16);
    asm.jmpNear('nowhere');
    expectCvmError(() => asm.bytes(), 'ASM_LABEL_MISSING', 'bug');
  });
});

describe('operands without an encoding', () => {
  const cases: readonly (readonly [string, string, 16 | 32, (asm: Assembler) => void])[] = [
    [
      'registers of different width',
      'ASM_OPERAND',
      32,
      (asm) => {
        asm.mov(EAX, AX);
      },
    ],
    [
      'a load in 16-bit code',
      'ASM_OPERAND',
      16,
      (asm) => {
        asm.load(EAX, EBP, 0);
      },
    ],
    [
      'esp as base, which would be a SIB byte',
      'ASM_OPERAND',
      32,
      (asm) => {
        asm.load(EAX, ESP, 0);
      },
    ],
    [
      'cs as target',
      'ASM_OPERAND',
      32,
      (asm) => {
        asm.movToSegment(CS, AX);
      },
    ],
    [
      'a 32-bit register for a segment',
      'ASM_OPERAND',
      32,
      (asm) => {
        asm.movToSegment(DS, EAX);
      },
    ],
    [
      'a label in 8 bits',
      'ASM_OPERAND',
      32,
      (asm) => {
        asm.movImmediate(AL, { label: 'x' });
      },
    ],
    [
      'a shift by 32',
      'ASM_OPERAND',
      32,
      (asm) => {
        asm.shift('shl', ECX, 32);
      },
    ],
    [
      '256 in a byte register',
      'ASM_RANGE',
      32,
      (asm) => {
        asm.movImmediate(AL, 256);
      },
    ],
    [
      'a negative number',
      'ASM_RANGE',
      32,
      (asm) => {
        asm.movImmediate(EAX, -1);
      },
    ],
    [
      'a fraction',
      'ASM_RANGE',
      32,
      (asm) => {
        asm.data32(0.5);
      },
    ],
    [
      'a port above 255 as immediate',
      'ASM_RANGE',
      32,
      (asm) => {
        asm.outAl(0x3f8);
      },
    ],
    [
      '2^32 in a 32-bit field',
      'ASM_RANGE',
      32,
      (asm) => {
        asm.data32(2 ** 32);
      },
    ],
  ];
  test.each(cases)('rejects %s', (_name, code, bits, emit) => {
    expectCvmError(
      () => {
        emit(new Assembler(bits));
      },
      code,
      'bug',
    );
  });

  test('rejects padding to a place already passed', () => {
    const asm = new Assembler(16);
    asm.data([1, 2, 3]);
    expectCvmError(
      () => {
        asm.padTo(2, 0);
      },
      'ASM_RANGE',
      'bug',
    );
  });
});

test('a number is stored little-endian in the width of its register', () => {
  const wide: Register = EAX;
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), (value) => {
      const asm = new Assembler(32);
      asm.movImmediate(wide, value);
      const bytes = asm.bytes();
      expect(new DataView(bytes.buffer).getUint32(1, true)).toBe(value);
    }),
  );
});
