import { digestBytes } from '../bytes/digest.ts';
import { concatBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { bug } from '../errors.ts';

/** SHA-384: the length of every register and event digest. */
export const REGISTER_BYTES = 48;

/** One event of a register: what was measured, under the name that an explanation gives it. */
export interface MeasuredEvent {
  /** Stable, as diagnoses print it: `td_hob`, `acpi_tables`. */
  readonly name: string;
  /** TCG event type as the firmware's log has it. */
  readonly type: number;
  readonly digest: Uint8Array;
  /** What went into the digest, in words. */
  readonly input: string;
}

/** RTMR := SHA-384(RTMR || digest). */
export function extendRegister(register: Uint8Array, digest: Uint8Array): Uint8Array {
  if (register.length !== REGISTER_BYTES || digest.length !== REGISTER_BYTES) {
    throw bug(`a register of ${register.length} bytes extended by ${digest.length}`);
  }
  return digestBytes('sha384', concatBytes(register, digest));
}

/** The register after these digests; it starts as 48 zero bytes. */
export function replay(digests: readonly Uint8Array[]): Uint8Array {
  return digests.reduce(extendRegister, new Uint8Array(REGISTER_BYTES));
}

export function replayEvents(events: readonly MeasuredEvent[]): Uint8Array {
  return replay(events.map(({ digest }) => digest));
}

/** An event over bytes at hand. */
export function measuredEvent(name: string, type: number, bytes: Uint8Array, input: string): MeasuredEvent {
  return { name, type, digest: digestBytes('sha384', bytes), input };
}

/** An event as a line of JSON. */
export function eventJson(event: MeasuredEvent): Readonly<Record<string, string>> {
  return {
    name: event.name,
    type: `0x${event.type.toString(16)}`,
    digest: bytesToHex(event.digest),
    input: event.input,
  };
}
