import { utf8FromBytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import type { CvmError } from '../errors.ts';

/**
 * The items that Candid messages are written in: LEB128 numbers, flags, texts, principals. Nothing is read outside the message.
 * Source: dfinity/candid, "Candid Specification", section "Binary Format".
 *
 * Every method throws CvmError format CANDID_MALFORMED, with the byte offset as `at`.
 */
export class CandidBytes {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #what: string;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** Bytes behind the place that is read. */
  get left(): number {
    return this.#bytes.length - this.at;
  }

  error(problem: string): CvmError {
    return formatError('CANDID_MALFORMED', `the ${this.#what} is not a well-formed Candid message`, {
      facts: [
        ['problem', problem],
        ['at', `byte ${this.at} of ${this.#bytes.length}`],
      ],
      mend: 'no canister answers so: fetch it again',
    });
  }

  /** The flag in front of a reference, which says that it is not opaque. */
  expectOne(): void {
    if (this.byte() !== 1) throw this.error('a reference is opaque');
  }

  flag(): boolean {
    const byte = this.byte();
    if (byte > 1) throw this.error(`a flag is ${byte}, not 0 or 1`);
    return byte === 1;
  }

  text(): string {
    const bytes = this.take(this.unsigned());
    try {
      return utf8FromBytes(bytes);
    } catch {
      throw this.error('a text is not valid UTF-8');
    }
  }

  byte(): number {
    return this.take(1)[0] as number;
  }

  /** A view of the next bytes. */
  take(count: number): Uint8Array {
    if (count > this.left) throw this.error(`${count} bytes are needed, fewer are left`);
    const taken = this.#bytes.subarray(this.at, this.at + count);
    this.at += count;
    return taken;
  }

  /** Unsigned LEB128 up to 2^53: lengths, counts, field ids. */
  unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (!Number.isSafeInteger(value) || scale > Number.MAX_SAFE_INTEGER) {
        throw this.error('a number is too large');
      }
      if ((byte & 0x80) === 0) return value;
    }
  }

  /** Signed LEB128 up to 32 bits: type references and opcodes. */
  signed(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) !== 0) continue;
      return (byte & 0x40) === 0 ? value : value - 2 ** (shift + 7);
    }
    throw this.error('a type reference is too large');
  }

  /** A copy of its bytes. */
  principal(): Uint8Array {
    this.expectOne();
    return new Uint8Array(this.take(this.unsigned()));
  }
}
