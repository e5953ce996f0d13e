import {
  vmsaRegister,
  vmsaSegment,
  VMSA_SEGMENTS,
  type VmsaRegisterName,
  type VmsaSegmentName,
} from './vmsa-page.ts';

/** The registers that have a value before the first instruction, by the names that are printed. */
const REGISTERS: Readonly<Record<string, VmsaRegisterName>> = {
  efer: 'efer',
  cr4: 'cr4',
  cr0: 'cr0',
  dr7: 'dr7',
  dr6: 'dr6',
  rflags: 'rflags',
  rip: 'rip',
  gPat: 'pat',
  rdx: 'rdx',
  sevFeatures: 'sev_features',
  xcr0: 'xcr0',
  mxcsr: 'mxcsr',
  x87Fcw: 'x87_fcw',
};

/**
 * What a VMSA page holds, zero registers left out: names as in AMD's manual, values in hex. A segment reads
 * `selector:attributes:limit:base`.
 *
 * @param page 4096 bytes
 */
export function vmsaFields(page: Uint8Array): Record<string, string> {
  const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
  const fields: Record<string, string> = {};
  for (const name of Object.keys(VMSA_SEGMENTS) as VmsaSegmentName[]) {
    const { selector, attributes, limit, base } = vmsaSegment(page, name);
    fields[name] = [selector, attributes, limit, base].map(hex).join(':');
  }
  for (const [name, register] of Object.entries(REGISTERS)) {
    const value = vmsaRegister(page, register);
    if (value !== 0n) fields[name] = hex(value);
  }
  return fields;
}
