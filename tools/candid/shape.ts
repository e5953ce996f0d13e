import { IDL, idlLabelToId } from '@dfinity/candid';
import { formatError } from '../errors.ts';
import type { CvmError } from '../errors.ts';
import { OPCODE } from './types.ts';
import type { CandidMessage, TypeRef, WireField } from './types.ts';

/**
 * The part of a Candid type that is read. A record may have other fields on the wire and a variant other tags; what is
 * named here must have exactly this type there.
 */
export type Shape =
  | 'nat8'
  | 'nat64'
  | 'int32'
  | 'text'
  | { readonly opt: Shape }
  | { readonly vec: Shape }
  | { readonly record: Readonly<Record<string, Shape>> }
  | { readonly variant: Readonly<Record<string, Shape>> };

const MEND =
  'the interface of the canister changed, or this is no answer of it: ask for a newer version of this tool';

const PRIMITIVES = { nat8: IDL.Nat8, nat64: IDL.Nat64, int32: IDL.Int32, text: IDL.Text } as const;

/** The same type for the decoder of `@dfinity/candid`. */
export function idlType(shape: Shape): IDL.Type {
  if (typeof shape === 'string') return PRIMITIVES[shape];
  if ('opt' in shape) return IDL.Opt(idlType(shape.opt));
  if ('vec' in shape) return IDL.Vec(idlType(shape.vec));
  const fields = (members: Readonly<Record<string, Shape>>): Record<string, IDL.Type> =>
    Object.fromEntries(Object.entries(members).map(([name, member]) => [name, idlType(member)]));
  return 'record' in shape ? IDL.Record(fields(shape.record)) : IDL.Variant(fields(shape.variant));
}

/**
 * Demands that what the wire type names as `shape` does has the type that `shape` gives it. Candid's subtyping turns an `opt`
 * of another type into null without a word; here it is refused. An `opt` field may be missing.
 *
 * @param path names the value in errors
 * @throws CvmError format CANDID_TYPE
 */
export function checkShape(message: CandidMessage, ref: TypeRef, shape: Shape, path: string): void {
  const entry = message.table[ref];
  if (typeof shape === 'string') {
    if (ref !== OPCODE[shape]) throw wrongType(message, ref, shape, path);
  } else if ('opt' in shape) {
    if (entry?.kind !== 'opt') throw wrongType(message, ref, 'opt', path);
    checkShape(message, entry.of, shape.opt, path);
  } else if ('vec' in shape) {
    if (entry?.kind !== 'vec') throw wrongType(message, ref, 'vec', path);
    checkShape(message, entry.of, shape.vec, `${path}[]`);
  } else {
    const kind = 'record' in shape ? 'record' : 'variant';
    if (entry?.kind !== kind) throw wrongType(message, ref, kind, path);
    const members = 'record' in shape ? shape.record : shape.variant;
    for (const [name, member] of Object.entries(members))
      checkMember(message, entry.fields, name, member, path, kind);
  }
}

function checkMember(
  message: CandidMessage,
  fields: readonly WireField[],
  name: string,
  shape: Shape,
  path: string,
  kind: 'record' | 'variant',
): void {
  const id = idlLabelToId(name);
  const field = fields.find((candidate) => candidate.id === id);
  if (field !== undefined) {
    checkShape(message, field.type, shape, `${path}.${name}`);
  } else if (kind === 'record' && (typeof shape === 'string' || !('opt' in shape))) {
    throw formatError('CANDID_TYPE', `${path} has no field ${name}`, {
      facts: [
        ['field', name],
        ['fields there', `${fields.length}`],
      ],
      mend: MEND,
    });
  }
}

/** A wire type in one word or two, for errors. */
export function wireTypeName(message: CandidMessage, ref: TypeRef): string {
  const entry = message.table[ref];
  if (entry === undefined) {
    return Object.entries(OPCODE).find(([, opcode]) => opcode === ref)?.[0] ?? `type ${ref}`;
  }
  if (entry.kind !== 'opt' && entry.kind !== 'vec') return entry.kind;
  const inner = message.table[entry.of];
  return `${entry.kind} ${inner === undefined ? wireTypeName(message, entry.of) : inner.kind}`;
}

function wrongType(message: CandidMessage, ref: TypeRef, expected: string, path: string): CvmError {
  return formatError('CANDID_TYPE', `${path} has another type than the governance canister gives it`, {
    facts: [
      ['expected', expected],
      ['found', wireTypeName(message, ref)],
    ],
    mend: MEND,
  });
}
