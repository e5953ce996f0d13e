import { hexToBytes } from '../bytes/hex.ts';
import { readRootKey } from './root-key.ts';

/**
 * The networks whose answers may be believed. `mainnet` is the Internet Computer. `dev` is a key whose private half is
 * published with this repository's tests: anybody can sign for it, and nothing that it signs may reach production.
 */
export const NETWORK_NAMES = ['mainnet', 'dev'] as const;
export type NetworkName = (typeof NETWORK_NAMES)[number];

/** Whose word counts. `custom` is for looking at certificates: no build accepts its result. */
export type Trust =
  { readonly network: NetworkName } | { readonly network: 'custom'; readonly rootKey: Uint8Array };

/** The governance canister of the NNS, `rrkah-fqaaa-aaaaa-aaaaq-cai`. */
export const GOVERNANCE_CANISTER_ID = hexToBytes('00000000000000010101');

/** The anonymous principal. */
export const ANONYMOUS_SENDER = Uint8Array.of(4);

/** Whole DER keys. That of mainnet equals `IC_ROOT_KEY` of the official agents, which a test checks. */
const ROOT_KEYS: Readonly<Record<NetworkName, string>> = {
  mainnet:
    '308182301d060d2b0601040182dc7c0503010201060c2b0601040182dc7c05030201036100' +
    '814c0e6ec71fab583b08bd81373c255c3c371b2e84863c98a4f1e08b74235d14fb5d9c0cd546d9685f913a0c0b2cc534' +
    '1583bf4b4392e467db96d65b9bb4cb717112f8472e0d5a4d14505ffd7484b01291091c5f87b98883463f98091a0baaae',
  dev:
    '308182301d060d2b0601040182dc7c0503010201060c2b0601040182dc7c05030201036100' +
    '8d0273f6bf31ed37c3b8d68083ec3d8e20b5f2cc170fa24b9b5be35b34ed013f9a921f1cad1644d4bdb14674247234c8' +
    '049cd1dbb2d2c3581e54c088135fef36505a6823d61b859437bfc79b617030dc8b40e32bad1fa85b9c0f368af6d38d3c',
};

export function isNetworkName(text: string): text is NetworkName {
  return (NETWORK_NAMES as readonly string[]).includes(text);
}

/**
 * The root key to believe, in DER; a fresh copy.
 * @throws CvmError format KEY_LENGTH | KEY_PREFIX for a custom key
 */
export function rootKeyOf(trust: Trust): Uint8Array {
  return readRootKey(trust.network === 'custom' ? trust.rootKey : hexToBytes(ROOT_KEYS[trust.network]));
}
