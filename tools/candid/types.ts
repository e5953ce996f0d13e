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

/** A message: the types that it says its values have, and these values, one for each type. */
export interface CandidMessage {
  readonly table: readonly TableEntry[];
  readonly types: readonly TypeRef[];
  readonly values: readonly CandidValue[];
}

/** A value with everything that the wire says about it: names of fields are not on the wire, their hashes are. */
export type CandidValue =
  | { readonly kind: 'null' | 'reserved' }
  | { readonly kind: 'bool'; readonly value: boolean }
  /** nat, int and all their fixed widths. */
  | { readonly kind: 'integer'; readonly value: bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'principal' | 'service'; readonly bytes: Uint8Array }
  | { readonly kind: 'func'; readonly bytes: Uint8Array; readonly method: string }
  /** vec nat8. */
  | { readonly kind: 'blob'; readonly bytes: Uint8Array }
  | { readonly kind: 'opt'; readonly value: CandidValue | null }
  | { readonly kind: 'vec'; readonly items: readonly CandidValue[] }
  | { readonly kind: 'record'; readonly fields: readonly CandidField[] }
  | { readonly kind: 'variant'; readonly chosen: CandidField };

export interface CandidField {
  /** The 32-bit hash of the field's name, or its number. */
  readonly id: number;
  readonly value: CandidValue;
}
