import { VTL2_PROTECTABLE, type IgvmHeader } from '../igvm/model.ts';
import { MASKS } from './image-input.ts';

/** What a hypervisor must at least give the SVSM kernel; how much it gives says the memory map. */
export const KERNEL_MIN_BYTES = 16 << 20;

/** The kernel's memory as a hypervisor is asked for it: protected from lower VTLs under VSM. */
export function requiredMemory(gpa: number, mask: number): IgvmHeader[] {
  const others = mask & ~MASKS.vsm;
  const memory = (platforms: number, flags: number): IgvmHeader => ({
    kind: 'required-memory',
    gpa,
    mask: platforms,
    sizeBytes: KERNEL_MIN_BYTES,
    flags,
  });
  return [
    ...(others === 0 ? [] : [memory(others, 0)]),
    ...((mask & MASKS.vsm) === 0 ? [] : [memory(MASKS.vsm, VTL2_PROTECTABLE)]),
  ];
}
