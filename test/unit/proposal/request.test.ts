import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { decodeCbor } from '../../../tools/cbor/decode.ts';
import { encodeCbor } from '../../../tools/cbor/encode.ts';
import type { CborMap, CborValue } from '../../../tools/cbor/value.ts';
import {
  callRequestId,
  checkQuestion,
  checkRequestId,
  encodeCallContent,
  proposalArgument,
  proposalCall,
  readCallContent,
} from '../../../tools/proposal/request.ts';
import type { CallContent } from '../../../tools/proposal/request.ts';
import { devCall } from '../../nns/answer.ts';
import { expectRefusal } from '../../support/refusals.ts';

const CALL = devCall(139001n);

test('the argument for proposal 139001 is the recorded one', () => {
  expect(bytesToHex(proposalArgument(139001n))).toBe('4449444c000178f91e020000000000');
});

test('the call for proposal 139001 has the recorded id', () => {
  expect(bytesToHex(callRequestId(CALL))).toBe(
    '55f593c6a7f55e437f4b039cc52dd6f7fee3f04d4b8f479377901c7d51962716',
  );
});

test('reading what was written gives it back, with and without nonce', () => {
  expect(readCallContent(encodeCallContent(CALL))).toEqual(CALL);
  const bare = proposalCall(1n, 5n, undefined);
  expect(readCallContent(encodeCallContent(bare))).toEqual(bare);
});

describe('a request is refused', () => {
  const fields = decodeCbor(encodeCallContent(CALL)) as CborMap;
  const changed = (key: string, value: CborValue): Uint8Array =>
    encodeCbor(new Map([...fields, [key, value]]));
  const without = (key: string): Uint8Array =>
    encodeCbor(new Map([...fields].filter(([name]) => name !== key)));

  test.each(['request_type', 'canister_id', 'method_name', 'arg', 'sender', 'ingress_expiry'])(
    'without %s',
    (key) => {
      expectRefusal(() => readCallContent(without(key)), 'REQUEST_SHAPE', 'format');
    },
  );

  test.each<[string, string, CborValue]>([
    ['an unknown field', 'sender_info', 'x'],
    ['a request type of bytes', 'request_type', Uint8Array.of(1)],
    ['a canister id of text', 'canister_id', 'rrkah-fqaaa-aaaaa-aaaaq-cai'],
    ['a canister id of 30 bytes', 'canister_id', new Uint8Array(30)],
    ['a method of bytes', 'method_name', Uint8Array.of(1)],
    ['an argument of text', 'arg', 'x'],
    ['a sender of null', 'sender', null],
    ['a negative expiry', 'ingress_expiry', -1n],
    ['an expiry of text', 'ingress_expiry', '1'],
    ['a nonce of 33 bytes', 'nonce', new Uint8Array(33)],
    ['a nonce of null', 'nonce', null],
  ])('with %s', (_, key, value) => {
    expectRefusal(() => readCallContent(changed(key, value)), 'REQUEST_SHAPE', 'format');
  });

  test('that is no map', () => {
    expectRefusal(() => readCallContent(encodeCbor([])), 'REQUEST_SHAPE', 'format');
  });

  test('that is the whole envelope and not its content', () => {
    expectRefusal(
      () => readCallContent(encodeCbor(new Map([['content', fields]]))),
      'REQUEST_SHAPE',
      'format',
    );
  });

  test('with a byte after it', () => {
    const bytes = Uint8Array.of(...encodeCallContent(CALL), 0);
    expectRefusal(() => readCallContent(bytes), 'CBOR_TRAILING', 'format');
  });

  test('cut anywhere', () => {
    const bytes = encodeCallContent(CALL);
    for (let length = 0; length < bytes.length; length++) {
      expectRefusal(() => readCallContent(bytes.subarray(0, length)), 'CBOR_TRUNCATED', 'format');
    }
  });
});

describe('the binding of a request to a certificate', () => {
  const check = (content: CallContent, proposalId = 139001n, id = callRequestId(content)): void => {
    checkRequestId(content, id);
    checkQuestion(content, proposalId);
  };

  test('holds for the call of this proposal, whatever nonce and expiry', () => {
    check(CALL);
    check({ ...CALL, ingressExpiryNs: 1n, nonce: undefined });
  });

  test.each<[string, Partial<CallContent>, string]>([
    ['a query', { requestType: 'query' }, 'REQUEST_TYPE'],
    ['another canister', { canisterId: hexToBytes('00000000000000020101') }, 'REQUEST_CANISTER'],
    ['another method', { methodName: 'get_neuron_info' }, 'REQUEST_METHOD'],
    ['a sender who may see what others may not', { sender: Uint8Array.of(1, 2) }, 'REQUEST_SENDER'],
    ['another proposal', { arg: proposalArgument(139002n) }, 'REQUEST_ARGUMENT'],
    ['an argument with a byte more', { arg: Uint8Array.of(...CALL.arg, 0) }, 'REQUEST_ARGUMENT'],
    [
      'an argument of the same value and another type',
      { arg: hexToBytes('4449444c00017df9bd08') },
      'REQUEST_ARGUMENT',
    ],
    ['no argument', { arg: new Uint8Array() }, 'REQUEST_ARGUMENT'],
  ])('breaks for %s, though its request id is the certified one', (_, change, code) => {
    expectRefusal(
      () => {
        check({ ...CALL, ...change });
      },
      code,
      'trust',
    );
  });

  test.each<[string, Partial<CallContent>]>([
    ['expiry', { ingressExpiryNs: 1n }],
    ['nonce', { nonce: Uint8Array.of(9) }],
    ['nonce left out', { nonce: undefined }],
  ])('breaks when only the %s differs, as the id is another', (_, change) => {
    expectRefusal(
      () => {
        check({ ...CALL, ...change }, 139001n, callRequestId(CALL));
      },
      'REQUEST_ID',
      'trust',
    );
  });

  test('breaks when the reply is about another proposal than was asked for', () => {
    expectRefusal(
      () => {
        check(CALL, 139002n);
      },
      'REQUEST_ARGUMENT',
      'trust',
    );
  });
});
