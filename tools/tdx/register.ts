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

/** An event of which nobody can say the digest beforehand. */
export interface UnknownEvent extends Omit<MeasuredEvent, 'digest'> {
  readonly digest: undefined;
}
export type PredictedEvent = MeasuredEvent | UnknownEvent;

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

/** undefined when the digest of an event is. */
export function replayEvents(events: readonly PredictedEvent[]): Uint8Array | undefined {
  const digests: Uint8Array[] = [];
  for (const { digest } of events) {
    if (digest === undefined) return undefined;
    digests.push(digest);
  }
  return replay(digests);
}

/** An event over bytes at hand. */
export function measuredEvent(name: string, type: number, bytes: Uint8Array, input: string): MeasuredEvent {
  return { name, type, digest: digestBytes('sha384', bytes), input };
}

/** An event as a line of JSON. */
export function eventJson(event: PredictedEvent): Readonly<Record<string, string | null>> {
  return {
    name: event.name,
    type: `0x${event.type.toString(16)}`,
    digest: event.digest === undefined ? null : bytesToHex(event.digest),
    input: event.input,
  };
}
