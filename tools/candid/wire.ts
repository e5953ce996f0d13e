import { CandidBytes } from './bytes.ts';
import { OPCODE } from './types.ts';
import type { CandidMessage, TableEntry, TypeRef, WireField } from './types.ts';
import { ValueReader } from './value.ts';

/**
 * Reads a whole Candid message, types and values. What passes can also be handed to a decoder that trusts its input:
 * every length lies inside the message, nothing nests deep, no list of values without bytes is long, and nothing is left
 * over.
 *
 * @throws CvmError format CANDID_MALFORMED, with the byte offset as `at`
 */
export function readCandid(bytes: Uint8Array, what = 'reply'): CandidMessage {
  const reader = new HeaderReader(bytes, what);
  const header = reader.header();
  reader.checkRefs(header);
  const values = new ValueReader(reader, header.table);
  const message = { ...header, values: header.types.map((type) => values.read(type, 0)) };
  if (reader.at !== bytes.length) throw reader.error('bytes are left over after the last value');
  return message;
}

type Header = Omit<CandidMessage, 'values'>;

class HeaderReader extends CandidBytes {
  header(): Header {
    if (latin1(this.take(4)) !== 'DIDL') throw this.error('it does not start with DIDL');
    const table = this.#list(() => this.#tableEntry());
    return { table, types: this.#list(() => this.signed()) };
  }

  #tableEntry(): TableEntry {
    const opcode = this.signed();
    switch (opcode) {
      case OPCODE.opt:
        return { kind: 'opt', of: this.signed() };
      case OPCODE.vec:
        return { kind: 'vec', of: this.signed() };
      case OPCODE.record:
        return { kind: 'record', fields: this.#fields() };
      case OPCODE.variant:
        return { kind: 'variant', fields: this.#fields() };
      case OPCODE.func:
        this.#list(() => this.signed());
        this.#list(() => this.signed());
        this.#list(() => this.unsigned());
        return { kind: 'func' };
      case OPCODE.service:
        this.#list(() => {
          this.text();
          return this.signed();
        });
        return { kind: 'service' };
      default:
        throw this.error(`type opcode ${opcode} is unknown`);
    }
  }

  #fields(): WireField[] {
    let previous = -1;
    return this.#list(() => {
      const id = this.unsigned();
      if (id <= previous || id > 0xffffffff) throw this.error('field ids do not ascend within 32 bits');
      previous = id;
      return { id, type: this.signed() };
    });
  }

  /** Every reference must lead to a table entry or a primitive type, before any value is looked at. */
  checkRefs({ table, types }: Header): void {
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

  /** A list in the header: every element takes a byte or more there. */
  #list<T>(element: () => T): T[] {
    const count = this.unsigned();
    if (count > this.left) throw this.error('a list is longer than the message');
    return Array.from({ length: count }, element);
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
