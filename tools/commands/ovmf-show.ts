import { bytesToHex } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import {
  footerEntryName,
  reportFirmware,
  type FirmwareReport,
  type Obstacle,
} from '../ovmf/firmware-report.ts';
import { tdxSectionName } from '../ovmf/tdx-metadata.ts';
import { sectionName } from '../snp/ovmf.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { flagOption } from './options.ts';
import { hexValue } from './snp-options.ts';

export const command: Command = {
  summary: 'show what an OVMF image says of itself, and whether it can measure a kernel',
  description:
    'Prints the footer table, the SEV and TDX metadata sections in the order in which they are measured, and whether the image can start ' +
    'an SEV-SNP guest and bind its kernel, with what is wrong where it cannot. A file that is no OVMF image ends with 3 and what it is instead.',
  arguments: [{ name: '<firmware>', description: 'OVMF image' }],
  options: [{ flags: '--json', description: 'print one JSON object, also for errors' }],

  run(args, options, io) {
    const file = openFile(resolvePath(io, args[0] ?? ''));
    try {
      const report = reportFirmware(file);
      io.out(flagOption(options, 'json') ? json(report) : text(report));
    } finally {
      file.close();
    }
    return 0;
  },
};

function text({ ovmf, tdx, snpFirmwareDigest, obstacles }: FirmwareReport): string {
  const lines = [
    `image                 ${ovmf.sizeBytes} bytes, at ${hexValue(ovmf.loadGpa)}`,
    `AP reset address      ${ovmf.resetEip === undefined ? 'none' : hexValue(ovmf.resetEip)}`,
    `kernel hashes at      ${ovmf.hashTable === undefined ? 'none' : hexValue(ovmf.hashTable.base)}`,
    'footer table, nearest to the end first',
    ...ovmf.table.map(
      ({ guid, offset, data }) =>
        `  ${hexValue(offset).padEnd(10)}${guid}  ${footerEntryName(guid) ?? 'unknown'}, ${data.length} bytes`,
    ),
  ];
  if (ovmf.sections !== undefined) {
    lines.push('SEV metadata, in order of measurement');
    for (const { gpa, sizeBytes, type } of ovmf.sections)
      lines.push(`  ${hexValue(gpa).padEnd(12)}${hexValue(sizeBytes).padEnd(10)}${sectionName(type)}`);
  }
  if (tdx !== undefined) {
    lines.push('TDX metadata');
    for (const { gpa, memorySizeBytes, type, attributes } of tdx) {
      const marks = [
        ...((attributes & 1) === 1 ? ['measured'] : []),
        ...((attributes & 2) === 2 ? ['PAGE.AUG'] : []),
      ];
      lines.push(
        `  ${hexValue(gpa).padEnd(12)}${hexValue(memorySizeBytes).padEnd(10)}${[tdxSectionName(type), ...marks].join(', ')}`,
      );
    }
  }
  const answer = (name: string, obstacle: Obstacle): void => {
    lines.push(`${name.padEnd(22)}${obstacle === undefined ? 'yes' : `no: ${obstacle.text}`}`);
    if (obstacle !== undefined) lines.push(`  mend                ${obstacle.mend}`);
  };
  answer('starts SEV-SNP guests', obstacles.snp);
  answer('measures a kernel', obstacles.snpKernel);
  answer('the same for SEV, -ES', obstacles.sevKernel);
  answer('TDX guests', obstacles.tdx);
  if (snpFirmwareDigest !== undefined) lines.push(`snp:ovmf-hash         ${bytesToHex(snpFirmwareDigest)}`);
  return `${lines.join('\n')}\n`;
}

function json({ ovmf, tdx, snpFirmwareDigest, obstacles }: FirmwareReport): string {
  return `${jsonText({
    ok: true,
    sizeBytes: ovmf.sizeBytes,
    loadGpa: hexValue(ovmf.loadGpa),
    resetEip: ovmf.resetEip === undefined ? null : hexValue(ovmf.resetEip),
    hashTable:
      ovmf.hashTable === undefined
        ? null
        : { base: hexValue(ovmf.hashTable.base), sizeBytes: ovmf.hashTable.sizeBytes },
    svsmLaunchOffset: ovmf.svsmLaunchOffset ?? null,
    table: ovmf.table.map(({ guid, offset, data }) => ({
      guid,
      name: footerEntryName(guid) ?? null,
      offset,
      data: bytesToHex(data),
    })),
    sevSections:
      ovmf.sections?.map(({ gpa, sizeBytes, type }) => ({
        gpa: hexValue(gpa),
        sizeBytes,
        type,
        name: sectionName(type),
      })) ?? null,
    tdxSections:
      tdx?.map(({ gpa, type, ...section }) => ({
        gpa: hexValue(gpa),
        type,
        name: tdxSectionName(type),
        ...section,
      })) ?? null,
    snpOvmfHash: snpFirmwareDigest === undefined ? null : bytesToHex(snpFirmwareDigest),
    startsSnp: obstacles.snp === undefined,
    measuresKernelSnp: obstacles.snpKernel === undefined,
    measuresKernelSev: obstacles.sevKernel === undefined,
    obstacles: {
      snp: obstacles.snp ?? null,
      snpKernel: obstacles.snpKernel ?? null,
      sevKernel: obstacles.sevKernel ?? null,
      tdx: obstacles.tdx ?? null,
    },
  })}\n`;
}
