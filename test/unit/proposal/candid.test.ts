import { IDL } from '@dfinity/candid';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../tools/bytes/compare.ts';
import { hexToBytes } from '../../../tools/bytes/hex.ts';
import { checkShape, wireTypeName } from '../../../tools/candid/shape.ts';
import type { Shape } from '../../../tools/candid/shape.ts';
import { readCandid } from '../../../tools/candid/wire.ts';
import { encodeLeb128 } from '../../../tools/nns/leb128.ts';
import { encodeProposalReply } from '../../nns/proposal-reply.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { expectRefusal } from '../../support/refusals.ts';

const DIDL = '4449444c';
const readHex = (hex: string) => readCandid(hexToBytes(DIDL + hex));
const encode = (type: IDL.Type, value: unknown): Uint8Array => new Uint8Array(IDL.encode([type], [value]));

describe('a well-formed message of every type passes', () => {
  const principal = { _isPrincipal: true, toUint8Array: () => Uint8Array.of(4), toText: () => '2vxsx-fae' };

  test.each<[string, IDL.Type, unknown]>([
    ['null', IDL.Null, null],
    ['bool', IDL.Bool, true],
    ['nat', IDL.Nat, 2n ** 70n],
    ['int', IDL.Int, -(2n ** 70n)],
    ['nat8', IDL.Nat8, 1],
    ['nat16', IDL.Nat16, 1],
    ['nat64', IDL.Nat64, 1n],
    ['int32', IDL.Int32, -1],
    ['float64', IDL.Float64, 1.5],
    ['text', IDL.Text, 'ü'],
    ['reserved', IDL.Reserved, null],
    ['principal', IDL.Principal, principal],
    ['opt', IDL.Opt(IDL.Text), ['x']],
    ['vec nat8', IDL.Vec(IDL.Nat8), Uint8Array.of(1, 2, 3)],
    ['vec text', IDL.Vec(IDL.Text), ['a', 'b']],
    ['record', IDL.Record({ a: IDL.Text, b: IDL.Nat8 }), { a: 'x', b: 1 }],
    ['variant', IDL.Variant({ a: IDL.Text, b: IDL.Null }), { b: null }],
    ['func', IDL.Func([IDL.Text], [IDL.Nat], ['query']), [principal, 'method']],
    ['service', IDL.Service({ f: IDL.Func([], [], []) }), principal],
  ])('%s', (_, type, value) => {
    expect(readCandid(encode(type, value)).types).toHaveLength(1);
  });

  test('a recursive list', () => {
    const list = IDL.Rec();
    list.fill(IDL.Opt(IDL.Record({ head: IDL.Nat8, tail: list })));
    readCandid(encode(list, [{ head: 1, tail: [{ head: 2, tail: [] }] }]));
  });

  test('a whole ProposalInfo', () => {
    readCandid(encodeProposalReply(GOOD_PROPOSAL));
  });
});

describe('refuses', () => {
  test.each([
    ['nothing', ''],
    ['a type table without end', 'ffffffff0f'],
    ['a table entry of an unknown kind', '016f00'],
    ['a type index outside the table', '016e0500'],
    ['an argument of a type that does not exist', '000105'],
    ['an opcode that is no primitive type', '00016e'],
    ['field ids that do not ascend', '016c02017f017f00'],
    ['a field id of more than 32 bits', '016c0180808080107f00'],
    ['a variant tag outside its type', '016b01017f010005'],
    ['a flag that is neither 0 nor 1', '00017e02'],
    ['an opt flag that is neither 0 nor 1', '016e7f010002'],
    ['a text that is not UTF-8', '00017101ff'],
    ['a text longer than the message', '00017105'],
    ['a number cut short', '00017d80'],
    ['an opaque principal', '00016800'],
    ['an opaque function', '016a00000001000001'],
    ['a value of the empty type', '00016f'],
    ['bytes after the last value', '00017e0100'],
    ['a length of more than 2^53', '016d7b0100ffffffffffffffff7f'],
    ['a list longer than the message', '016d7b0100ffff03'],
    ['a type reference that never ends', '0001808080808080'],
  ])('%s', (_, hex) => {
    expectRefusal(() => readHex(hex), 'CANDID_MALFORMED', 'format');
  });

  test('another magic', () => {
    expectRefusal(() => readCandid(hexToBytes('4449444d0000')), 'CANDID_MALFORMED');
  });

  test('a list of 2^40 nulls, which take no bytes', () => {
    const bytes = concatBytes(hexToBytes(`${DIDL}016d7f0100`), encodeLeb128(1n << 40n));
    expectRefusal(() => readCandid(bytes), 'CANDID_MALFORMED');
  });

  test('a record that holds itself', () => {
    expectRefusal(() => readHex('016c0100000100'), 'CANDID_MALFORMED');
  });

  test('records of records, each twice, whose values take no bytes', () => {
    // Type i is a record of two of type i + 1; forty of them would be 2^40 values.
    const table = Array.from({ length: 40 }, (_, i) => Uint8Array.of(0x6c, 2, 0, i + 1, 1, i + 1));
    const bytes = concatBytes(hexToBytes(`${DIDL}29`), ...table, hexToBytes('6c000100'));
    expectRefusal(() => readCandid(bytes), 'CANDID_MALFORMED');
  });

  test('a list of options nested a thousand deep', () => {
    const bytes = concatBytes(
      hexToBytes(`${DIDL}016e000100`),
      new Uint8Array(1000).fill(1),
      Uint8Array.of(0),
    );
    expectRefusal(() => readCandid(bytes), 'CANDID_MALFORMED');
  });

  test('any truncation of a reply', () => {
    const reply = encodeProposalReply(GOOD_PROPOSAL);
    for (let length = 0; length < reply.length; length++) {
      expectRefusal(() => readCandid(reply.subarray(0, length)), 'CANDID_MALFORMED', 'format');
    }
  });

  test('whatever bytes come, nothing but an error of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (tail) => {
        try {
          readCandid(concatBytes(hexToBytes(DIDL), tail));
        } catch (error) {
          expect(error).toMatchObject({ kind: 'format', code: 'CANDID_MALFORMED' });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a shape', () => {
  const shape: Shape = { record: { id: 'nat64', title: { opt: 'text' }, data: { opt: { vec: 'nat8' } } } };
  const check = (fields: Record<string, IDL.Type>, value: unknown): void => {
    const message = readCandid(encode(IDL.Record(fields), value));
    checkShape(message, message.types[0] as number, shape, 'Thing');
  };

  test('is met by more fields, and by fewer where they are optional', () => {
    check({ id: IDL.Nat64, other: IDL.Nat }, { id: 1n, other: 2n });
    check(
      { id: IDL.Nat64, title: IDL.Opt(IDL.Text), data: IDL.Opt(IDL.Vec(IDL.Nat8)) },
      { id: 1n, title: [], data: [] },
    );
  });

  test.each<[string, Record<string, IDL.Type>, unknown]>([
    ['a demanded field is missing', { title: IDL.Opt(IDL.Text) }, { title: [] }],
    ['a number has another width', { id: IDL.Nat32 }, { id: 1 }],
    ['an optional field is not optional', { id: IDL.Nat64, title: IDL.Text }, { id: 1n, title: 'x' }],
    [
      'an optional field has another type',
      { id: IDL.Nat64, title: IDL.Opt(IDL.Nat) },
      { id: 1n, title: [1n] },
    ],
    [
      'a list is of another type',
      { id: IDL.Nat64, data: IDL.Opt(IDL.Vec(IDL.Nat16)) },
      { id: 1n, data: [[1]] },
    ],
    ['bytes are text', { id: IDL.Nat64, data: IDL.Opt(IDL.Text) }, { id: 1n, data: ['x'] }],
  ])('is refused when %s', (_, fields, value) => {
    expectRefusal(
      () => {
        check(fields, value);
      },
      'CANDID_TYPE',
      'format',
    );
  });

  test('names what it found', () => {
    const names = [IDL.Text, IDL.Opt(IDL.Nat8), IDL.Vec(IDL.Record({})), IDL.Variant({ a: IDL.Null })].map(
      (type) => {
        const value =
          type instanceof IDL.TextClass ? 'x' : type instanceof IDL.VariantClass ? { a: null } : [];
        const message = readCandid(encode(type, value));
        return wireTypeName(message, message.types[0] as number);
      },
    );
    expect(names).toEqual(['text', 'opt nat8', 'vec record', 'variant']);
  });
});
