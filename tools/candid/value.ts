import type { CandidBytes } from './bytes.ts';
import { OPCODE } from './types.ts';
import type { CandidValue, TableEntry, TypeRef } from './types.ts';

/** Values in one message, counting those that take no bytes: what keeps a small message from costing hours. */
const LIMIT_VALUES = 1 << 20;
const LIMIT_DEPTH = 256;
/** nat and int have no limit of their own; what is read here are counts and amounts. */
const LIMIT_NUMBER_BYTES = 64;

/** Bytes and sign of the integers whose values all have the same length. */
const FIXED_INTEGERS: ReadonlyMap<TypeRef, { readonly width: number; readonly signed: boolean }> = new Map([
  [OPCODE.nat8, { width: 1, signed: false }],
  [OPCODE.nat16, { width: 2, signed: false }],
  [OPCODE.nat32, { width: 4, signed: false }],
  [OPCODE.nat64, { width: 8, signed: false }],
  [OPCODE.int8, { width: 1, signed: true }],
  [OPCODE.int16, { width: 2, signed: true }],
  [OPCODE.int32, { width: 4, signed: true }],
  [OPCODE.int64, { width: 8, signed: true }],
]);

/** Reads values of types whose references were checked. All errors are CANDID_MALFORMED. */
export class ValueReader {
  #values = 0;
  readonly #bytes: CandidBytes;
  readonly #table: readonly TableEntry[];

  constructor(bytes: CandidBytes, table: readonly TableEntry[]) {
    this.#bytes = bytes;
    this.#table = table;
  }

  read(type: TypeRef, depth: number): CandidValue {
    const bytes = this.#bytes;
    if (++this.#values > LIMIT_VALUES) throw bytes.error(`it holds more than ${LIMIT_VALUES} values`);
    if (depth > LIMIT_DEPTH) throw bytes.error(`it nests deeper than ${LIMIT_DEPTH} levels`);
    const entry = this.#table[type];
    if (entry === undefined) return this.#primitive(type);
    switch (entry.kind) {
      case 'opt':
        return { kind: 'opt', value: bytes.flag() ? this.read(entry.of, depth + 1) : null };
      case 'vec':
        return this.#vec(entry.of, depth);
      case 'record': {
        const fields = entry.fields.map(({ id, type: of }) => ({ id, value: this.read(of, depth + 1) }));
        return { kind: 'record', fields };
      }
      case 'variant': {
        const chosen = entry.fields[bytes.unsigned()];
        if (chosen === undefined) throw bytes.error('a variant has a tag that its type does not have');
        return { kind: 'variant', chosen: { id: chosen.id, value: this.read(chosen.type, depth + 1) } };
      }
      case 'func':
        bytes.expectOne();
        return { kind: 'func', bytes: bytes.principal(), method: bytes.text() };
      case 'service':
        return { kind: 'service', bytes: bytes.principal() };
    }
  }

  #vec(of: TypeRef, depth: number): CandidValue {
    const count = this.#bytes.unsigned();
    if (of === OPCODE.nat8) return { kind: 'blob', bytes: new Uint8Array(this.#bytes.take(count)) };
    const items: CandidValue[] = [];
    for (let i = 0; i < count; i++) items.push(this.read(of, depth + 1));
    return { kind: 'vec', items };
  }

  #primitive(type: TypeRef): CandidValue {
    const bytes = this.#bytes;
    const fixed = FIXED_INTEGERS.get(type);
    if (fixed !== undefined) return { kind: 'integer', value: this.#fixedInteger(fixed) };
    switch (type) {
      case OPCODE.null:
        return { kind: 'null' };
      case OPCODE.reserved:
        return { kind: 'reserved' };
      case OPCODE.bool:
        return { kind: 'bool', value: bytes.flag() };
      case OPCODE.text:
        return { kind: 'text', value: bytes.text() };
      case OPCODE.principal:
        return { kind: 'principal', bytes: bytes.principal() };
      case OPCODE.nat:
        return { kind: 'integer', value: this.#leb128(false) };
      case OPCODE.int:
        return { kind: 'integer', value: this.#leb128(true) };
      case OPCODE.float32:
        return { kind: 'float', value: viewOf(bytes.take(4)).getFloat32(0, true) };
      case OPCODE.float64:
        return { kind: 'float', value: viewOf(bytes.take(8)).getFloat64(0, true) };
      default:
        throw bytes.error('a value has the type that has no values');
    }
  }

  #fixedInteger({ width, signed }: { readonly width: number; readonly signed: boolean }): bigint {
    let value = 0n;
    for (const [i, byte] of this.#bytes.take(width).entries()) value |= BigInt(byte) << BigInt(8 * i);
    return signed ? BigInt.asIntN(8 * width, value) : value;
  }

  #leb128(signed: boolean): bigint {
    let value = 0n;
    for (let i = 0; i < LIMIT_NUMBER_BYTES; i++) {
      const byte = this.#bytes.byte();
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if ((byte & 0x80) === 0) return signed ? BigInt.asIntN(7 * (i + 1), value) : value;
    }
    throw this.#bytes.error('a number is too large');
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
