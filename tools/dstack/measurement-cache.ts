import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { REGISTER_BYTES } from '../tdx/register.ts';
import { asObject, parseJsonObject } from './strict-json.ts';

/** The registers that an image and a VmConfig determine, 48 bytes each. */
export interface TdxRegisters {
  readonly mrtd: Uint8Array;
  readonly rtmr0: Uint8Array;
  readonly rtmr1: Uint8Array;
  readonly rtmr2: Uint8Array;
}

/**
 * The version of the way from a VmConfig to registers. 1 up to dstack 0.5.10, 2 with firmware variants, 3 with the
 * variant taken from metadata too: it is not part of the key, so entries of before may be wrong.
 */
export const CACHE_VERSION = 3;

export const CACHE_ENTRY_LIMIT_BYTES = 1 << 16;

const NAMES = ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2'] as const;

/** A file of the cache: `{"version":3,"measurements":{"mrtd":hex,…}}`. */
export function writeCacheEntry(registers: TdxRegisters): Uint8Array {
  const measurements = Object.fromEntries(NAMES.map((name) => [name, bytesToHex(registers[name])]));
  return utf8Bytes(JSON.stringify({ version: CACHE_VERSION, measurements }));
}

/**
 * The registers in a file of the cache; undefined for one of another version, and for anything else than a whole entry:
 * a cache is never believed over a computation.
 */
export function readCacheEntry(bytes: Uint8Array): TdxRegisters | undefined {
  try {
    const object = parseJsonObject(bytes, 'cache entry');
    if (object['version'] !== CACHE_VERSION) return undefined;
    const measurements = asObject(object['measurements'], 'measurements');
    const register = (name: (typeof NAMES)[number]): Uint8Array => {
      const value = measurements[name];
      return hexToBytes(typeof value === 'string' ? value : '', name, REGISTER_BYTES);
    };
    return {
      mrtd: register('mrtd'),
      rtmr0: register('rtmr0'),
      rtmr1: register('rtmr1'),
      rtmr2: register('rtmr2'),
    };
  } catch {
    // A corrupt entry is as good as none: the registers are computed, and the entry is written anew.
    return undefined;
  }
}
