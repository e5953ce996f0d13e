import { bytesToHex } from '../bytes/hex.ts';
import { platformNames, policyNames, tcbText, type AttestationReport } from '../snp/attestation-report.ts';
import { hexValue } from './snp-options.ts';

/** The fields of a report by their names in AMD's manual, as text, in the order of the structure. */
export function reportFields(report: AttestationReport): Record<string, string> {
  const list = (names: readonly string[]): string => (names.length === 0 ? '' : ` (${names.join(', ')})`);
  const { cpuid } = report;
  return {
    version: `${report.version}`,
    guestSvn: `${report.guestSvn}`,
    policy: `${hexValue(report.policy)}${list(policyNames(report.policy))}`,
    familyId: bytesToHex(report.familyId),
    imageId: bytesToHex(report.imageId),
    vmpl: `${report.vmpl}`,
    signatureAlgorithm: `${report.signatureAlgorithm}`,
    platformInfo: `${hexValue(report.platformInfo)}${list(platformNames(report.platformInfo))}`,
    authorKey: report.hasAuthorKey ? 'yes' : 'no',
    signingKey: report.signingKey,
    reportData: bytesToHex(report.reportData),
    measurement: bytesToHex(report.measurement),
    hostData: bytesToHex(report.hostData),
    idKeyDigest: bytesToHex(report.idKeyDigest),
    authorKeyDigest: bytesToHex(report.authorKeyDigest),
    reportId: bytesToHex(report.reportId),
    reportIdMa: bytesToHex(report.reportIdMa),
    chipId: bytesToHex(report.chipId),
    currentTcb: tcbText(report.currentTcb),
    reportedTcb: tcbText(report.reportedTcb),
    committedTcb: tcbText(report.committedTcb),
    launchTcb: tcbText(report.launchTcb),
    ...(cpuid === undefined
      ? {}
      : { cpuid: `family ${cpuid.family}, model ${cpuid.model}, stepping ${cpuid.stepping}` }),
    currentFirmware: report.currentFirmware,
    committedFirmware: report.committedFirmware,
    ...(report.launchMitigations === undefined
      ? {}
      : { launchMitigations: hexValue(report.launchMitigations) }),
    ...(report.currentMitigations === undefined
      ? {}
      : { currentMitigations: hexValue(report.currentMitigations) }),
  };
}

export function fieldLines(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(20)}${value}\n`)
    .join('');
}
