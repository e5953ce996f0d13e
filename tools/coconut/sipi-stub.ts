import { concatBytes } from '../bytes/compare.ts';
import { hexToBytes } from '../bytes/hex.ts';
import { IGVM_PAGE_BYTES } from '../igvm/model.ts';

/** Where a start-up IPI with vector 0x0f lands. */
export const SIPI_STUB_GPA = 0xf000;

/** INT3: what is not code traps. */
const FILL = 0xcc;

/**
 * What further processors of a platform without isolation run first, from real mode into 64-bit mode, assembled for
 * {@link SIPI_STUB_GPA}. SVSM puts at 0xfff0 the routine to jump to, at 0xfff8 the page table and at 0xfffc the size of
 * its context, which ends at 0x10000 and whose start is handed over in EDI.
 */
const CODE: readonly string[] = [
  // 0x00, 16 bits: protected mode on, the table below loaded, on to 0x40.
  '0f20c0', // mov eax, cr0
  '80c801', // or al, 1
  '0f22c0', // mov cr0, eax
  '2e660f01161a00', // lgdt cs:[0x1a]
  'ea40f00800', // jmp 8:0xf040
  'cccccccccc',
  // 0x1a: limit and base of the table.
  '1f0020f00000',
  // 0x20: none, 32-bit code, 64-bit code, data.
  '0000000000000000',
  'ffff0000009bcf00',
  'ffff0000009baf00',
  'ffff00000093cf00',
  // 0x40, 32 bits: segments, page table, EFER.LME, CR4.PAE, CR0.PG.
  '66b81800', // mov ax, 0x18
  '8ed8', // mov ds, eax
  '8ed0', // mov ss, eax
  '8ec0', // mov es, eax
  '8b05f8ff0000', // mov eax, [0xfff8]
  '0f22d8', // mov cr3, eax
  'b9800000c0', // mov ecx, 0xc0000080
  '0f32', // rdmsr
  '0fbae808', // bts eax, 8
  '0f30', // wrmsr
  '0f20e0', // mov eax, cr4
  '83c820', // or eax, 0x20
  '0f22e0', // mov cr4, eax
  '0f20c0', // mov eax, cr0
  '0fbae81f', // bts eax, 31
  '0f22c0', // mov cr0, eax
  'bf00000100', // mov edi, 0x10000
  '2b3dfcff0000', // sub edi, [0xfffc]
  'ea85f000001000', // jmp 0x10:0xf085
  // 0x85, 64 bits.
  'ff25650f0000', // jmp [rip + 0xf65], which is 0xfff0
];

/** One page. */
export function sipiStub(): Uint8Array {
  const bytes = new Uint8Array(IGVM_PAGE_BYTES).fill(FILL);
  bytes.set(concatBytes(...CODE.map((line) => hexToBytes(line))));
  return bytes;
}
