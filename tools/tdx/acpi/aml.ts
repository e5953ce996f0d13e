import { concatBytes } from '../../bytes/compare.ts';
import { guidToBytes } from '../../bytes/guid.ts';
import { bug } from '../../errors.ts';

/**
 * AML, the byte code of ACPI tables: one function a term, named as the ACPI specification names it (6.5, section 20).
 * A number stands for an integer, a text for a name; other terms are bytes.
 */
export type Aml = Uint8Array;
export type Term = Aml | number | bigint | string;

const bytes = (...values: readonly number[]): Aml => Uint8Array.from(values);

function littleEndian(value: number | bigint, width: number): Aml {
  const out = new Uint8Array(width);
  for (let i = 0, rest = BigInt(value); i < width; i++, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
}

/** A term as bytes. */
export function encode(term: Term): Aml {
  if (term instanceof Uint8Array) return term;
  return typeof term === 'string' ? nameString(term) : integer(term);
}

export function sequence(terms: readonly Term[]): Aml {
  return concatBytes(...terms.map(encode));
}

/** The shortest of the integer forms; Ones is not used. */
export function integer(value: number | bigint): Aml {
  const number = BigInt(value);
  if (number < 0n || number >= 1n << 64n) throw bug(`an AML integer of ${number}`);
  if (number < 2n) return bytes(Number(number));
  const forms = [
    [0x0a, 1],
    [0x0b, 2],
    [0x0c, 4],
    [0x0e, 8],
  ] as const;
  const [opcode, width] = forms.find(([, size]) => number < 1n << BigInt(8 * size)) ?? forms[3];
  return concatBytes(bytes(opcode), littleEndian(number, width));
}

export function text(value: string): Aml {
  return concatBytes(bytes(0x0d), Buffer.from(value, 'latin1'), bytes(0));
}

/** `\` for the root; segments separated by dots, filled up with `_`. */
export function nameString(path: string): Aml {
  const isRooted = path.startsWith('\\');
  const segments = (isRooted ? path.slice(1) : path).split('.').filter((segment) => segment !== '');
  if (segments.some((segment) => !/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)))
    throw bug(`an AML name of ${path}`);
  const prefix =
    segments.length === 0
      ? bytes(0)
      : segments.length === 1
        ? bytes()
        : segments.length === 2
          ? bytes(0x2e)
          : bytes(0x2f, segments.length);
  const names = segments.map((segment) => Buffer.from(segment.padEnd(4, '_'), 'latin1'));
  return concatBytes(bytes(...(isRooted ? [0x5c] : [])), prefix, ...names);
}

/** `PNP0A08` as the compressed 32-bit form. */
export function eisaId(id: string): Aml {
  const letter = (at: number): number => id.charCodeAt(at) - 0x40;
  const value = (letter(0) << 26) | (letter(1) << 21) | (letter(2) << 16) | Number.parseInt(id.slice(3), 16);
  return concatBytes(bytes(0x0c), littleEndian(value >>> 0, 4).reverse());
}

/** Length of a body, its own bytes included. */
export function packageLength(bodyBytes: number): Aml {
  if (bodyBytes + 1 < 0x40) return bytes(bodyBytes + 1);
  for (const width of [2, 3, 4]) {
    const total = bodyBytes + width;
    if (total >= 2 ** (4 + 8 * (width - 1))) continue;
    return concatBytes(bytes(((width - 1) << 6) | (total & 15)), littleEndian(total >>> 4, width - 1));
  }
  throw bug(`an AML package of ${bodyBytes} bytes`);
}

function wrapped(opcode: readonly number[], body: readonly Term[]): Aml {
  const content = sequence(body);
  return concatBytes(bytes(...opcode), packageLength(content.length), content);
}

/** Objects. */
export const buffer = (content: Uint8Array): Aml => wrapped([0x11], [integer(content.length), content]);
export const uuid = (guid: string): Aml => buffer(guidToBytes(guid));
/** `count` elements, of which the given ones are set. */
export const pack = (count: number, elements: readonly Term[] = []): Aml =>
  wrapped([0x12], [bytes(count), ...elements]);
export const packageOf = (...elements: readonly Term[]): Aml => pack(elements.length, elements);

export const local = (index: number): Aml => bytes(0x60 + index);
export const arg = (index: number): Aml => bytes(0x68 + index);
export const DEBUG: Aml = bytes(0x5b, 0x31);
/** The target of an operator whose result is used in place. */
const NOWHERE = bytes(0);

/** Declarations. */
export const name = (path: string, value: Term): Aml => sequence([bytes(0x08), path, value]);
export const scope = (path: string, ...body: readonly Term[]): Aml => wrapped([0x10], [path, ...body]);
export const device = (path: string, ...body: readonly Term[]): Aml => wrapped([0x5b, 0x82], [path, ...body]);
export const processor = (path: string, id: number, ...body: readonly Term[]): Aml =>
  wrapped([0x5b, 0x83], [path, bytes(id), littleEndian(0, 4), bytes(0), ...body]);
export const method = (path: string, argCount: number, ...body: readonly Term[]): Aml =>
  wrapped([0x14], [path, bytes(argCount), ...body]);
/** A method that one thread at a time runs. */
export const serialized = (path: string, argCount: number, ...body: readonly Term[]): Aml =>
  wrapped([0x14], [path, bytes(argCount + 8), ...body]);
export const mutex = (path: string): Aml => sequence([bytes(0x5b, 0x01), path, bytes(0)]);

const SPACES = { io: 1, pciConfig: 2 } as const;
export const opRegion = (path: string, space: keyof typeof SPACES, offset: number, length: number): Aml =>
  sequence([bytes(0x5b, 0x80), path, bytes(SPACES[space]), offset, length]);

const ACCESS = { byte: 1, dword: 3 } as const;
const UPDATE = { keep: 0, zeros: 2 } as const;
/** `NAME:bits`, or `gap:bits`. */
export function field(
  path: string,
  access: keyof typeof ACCESS,
  update: keyof typeof UPDATE,
  entries: readonly string[],
): Aml {
  const encoded = entries.map((entry) => {
    const [label = '', count = ''] = entry.split(':');
    const bits = Number(count);
    const length = bits < 64 ? bytes(bits) : bytes(0x40 + (bits & 15), bits >> 4);
    return concatBytes(label === 'gap' ? bytes(0) : nameString(label), length);
  });
  return wrapped([0x5b, 0x81], [path, bytes(ACCESS[access] + 32 * UPDATE[update]), ...encoded]);
}

/** Statements. */
export const store = (target: Term, value: Term): Aml => sequence([bytes(0x70), value, target]);
export const increment = (target: Term): Aml => sequence([bytes(0x75), target]);
export const acquire = (path: string): Aml => sequence([bytes(0x5b, 0x23), path, bytes(0xff, 0xff)]);
export const release = (path: string): Aml => sequence([bytes(0x5b, 0x27), path]);
export const notify = (object: string, value: Term): Aml => sequence([bytes(0x86), object, value]);
export const createDword = (source: Term, offset: number, path: string): Aml =>
  sequence([bytes(0x8a), source, offset, path]);
export const when = (condition: Term, ...body: readonly Term[]): Aml => wrapped([0xa0], [condition, ...body]);
export const otherwise = (...body: readonly Term[]): Aml => wrapped([0xa1], body);
export const whilst = (condition: Term, ...body: readonly Term[]): Aml =>
  wrapped([0xa2], [condition, ...body]);
export const giveBack = (value: Term): Aml => sequence([bytes(0xa4), value]);
export const BREAK: Aml = bytes(0xa5);
export const call = (path: string, ...args: readonly Term[]): Aml => sequence([path, ...args]);

/** Operators; the target is where the result goes besides. */
export const subtract = (a: Term, b: Term, target: Term = NOWHERE): Aml =>
  sequence([bytes(0x74), a, b, target]);
export const shiftLeft = (a: Term, b: Term, target: Term = NOWHERE): Aml =>
  sequence([bytes(0x79), a, b, target]);
export const and = (a: Term, b: Term, target: Term = NOWHERE): Aml => sequence([bytes(0x7b), a, b, target]);
export const or = (a: Term, b: Term, target: Term = NOWHERE): Aml => sequence([bytes(0x7d), a, b, target]);
export const dereference = (a: Term): Aml => sequence([bytes(0x83), a]);
export const sizeOf = (a: Term): Aml => sequence([bytes(0x87), a]);
export const index = (a: Term, at: Term): Aml => sequence([bytes(0x88), a, at, NOWHERE]);
export const logicalAnd = (a: Term, b: Term): Aml => sequence([bytes(0x90), a, b]);
export const logicalOr = (a: Term, b: Term): Aml => sequence([bytes(0x91), a, b]);
export const not = (a: Term): Aml => sequence([bytes(0x92), a]);
export const equal = (a: Term, b: Term): Aml => sequence([bytes(0x93), a, b]);
export const notEqual = (a: Term, b: Term): Aml => sequence([bytes(0x92, 0x93), a, b]);
export const less = (a: Term, b: Term): Aml => sequence([bytes(0x95), a, b]);
export const toBuffer = (a: Term, target: Term): Aml => sequence([bytes(0x96), a, target]);
export const toHexString = (a: Term, target: Term): Aml => sequence([bytes(0x98), a, target]);
