/**
 * Gives the memory of a buffer back at once: of what is not on its heap, V8 lets some 60 MB die before it looks. Nothing
 * may have a use for its bytes any more, through other views either.
 */
export function freeBuffer(buffer: ArrayBuffer): void {
  buffer.transfer(0);
}
