import { describe, expect, test } from 'vitest';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { isNetworkName, rootKeyOf } from '../../../tools/nns/networks.ts';
import { keyFromDer, keyToDer, readRootKey } from '../../../tools/nns/root-key.ts';
import { DEV_SECRET, derKeyOf } from '../../nns/signer.ts';
import { ownVectors } from '../../nns/vectors.ts';
import { expectRefusal } from '../../support/refusals.ts';

const mainnet = rootKeyOf({ network: 'mainnet' });

test('the compiled-in keys are the recorded ones', () => {
  expect(bytesToHex(mainnet)).toBe(ownVectors.rootKeys.mainnet);
  expect(bytesToHex(rootKeyOf({ network: 'dev' }))).toBe(ownVectors.rootKeys.test);
});

test('the dev key belongs to the secret that only tests hold', () => {
  expect(rootKeyOf({ network: 'dev' })).toEqual(derKeyOf(DEV_SECRET));
});

test('every call gives a fresh copy: a caller cannot change the root of trust', () => {
  rootKeyOf({ network: 'mainnet' }).fill(0);
  expect(rootKeyOf({ network: 'mainnet' })).toEqual(mainnet);
});

test('network names are exact', () => {
  expect(['mainnet', 'dev', 'custom', 'Mainnet', 'toString', ''].map(isNetworkName)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test('key bytes and DER are two forms of one thing', () => {
  expect(keyToDer(keyFromDer(mainnet, 'key'))).toEqual(mainnet);
});

describe('a root key is read from', () => {
  const base64 = Buffer.from(mainnet).toString('base64');
  const pem = `-----BEGIN PUBLIC KEY-----\n${base64.replaceAll(/.{64}/g, '$&\n')}\n-----END PUBLIC KEY-----\n`;

  test.each<[string, Uint8Array]>([
    ['DER', mainnet],
    ['DER in a Node buffer', Buffer.from(mainnet)],
    ['hex', utf8Bytes(bytesToHex(mainnet))],
    ['upper-case hex and a newline', utf8Bytes(`${bytesToHex(mainnet).toUpperCase()}\n`)],
    ['PEM', utf8Bytes(pem)],
    ['PEM with CR LF', utf8Bytes(pem.replaceAll('\n', '\r\n'))],
  ])('%s', (_, file) => {
    expect(readRootKey(file)).toEqual(mainnet);
  });

  test.each<[string, Uint8Array, string]>([
    ['not from an empty file', new Uint8Array(), 'ROOT_KEY_TEXT'],
    ['not from other text', utf8Bytes('hello'), 'ROOT_KEY_TEXT'],
    ['not from a PEM certificate', utf8Bytes(pem.replaceAll('PUBLIC KEY', 'CERTIFICATE')), 'ROOT_KEY_TEXT'],
    ['not from PEM with rubbish in its base64', utf8Bytes(pem.replace('MIGC', 'MI=C')), 'ROOT_KEY_TEXT'],
    ['not from two PEM keys', utf8Bytes(pem + pem), 'ROOT_KEY_TEXT'],
    ['not from DER that is one byte short', mainnet.subarray(0, 132), 'KEY_LENGTH'],
    ['not from DER that is one byte long', Uint8Array.of(...mainnet, 0), 'KEY_LENGTH'],
    ['not from hex of the bare 96 bytes', utf8Bytes(bytesToHex(mainnet).slice(74)), 'KEY_LENGTH'],
    ['not from hex with an odd digit', utf8Bytes(bytesToHex(mainnet).slice(1)), 'HEX_INVALID'],
  ])('%s', (_, file, code) => {
    expectRefusal(() => readRootKey(file), code, 'format');
  });
});

test('every bit of the DER prefix counts', () => {
  for (let bit = 0; bit < 37 * 8; bit++) {
    const changed = new Uint8Array(mainnet);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    expectRefusal(() => keyFromDer(changed, 'key'), 'KEY_PREFIX', 'format');
  }
});

test('a custom key goes through the same checks', () => {
  expectRefusal(() => rootKeyOf({ network: 'custom', rootKey: hexToBytes('00') }), 'ROOT_KEY_TEXT', 'format');
});
