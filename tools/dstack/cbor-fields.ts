import { cborKind, isCborArray, isCborMap, type CborMap, type CborValue } from '../cbor/value.ts';
import { formatError, type CvmError } from '../errors.ts';

/** The fields of a CBOR map, taken by name and type: what a document of measurements is read with. */
export class CborFields {
  readonly #map: CborMap;
  readonly #what: string;

  private constructor(map: CborMap, what: string) {
    this.#map = map;
    this.#what = what;
  }

  /** @throws CvmError format MATERIAL_FIELD */
  static of(value: CborValue, what: string): CborFields {
    if (isCborMap(value)) return new CborFields(value, what);
    throw fieldError(what, 'is not a map', cborKind(value));
  }

  /** @throws CvmError format MATERIAL_VERSION */
  requireVersion(expected: bigint): void {
    const found = this.#take('version');
    if (found === expected) return;
    throw formatError('MATERIAL_VERSION', `${this.#what} has a version that is not read`, {
      facts: [
        ['expected', expected],
        ['found', typeof found === 'bigint' ? found : cborKind(found)],
      ],
    });
  }

  text(key: string): string {
    const value = this.#take(key);
    if (typeof value === 'string') return value;
    throw this.#wrong(key, 'a text string', value);
  }

  bytes(key: string, length?: number): Uint8Array {
    const value = this.#take(key);
    if (value instanceof Uint8Array && (length === undefined || value.length === length)) return value;
    throw this.#wrong(key, length === undefined ? 'a byte string' : `${length} bytes`, value);
  }

  u32(key: string): number {
    const value = this.#take(key);
    if (typeof value === 'bigint' && value >= 0n && value < 1n << 32n) return Number(value);
    throw this.#wrong(key, 'an unsigned integer of 32 bits', value);
  }

  map(key: string): CborFields {
    const value = this.#take(key);
    if (isCborMap(value)) return new CborFields(value, `${this.#what}, ${key}`);
    throw this.#wrong(key, 'a map', value);
  }

  list(key: string, limit: number): CborFields[] {
    const value = this.#take(key);
    if (!isCborArray(value) || value.length > limit)
      throw this.#wrong(key, `an array of at most ${limit}`, value);
    return value.map((item, i) => CborFields.of(item, `${this.#what}, ${key}[${i}]`));
  }

  #take(key: string): CborValue {
    if (this.#map.has(key)) return this.#map.get(key);
    throw fieldError(this.#what, `has no ${key}`, [...this.#map.keys()].join(', '));
  }

  #wrong(key: string, expected: string, value: CborValue): CvmError {
    return fieldError(this.#what, `has a ${key} that is not ${expected}`, cborKind(value));
  }
}

function fieldError(what: string, problem: string, found: string): CvmError {
  return formatError('MATERIAL_FIELD', `${what} ${problem}`, {
    facts: [['found', found]],
    mend: 'the document is of another version, or damaged: take it from its bundle',
  });
}
