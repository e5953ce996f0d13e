/** Names of the SEV_FEATURES bits. Source: AMD 24593 volume 2, "SEV_FEATURES"; bits not listed are reserved. */
export const GUEST_FEATURE_BITS: ReadonlyMap<number, string> = new Map([
  [0, 'SNPActive'],
  [1, 'vTOM'],
  [2, 'ReflectVC'],
  [3, 'RestrictedInjection'],
  [4, 'AlternateInjection'],
  [5, 'DebugSwap'],
  [6, 'PreventHostIBS'],
  [7, 'BTBIsolation'],
  [8, 'VmplSSS'],
  [9, 'SecureTSC'],
  [10, 'VmgexitParameter'],
  [12, 'IbsVirtualization'],
  [14, 'VmsaRegProt'],
  [15, 'SmtProtection'],
]);

/** What plain SNP guests run with, and sev-snp-measure's default. */
export const DEFAULT_GUEST_FEATURES = 0x1n;

/** Names of the set bits, lowest first; a reserved bit is `bit N (reserved)`. */
export function guestFeatureNames(features: bigint): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    if ((features >> BigInt(bit)) & 1n) names.push(GUEST_FEATURE_BITS.get(bit) ?? `bit ${bit} (reserved)`);
  }
  return names;
}
