import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { readSetupHeader, SETUP_CODE_OFFSET } from '../../tools/miniature/bzimage.ts';
import { buildMiniatureKernel } from '../../tools/miniature/kernel.ts';
import * as x86 from '../../tools/miniature/x86-assembler.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const objdump = findOracle('objdump');
const fileProgram = findOracle('file');
const withObjdump = oracleTest({ objdump });
const withFile = oracleTest({ file: fileProgram });

const folder = mkdtempSync(join(process.env['TEST_TMPDIR'] ?? tmpdir(), 'miniature-'));

function written(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Instructions as GNU binutils reads them, blanks folded, hints and comments cut. */
function disassemble(bits: 16 | 32, code: Uint8Array, startAddress: number): string[] {
  const path = written(`code-${bits}`, code);
  const machine = bits === 16 ? 'i8086' : 'i386';
  const options = ['-D', '-b', 'binary', '-m', machine, '-M', 'intel', '--no-show-raw-insn'];
  const output = execFileSync(objdump ?? '', [...options, `--adjust-vma=${startAddress}`, path], {
    env: ORACLE_ENV,
    encoding: 'latin1',
  });
  return output
    .split('\n')
    .map((line) => /^\s*[0-9a-f]+:\t(.*)$/.exec(line)?.[1])
    .filter((text) => text !== undefined)
    .map((text) =>
      text
        .replace(/\s*[#<].*$/, '')
        .replace(/\s+/g, ' ')
        .trim(),
    );
}

/** What is emitted, and what binutils has to read there: line by line. */
interface Listing {
  emit(a: x86.Assembler): void;
  readonly text: string;
}

const COMMON: Listing = {
  emit(a) {
    a.plain('cli');
    a.plain('cld');
    a.plain('hlt');
    a.plain('int3');
    a.plain('ret');
    a.plain('inAlDx');
    a.plain('outDxAl');
    a.outDxAx();
    a.inAl(0x92);
    a.outAl(0x64);
    a.movImmediate(x86.DX, 0x3f8);
    a.movImmediate(x86.AL, 0x80);
    a.movImmediate(x86.AH, 1);
    a.movImmediate(x86.EBX, 0x10000);
    a.mov(x86.AH, x86.AL);
    a.mov(x86.EAX, x86.EBX);
    a.movFromSegment(x86.AX, x86.CS);
    a.movzx(x86.EBX, x86.AX);
    a.arithmetic('xor', x86.EDI, x86.EDI);
    a.arithmetic('add', x86.ECX, x86.EDX);
    a.arithmeticImmediate('sub', x86.AX, 0x20);
    a.arithmeticImmediate('or', x86.AL, 2);
    a.arithmeticImmediate('and', x86.AL, 0xfe);
    a.arithmeticImmediate('cmp', x86.AL, 0x3a);
    a.arithmeticImmediate('xor', x86.EAX, 0xedb88320);
    a.test(x86.ESI, x86.ESI);
    a.test(x86.AL, x86.AL);
    a.testAl(0x20);
    a.shift('rol', x86.EDI, 4);
    a.shift('shl', x86.EBX, 4);
    a.shift('shr', x86.EAX, 1);
    a.inc(x86.ECX);
    a.dec(x86.EBX);
    a.dec(x86.DL);
    a.not(x86.EAX);
    a.div(x86.EBX);
    a.push(x86.EDX);
    a.pop(x86.EAX);
    a.movFromCr0(x86.EAX);
    a.movToCr0(x86.EAX);
    a.jmpRegister(x86.EAX);
  },
  text: `
    cli
    cld
    hlt
    int3
    ret
    in al,dx
    out dx,al
    out dx,ax
    in al,0x92
    out 0x64,al
    mov dx,0x3f8
    mov al,0x80
    mov ah,0x1
    mov ebx,0x10000
    mov ah,al
    mov eax,ebx
    mov ax,cs
    movzx ebx,ax
    xor edi,edi
    add ecx,edx
    sub ax,0x20
    or al,0x2
    and al,0xfe
    cmp al,0x3a
    xor eax,0xedb88320
    test esi,esi
    test al,al
    test al,0x20
    rol edi,0x4
    shl ebx,0x4
    shr eax,0x1
    inc ecx
    dec ebx
    dec dl
    not eax
    div ebx
    push edx
    pop eax
    mov eax,cr0
    mov cr0,eax
    jmp eax`,
};

const ONLY_16: Listing = {
  emit(a) {
    a.plain('cs');
    a.plain('lodsb');
    a.plain('rep');
    a.plain('movsb');
    a.repStosd();
    a.movImmediate(x86.CX, 0x400);
    a.movImmediate(x86.DI, 0x1000);
    a.store(0x1234, x86.EAX);
    a.lgdt(0x1234);
    a.lidt(0x1234);
    a.jmpFar32(0x10, 0x100000, 'far');
    a.movToSegment(x86.DS, x86.AX);
    a.movToSegment(x86.ES, x86.AX);
    a.movToSegment(x86.SS, x86.AX);
    a.movToSegment(x86.FS, x86.AX);
    a.movToSegment(x86.GS, x86.AX);
  },
  text: `
    lods al,BYTE PTR cs:[si]
    rep movs BYTE PTR es:[di],BYTE PTR ds:[si]
    rep stos DWORD PTR es:[di],eax
    mov cx,0x400
    mov di,0x1000
    mov DWORD PTR ds:0x1234,eax
    lgdtd ds:0x1234
    lidtd ds:0x1234
    jmp 0x10:0x100000
    mov ds,ax
    mov es,ax
    mov ss,ax
    mov fs,ax
    mov gs,ax`,
};

const ONLY_32: Listing = {
  emit(a) {
    a.plain('lodsb');
    a.movImmediate(x86.ESP, 0x110000);
    a.mov(x86.EBP, x86.ESI);
    a.load(x86.EAX, x86.ESI, 0x214);
    a.load(x86.ESI, x86.EBP, 0x228);
    a.arithmeticLoad('xor', x86.AL, x86.ESI, 0);
    a.lea(x86.ESI, x86.EBX, 0x1000);
    a.lidt(0x12345678);
    a.movToSegment(x86.DS, x86.AX);
    a.movToSegment(x86.ES, x86.AX);
    a.movToSegment(x86.SS, x86.AX);
    a.movToSegment(x86.FS, x86.AX);
    a.movToSegment(x86.GS, x86.AX);
  },
  text: `
    lods al,BYTE PTR ds:[esi]
    mov esp,0x110000
    mov ebp,esi
    mov eax,DWORD PTR [esi+0x214]
    mov esi,DWORD PTR [ebp+0x228]
    xor al,BYTE PTR [esi+0x0]
    lea esi,[ebx+0x1000]
    lidtd ds:0x12345678
    mov ds,eax
    mov es,eax
    mov ss,eax
    mov fs,eax
    mov gs,eax`,
};

function checkAll(bits: 16 | 32, listings: readonly Listing[]): void {
  const asm = new x86.Assembler(bits);
  for (const listing of listings) listing.emit(asm);
  const lines = listings.flatMap(({ text }) => text.trim().split(/\n */));
  expect(disassemble(bits, asm.bytes(), 0)).toEqual(lines);
}

describe('the assembler, read back by binutils', () => {
  withObjdump('every instruction of 16-bit code', () => {
    checkAll(16, [COMMON, ONLY_16]);
  });

  withObjdump('every instruction of 32-bit code', () => {
    checkAll(32, [COMMON, ONLY_32]);
  });

  for (const bits of [16, 32] as const) {
    withObjdump(`branches of ${bits}-bit code lead to their labels`, () => {
      const asm = new x86.Assembler(bits, 0x1000);
      asm.label('start');
      asm.jmpNear('end');
      asm.call('start');
      asm.jmpShort('start');
      for (const condition of ['b', 'nc', 'z', 'nz'] as const) asm.jcc(condition, 'end');
      asm.loop('start');
      asm.label('end');
      const code = asm.bytes();
      const end = `0x${(0x1000 + code.length).toString(16)}`;
      expect(disassemble(bits, code, 0x1000)).toEqual([
        `jmp ${end}`,
        'call 0x1000',
        'jmp 0x1000',
        ...['jb', 'jae', 'je', 'jne'].map((name) => `${name} ${end}`),
        'loop 0x1000',
      ]);
    });
  }
});

describe('the miniature kernel', () => {
  const image = buildMiniatureKernel('6.1.0-miniature');

  withObjdump('holds no byte of code that binutils cannot read', () => {
    const { kernelOffset } = readSetupHeader(image);
    const main = disassemble(32, image.subarray(kernelOffset), 0x100000);
    expect(main.slice(0, 4)).toEqual(['cli', 'cld', 'mov esp,0x110000', 'mov ebp,esi']);
    const afterHalt = main.findIndex((text, i) => text === 'hlt' && main[i + 1]?.startsWith('jmp') === true);
    expect(afterHalt).toBeGreaterThan(100);
    expect(main.slice(0, afterHalt).filter((text) => text.includes('(bad)'))).toEqual([]);
    const setup = disassemble(16, image.subarray(SETUP_CODE_OFFSET, kernelOffset), SETUP_CODE_OFFSET);
    expect(setup.slice(0, 4)).toEqual(['cli', 'cld', 'mov ax,cs', 'sub ax,0x20']);
  });

  withFile('is a bzImage to file(1), with its version', () => {
    const output = execFileSync(fileProgram ?? '', ['-b', written('bzImage', image)], {
      env: ORACLE_ENV,
      encoding: 'utf8',
    });
    // Newer versions of file(1) put a comma before the word bzImage.
    expect(output.replace('executable, bzImage', 'executable bzImage')).toContain(
      'Linux kernel x86 boot executable bzImage, version 6.1.0-miniature (rules_cvm)',
    );
  });
});
