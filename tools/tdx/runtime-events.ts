import { concatBytes, equalBytes } from '../bytes/compare.ts';
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { formatError, mismatchError } from '../errors.ts';
import { replay } from './register.ts';

/** The event type under which a running guest of dstack extends RTMR3. */
export const RUNTIME_EVENT_TYPE = 0x0800_0001;

/** An event of a running guest. */
export interface RuntimeEvent {
  readonly name: string;
  readonly payload: Uint8Array;
  /** How its digest is made; absent in a log means 1. */
  readonly version: 1 | 2;
  /** As the log states it; newer guests leave it empty. */
  readonly statedDigest: Uint8Array | undefined;
}

/**
 * The digest of a runtime event, 48 bytes.
 *
 *   version 1   u32 type (little-endian), ":", name, ":", payload
 *   version 2   the canonical JSON text {"name":…,"payload":"<hex>","type":134217729}
 */
export function runtimeDigest(event: Pick<RuntimeEvent, 'name' | 'payload' | 'version'>): Uint8Array {
  if (event.version === 1) {
    const type = Uint8Array.of(1, 0, 0, 8);
    return digestBytes('sha384', concatBytes(type, utf8Bytes(`:${event.name}:`), event.payload));
  }
  // A lone surrogate has no UTF-8, so canonical JSON has no text for it.
  if (!event.name.isWellFormed()) {
    throw formatError('RUNTIME_EVENT_NAME', 'the name of a runtime event is no well-formed text', {
      facts: [['name', event.name]],
      mend: 'the log is damaged: give the one that came with the quote',
    });
  }
  const text = `{"name":${JSON.stringify(event.name)},"payload":"${bytesToHex(event.payload)}","type":${RUNTIME_EVENT_TYPE}}`;
  return digestBytes('sha384', utf8Bytes(text));
}

/**
 * RTMR3 from the events of a log: always from name and payload, never from what the log states.
 * @throws CvmError mismatch RUNTIME_EVENT_DIGEST when a stated digest is another; format RUNTIME_EVENT_NAME
 */
export function replayRuntime(events: readonly RuntimeEvent[]): Uint8Array {
  return replay(
    events.map((event, index) => {
      const digest = runtimeDigest(event);
      if (event.statedDigest === undefined || equalBytes(event.statedDigest, digest)) return digest;
      throw mismatchError(
        'RUNTIME_EVENT_DIGEST',
        'an event of RTMR3 does not have the digest that the log states',
        {
          facts: [
            ['event', `${index}, ${event.name}`],
            ['stated', bytesToHex(event.statedDigest)],
            ['computed', bytesToHex(digest)],
          ],
          mend: 'name or payload in the log were changed: do not believe the log',
        },
      );
    }),
  );
}
