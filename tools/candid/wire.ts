import { utf8FromBytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import type { CvmError } from '../errors.ts';

/**
 * A reference to a type: 0 and above an index into the message's type table, below 0 the opcode of a primitive type.
 * Source: dfinity/candid, "Candid Specification", section "Binary Format".
 */
export type TypeRef = number;

/** The opcodes of the types that messages here are made of. */
export const OPCODE = {
  null: -1,
  bool: -2,
  nat: -3,
  int: -4,
  nat8: -5,
  nat16: -6,
  nat32: -7,
  nat64: -8,
  int8: -9,
  int16: -10,
  int32: -11,
  int64: -12,
  float32: -13,
  float64: -14,
  text: -15,
  reserved: -16,
  empty: -17,
  opt: -18,
  vec: -19,
  record: -20,
  variant: -21,
  func: -22,
  service: -23,
  principal: -24,
} as const;

export interface WireField {
  /** The 32-bit hash of the field's name. */
  readonly id: number;
  readonly type: TypeRef;
}

export type TableEntry =
  | { readonly kind: 'opt' | 'vec'; readonly of: TypeRef }
  | { readonly kind: 'record' | 'variant'; readonly fields: readonly WireField[] }
  | { readonly kind: 'func' | 'service' };

/** The types that a message says its values have. */
export interface CandidMessage {
  readonly table: readonly TableEntry[];
  readonly types: readonly TypeRef[];
}

/** Values visited, counting those that take no bytes: what keeps a small message from costing hours. */
const LIMIT_VALUES = 1 << 20;
const LIMIT_DEPTH = 256;

/** Bytes of one value of the primitive types whose values all have the same length. */
const FIXED_BYTES: ReadonlyMap<TypeRef, number> = new Map([
  [OPCODE.nat8, 1],
  [OPCODE.nat16, 2],
  [OPCODE.nat32, 4],
  [OPCODE.nat64, 8],
  [OPCODE.int8, 1],
  [OPCODE.int16, 2],
  [OPCODE.int32, 4],
  [OPCODE.int64, 8],
  [OPCODE.float32, 4],
  [OPCODE.float64, 8],
]);

/**
 * Checks a whole Candid message, types and values, and gives back its types. What passes can be handed to a decoder
 * that trusts its input: every length lies inside the message, nothing nests deeper than {@link LIMIT_DEPTH}, no list of values without
 * bytes is long, and nothing is left over. The values themselves are left to that decoder.
 *
 * @throws CvmError format CANDID_MALFORMED, with the byte offset as `at`
 */
export function readCandid(bytes: Uint8Array, what = 'reply'): CandidMessage {
  const reader = new Reader(bytes, what);
  const message = reader.header();
  reader.checkRefs(message);
  for (const type of message.types) reader.skipValue(message.table, type, 0);
  if (reader.at !== bytes.length) throw reader.error('bytes are left over after the last value');
  return message;
}

class Reader {
  at = 0;
  #values = 0;
  readonly #bytes: Uint8Array;
  readonly #what: string;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  error(problem: string): CvmError {
    return formatError('CANDID_MALFORMED', `the ${this.#what} is not a well-formed Candid message`, {
      facts: [
        ['problem', problem],
        ['at', `byte ${this.at} of ${this.#bytes.length}`],
      ],
    });
  }

  header(): CandidMessage {
    if (latin1(this.#take(4)) !== 'DIDL') throw this.error('it does not start with DIDL');
    const table = this.#list(() => this.#tableEntry());
    return { table, types: this.#list(() => this.#signed()) };
  }

  #tableEntry(): TableEntry {
    const opcode = this.#signed();
    switch (opcode) {
      case OPCODE.opt:
        return { kind: 'opt', of: this.#signed() };
      case OPCODE.vec:
        return { kind: 'vec', of: this.#signed() };
      case OPCODE.record:
        return { kind: 'record', fields: this.#fields() };
      case OPCODE.variant:
        return { kind: 'variant', fields: this.#fields() };
      case OPCODE.func:
        this.#list(() => this.#signed());
        this.#list(() => this.#signed());
        this.#list(() => this.#unsigned());
        return { kind: 'func' };
      case OPCODE.service:
        this.#list(() => {
          this.#text();
          return this.#signed();
        });
        return { kind: 'service' };
      default:
        throw this.error(`type opcode ${opcode} is unknown`);
    }
  }

  #fields(): WireField[] {
    let previous = -1;
    return this.#list(() => {
      const id = this.#unsigned();
      if (id <= previous || id > 0xffffffff) throw this.error('field ids do not ascend within 32 bits');
      previous = id;
      return { id, type: this.#signed() };
    });
  }

  /** Every reference must lead to a table entry or a primitive type, before any value is looked at. */
  checkRefs({ table, types }: CandidMessage): void {
    const check = (ref: TypeRef): void => {
      const primitive = ref === OPCODE.principal || (ref < 0 && ref >= OPCODE.empty);
      if (!primitive && (ref < 0 || ref >= table.length)) throw this.error(`type ${ref} does not exist`);
    };
    types.forEach(check);
    for (const entry of table) {
      if (entry.kind === 'opt' || entry.kind === 'vec') check(entry.of);
      else if (entry.kind === 'record' || entry.kind === 'variant') {
        for (const field of entry.fields) check(field.type);
      }
    }
  }

  skipValue(table: readonly TableEntry[], type: TypeRef, depth: number): void {
    if (++this.#values > LIMIT_VALUES) throw this.error(`it holds more than ${LIMIT_VALUES} values`);
    if (depth > LIMIT_DEPTH) throw this.error(`it nests deeper than ${LIMIT_DEPTH} levels`);
    const entry = table[type];
    if (entry === undefined) {
      this.#skipPrimitive(type);
      return;
    }
    switch (entry.kind) {
      case 'opt':
        if (this.#flag()) this.skipValue(table, entry.of, depth + 1);
        return;
      case 'vec':
        this.#skipVec(table, entry.of, depth);
        return;
      case 'record':
        for (const field of entry.fields) this.skipValue(table, field.type, depth + 1);
        return;
      case 'variant': {
        const chosen = entry.fields[this.#unsigned()];
        if (chosen === undefined) throw this.error('a variant has a tag that its type does not have');
        this.skipValue(table, chosen.type, depth + 1);
        return;
      }
      case 'func':
        this.#expectOne();
        this.#skipPrincipal();
        this.#text();
        return;
      case 'service':
        this.#skipPrincipal();
    }
  }

  #skipVec(table: readonly TableEntry[], of: TypeRef, depth: number): void {
    const count = this.#unsigned();
    const fixed = FIXED_BYTES.get(of);
    if (fixed !== undefined) {
      this.#take(count * fixed);
      return;
    }
    for (let i = 0; i < count; i++) this.skipValue(table, of, depth + 1);
  }

  #skipPrimitive(type: TypeRef): void {
    const fixed = FIXED_BYTES.get(type);
    if (fixed !== undefined) this.#take(fixed);
    else if (type === OPCODE.bool) this.#flag();
    else if (type === OPCODE.text) this.#text();
    else if (type === OPCODE.principal) this.#skipPrincipal();
    else if (type === OPCODE.nat || type === OPCODE.int) while ((this.#byte() & 0x80) !== 0);
    else if (type === OPCODE.empty) throw this.error('a value has the type that has no values');
  }

  #skipPrincipal(): void {
    this.#expectOne();
    this.#take(this.#unsigned());
  }

  #expectOne(): void {
    if (this.#byte() !== 1) throw this.error('a reference is opaque');
  }

  #flag(): boolean {
    const byte = this.#byte();
    if (byte > 1) throw this.error(`a flag is ${byte}, not 0 or 1`);
    return byte === 1;
  }

  #text(): void {
    const bytes = this.#take(this.#unsigned());
    try {
      utf8FromBytes(bytes);
    } catch {
      throw this.error('a text is not valid UTF-8');
    }
  }

  /** A list in the header: every element takes a byte or more there. */
  #list<T>(element: () => T): T[] {
    const count = this.#unsigned();
    if (count > this.#bytes.length - this.at) throw this.error('a list is longer than the message');
    return Array.from({ length: count }, element);
  }

  #byte(): number {
    return this.#take(1)[0] as number;
  }

  #take(count: number): Uint8Array {
    if (count > this.#bytes.length - this.at) throw this.error(`${count} bytes are needed, fewer are left`);
    const taken = this.#bytes.subarray(this.at, this.at + count);
    this.at += count;
    return taken;
  }

  /** Unsigned LEB128 up to 2^53: lengths, counts, field ids. */
  #unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (!Number.isSafeInteger(value) || scale > Number.MAX_SAFE_INTEGER) {
        throw this.error('a number is too large');
      }
      if ((byte & 0x80) === 0) return value;
    }
  }

  /** Signed LEB128 up to 32 bits: type references and opcodes. */
  #signed(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) !== 0) continue;
      return (byte & 0x40) === 0 ? value : value - 2 ** (shift + 7);
    }
    throw this.error('a type reference is too large');
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
