import { hexToBytes } from '../bytes/hex.ts';
import { usageError } from '../errors.ts';
import type { OptionValues } from './command.ts';

/** Parsing that commands share. All errors are of kind usage and name the option. */

/** A text option, undefined when it was not given. */
export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** A repeatable option, empty when it was not given. */
export function textsOption(options: OptionValues, name: string): readonly string[] {
  const value = options[name];
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? (value as readonly string[]) : [];
}

export function flagOption(options: OptionValues, name: string): boolean {
  return options[name] === true;
}

/** @throws CvmError usage OPTION_MISSING */
export function requiredText(options: OptionValues, name: string): string {
  const value = textOption(options, name);
  if (value === undefined) {
    throw usageError('OPTION_MISSING', `${optionFlag(name)} is required`, {
      mend: 'add it; --help lists all options',
    });
  }
  return value;
}

/** `hashOffset` as it is typed: `--hash-offset`. */
export function optionFlag(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/**
 * A decimal number: digits alone.
 * @throws CvmError usage OPTION_NUMBER
 */
export function parseDecimal(text: string, what: string, min: number, max: number): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw usageError('OPTION_NUMBER', `${what} is not a decimal number in its range`, {
    facts: [
      ['found', text],
      ['range', `${min} to ${max}`],
    ],
    mend: 'write digits alone, without a unit, a sign or separators',
  });
}

/**
 * An unsigned integer literal: decimal without leading zeros, 0x, 0o or 0b; `_` between digits.
 * @throws CvmError usage OPTION_NUMBER
 */
export function parseIntegerLiteral(text: string, what: string, bits: number): bigint {
  const plain = text.trim().replace(/^\+/, '');
  const digits = /^(0[xX](_?[0-9a-fA-F])+|0[oO](_?[0-7])+|0[bB](_?[01])+|[1-9](_?[0-9])*|0(_?0)*)$/;
  const value = plain.length <= 100 && digits.test(plain) ? BigInt(plain.replaceAll('_', '')) : undefined;
  if (value !== undefined && value < 1n << BigInt(bits)) return value;
  throw usageError('OPTION_NUMBER', `${what} is not an integer${bits > 64 ? '' : ` of ${bits} bits`}`, {
    facts: [['found', text]],
    mend: 'write it as decimal without leading zeros, or with 0x, 0o or 0b',
  });
}

/**
 * A comma-separated list without empty or repeated items.
 * @throws CvmError usage OPTION_LIST
 */
export function parseList(text: string, what: string): string[] {
  const items = text.split(',');
  const repeated = items.find((item, i) => items.indexOf(item) !== i);
  if (!items.includes('') && repeated === undefined) return items;
  throw usageError('OPTION_LIST', `${what} is a comma-separated list without empty or repeated items`, {
    facts: [['found', text]],
  });
}

/**
 * The 16 bytes of a UUID in printed order: 8-4-4-4-12 hex digits.
 * @throws CvmError usage OPTION_UUID
 */
export function parseUuid(text: string, what: string): Uint8Array {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text))
    return hexToBytes(text.replaceAll('-', ''), what);
  throw usageError('OPTION_UUID', `${what} is not a UUID`, {
    facts: [['found', text]],
    mend: 'write it as 8-4-4-4-12 hex digits',
  });
}
