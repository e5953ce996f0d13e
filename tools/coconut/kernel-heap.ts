import { formatError } from '../errors.ts';
import { IGVM_PAGE_BYTES } from '../igvm/model.ts';

/** Pages of the kernel region, with their address for the processor and for the kernel. */
export interface Allocation {
  readonly gpa: number;
  readonly vaddr: bigint;
}

/** Hands out the pages of the kernel region behind the kernel, one after the other. */
export class KernelHeap {
  readonly gpa: number;
  readonly #vaddr: bigint;
  readonly #pages: number;
  #used = 0;

  /**
   * @param gpa where the heap starts
   * @param vaddr the same in the kernel's direct map
   * @param pages how many there are
   */
  constructor(gpa: number, vaddr: bigint, pages: number) {
    this.gpa = gpa;
    this.#vaddr = vaddr;
    this.#pages = pages;
  }

  /** Pages handed out so far. */
  get usedPages(): number {
    return this.#used;
  }

  /** @throws CvmError format IMAGE_KERNEL_SIZE */
  allocate(pages: number): Allocation {
    if (pages > this.#pages - this.#used) {
      throw formatError('IMAGE_KERNEL_SIZE', 'the SVSM kernel leaves too little of its memory', {
        facts: [
          ['pages wanted', pages],
          ['pages left', this.#pages - this.#used],
        ],
        mend: 'strip the kernel (objcopy --strip-unneeded), or build it for release',
      });
    }
    const offset = this.#used * IGVM_PAGE_BYTES;
    this.#used += pages;
    return { gpa: this.gpa + offset, vaddr: this.#vaddr + BigInt(offset) };
  }
}
