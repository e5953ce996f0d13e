import { hexToBytes } from '../bytes/hex.ts';
import { usageError } from '../errors.ts';

/** A salt as hex, or - for none. @throws CvmError usage OPTION_SALT */
export function saltOption(text: string): Uint8Array {
  if (text === '-') return new Uint8Array();
  if (/^([0-9a-f]{2})+$/i.test(text)) return hexToBytes(text, '--salt');
  throw usageError('OPTION_SALT', '--salt is neither hex nor -', { facts: [['found', text]] });
}
