/** UEFI variables in the JSON that HvGuestState makes of a store of version 1. Source: openvmm, `vmgs_json.rs`. */
import { formatError, type CvmError } from '../errors.ts';
import type { NvramVariable } from './uefi-nvram.ts';

const BIOS_LOADER_DEVICE = 'ac6b8dc1-3257-4a70-b1b2-a9c9215659ad';

/** `Devices.<BIOS loader>.States.Nvram.Vendors.<GUID>.Variables.<name>`. @throws CvmError format NVRAM_JSON */
export function parseNvramJson(text: string): Omit<NvramVariable, 'time'>[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw formatError('NVRAM_JSON', 'this is no JSON text', { cause });
  }
  const vendors = ['Devices', BIOS_LOADER_DEVICE, 'States', 'Nvram', 'Vendors'].reduce(field, value);
  return [...entries(vendors, 'Vendors')].flatMap(([vendor, found]) =>
    [...entries(field(found, 'Variables'), 'Variables')].map(([name, variable]) => {
      const attributes = field(variable, 'Attributes');
      if (typeof attributes !== 'number' || !isUnsigned(attributes, 0xffff_ffff))
        throw jsonError(`Attributes of ${name}`);
      return { vendor, name, attributes, data: bytesOf(field(variable, 'Data'), name) };
    }),
  );
}

function field(value: unknown, name: string): unknown {
  const found = entries(value, name).get(name);
  if (found === undefined) throw jsonError(name);
  return found;
}

function entries(value: unknown, name: string): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw jsonError(name);
  return new Map(Object.entries(value));
}

function bytesOf(value: unknown, name: string): Uint8Array {
  const isByte = (item: unknown): item is number => typeof item === 'number' && isUnsigned(item, 255);
  if (!Array.isArray(value) || !value.every(isByte)) throw jsonError(`Data of ${name}`);
  return Uint8Array.from(value);
}

function isUnsigned(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function jsonError(name: string): CvmError {
  return formatError('NVRAM_JSON', 'the JSON file has no UEFI variables where HvGuestState puts them', {
    facts: [['missing or wrong', name]],
  });
}
