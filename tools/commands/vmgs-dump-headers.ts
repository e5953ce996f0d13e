import { bytesToHex } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import { errorJson, showError } from '../show-error.ts';
import { isUsed, readHeaders, REPROVISIONED, type Headers, type HeaderSlot } from '../vmgs/header.ts';
import type { Command } from './command.ts';
import { flagOption } from './options.ts';
import { withVmgsFile } from './vmgs-file.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'show both headers of a VMGS store, and which one counts',
  description: `Headers are shown, too, when none of them is good. Never writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withVmgsFile(io, args, options, ({ source, geometry }) => {
      const headers = readHeaders(source, geometry);
      const { active } = headers;
      const isGood = typeof active === 'number';
      const shown = headers.slots.map(headerJson);
      if (flagOption(options, 'json')) {
        const outcome = isGood ? { ok: true } : (JSON.parse(errorJson(active)) as object);
        io.out(`${jsonText({ ...outcome, active: isGood ? active + 1 : null, headers: shown })}\n`);
      } else {
        io.out(showHeaders(headers));
      }
      if (isGood) return 0;
      io.err(showError(active, vmgsExitCode(active)));
      return vmgsExitCode(active);
    }),
};

const hex = (value: number, digits = 8): string => `0x${value.toString(16).padStart(digits, '0')}`;

function headerJson(slot: HeaderSlot): object {
  const { header } = slot;
  return {
    valid: slot.fault === undefined,
    fault: slot.fault ?? null,
    empty: slot.isEmpty,
    signature: bytesToHex(slot.bytes.subarray(0, 8)),
    version: hex(slot.version),
    checksum: hex(slot.checksum),
    expectedChecksum: hex(slot.expectedChecksum),
    sequence: header.sequence,
    headerSize: slot.headerSize,
    fileTableBlock: header.fileTableBlock,
    fileTableBlocks: slot.fileTableBlocks,
    encryptionAlgorithm: header.algorithm,
    markers: header.markers,
    reprovisioned: (header.markers & REPROVISIONED) !== 0,
    keySlots: header.slots.map((key) => ({
      used: isUsed(key),
      nonce: bytesToHex(key.nonce),
      reserved: key.reserved,
      tag: bytesToHex(key.tag),
      wrapped: bytesToHex(key.wrapped),
    })),
  };
}

function showHeaders({ active, slots }: Headers): string {
  let text = '';
  slots.forEach((slot, i) => {
    const { header } = slot;
    const state = slot.isEmpty ? 'empty' : (slot.fault ?? 'valid');
    text += `Header ${i + 1}: ${state}${active === i ? ', active' : ''}\n`;
    if (slot.isEmpty) return;
    const rows: readonly (readonly [string, string | number])[] = [
      ['signature', bytesToHex(slot.bytes.subarray(0, 8))],
      ['version', hex(slot.version)],
      ['checksum', `${hex(slot.checksum)}, computed ${hex(slot.expectedChecksum)}`],
      ['sequence', header.sequence],
      ['header size', slot.headerSize],
      ['file table', `block ${header.fileTableBlock}, ${slot.fileTableBlocks} block`],
      ['encryption', header.algorithm === 0 ? 'none' : header.algorithm === 1 ? 'AES_GCM' : header.algorithm],
      ['markers', hex(header.markers, 4)],
      ...header.slots.map((key, k) => [`key slot ${k}`, isUsed(key) ? 'used' : 'empty'] as const),
    ];
    for (const [name, value] of rows) text += `  ${name.padEnd(12)}  ${value}\n`;
  });
  return text;
}
