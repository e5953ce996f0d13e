import { hexToBytes } from '../bytes/hex.ts';
import { formatError, type CvmError } from '../errors.ts';
import { REGISTER_BYTES } from '../tdx/register.ts';
import { RUNTIME_EVENT_TYPE, type RuntimeEvent } from '../tdx/runtime-events.ts';
import { asObject, jsonKind, parseJson, type JsonObject } from './strict-json.ts';

/** An event of RTMR0 to RTMR2 as the firmware logged it. */
export interface LoggedEvent {
  readonly type: number;
  /** 48 bytes. */
  readonly digest: Uint8Array;
  readonly name: string;
}

export interface EventLog {
  /** By register: 0, 1, 2. */
  readonly firmware: readonly [readonly LoggedEvent[], readonly LoggedEvent[], readonly LoggedEvent[]];
  /** RTMR3. */
  readonly runtime: readonly RuntimeEvent[];
}

export const EVENT_LOG_LIMIT_BYTES = 16 << 20;
const EVENTS_LIMIT = 1 << 14;

/**
 * Reads dstack's event log: a JSON list of `{imr, event_type, digest, event, event_payload, version?}`, bytes as hex.
 *
 * @throws CvmError format EVENT_LOG_SHAPE | EVENT_LOG_FIELD, HEX_*, those of parseJson
 */
export function readEventLog(bytes: Uint8Array): EventLog {
  const list = parseJson(bytes, 'the event log');
  if (!Array.isArray(list) || list.length > EVENTS_LIMIT) {
    throw formatError('EVENT_LOG_SHAPE', `the event log is not a list of at most ${EVENTS_LIMIT} events`, {
      facts: [['found', jsonKind(list)]],
      mend: 'give the event_log of a dstack quote',
    });
  }
  const firmware: [LoggedEvent[], LoggedEvent[], LoggedEvent[]] = [[], [], []];
  const runtime: RuntimeEvent[] = [];
  for (const [index, item] of list.entries()) {
    const event = new EventFields(asObject(item, `event ${index}`), index);
    const imr = event.number('imr', 3);
    const type = event.number('event_type', 2 ** 32 - 1);
    const digest = event.hex('digest');
    if (imr === 3) {
      if (type !== RUNTIME_EVENT_TYPE)
        throw event.wrong('event_type', `${type}`, `${RUNTIME_EVENT_TYPE} in RTMR3`);
      runtime.push(runtimeEvent(event, digest));
      continue;
    }
    if (digest.length !== REGISTER_BYTES) throw event.wrong('digest', `${digest.length} bytes`, '48 bytes');
    firmware[imr as 0 | 1 | 2].push({ type, digest, name: event.text('event') });
  }
  return { firmware, runtime };
}

function runtimeEvent(event: EventFields, digest: Uint8Array): RuntimeEvent {
  const version = event.number('version', 2, 1);
  if (version === 0) throw event.wrong('version', '0', '1 or 2');
  if (digest.length !== 0 && digest.length !== REGISTER_BYTES) {
    throw event.wrong('digest', `${digest.length} bytes`, '48 bytes, or none');
  }
  return {
    name: event.text('event'),
    payload: event.hex('event_payload'),
    version: version === 2 ? 2 : 1,
    statedDigest: digest.length === 0 ? undefined : digest,
  };
}

class EventFields {
  readonly #object: JsonObject;
  readonly #index: number;

  constructor(object: JsonObject, index: number) {
    this.#object = object;
    this.#index = index;
  }

  number(key: string, max: number, absent?: number): number {
    const value = Object.hasOwn(this.#object, key) ? this.#object[key] : absent;
    if (typeof value === 'number' && value >= 0 && value <= max) return value;
    throw this.wrong(key, typeof value === 'number' ? `${value}` : jsonKind(value), `0 to ${max}`);
  }

  text(key: string): string {
    const value = Object.hasOwn(this.#object, key) ? this.#object[key] : '';
    if (typeof value === 'string') return value;
    throw this.wrong(key, jsonKind(value), 'a string');
  }

  hex(key: string): Uint8Array {
    return hexToBytes(this.text(key), `${key} of event ${this.#index}`);
  }

  wrong(key: string, found: string, expected: string): CvmError {
    return formatError(
      'EVENT_LOG_FIELD',
      `event ${this.#index} of the log has a ${key} that it cannot have`,
      {
        facts: [
          ['found', found],
          ['expected', expected],
        ],
      },
    );
  }
}
