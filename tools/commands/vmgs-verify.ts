import { jsonText, showText } from '../bytes/text.ts';
import { type Report, verifyVmgs } from '../vmgs/verify.ts';
import { freeBlocks } from '../vmgs/verify-files.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { flagOption } from './options.ts';
import { readKey } from './vmgs-file.ts';
import {
  COMMON_OPTIONS,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  filePathOf,
  KEY_OPTIONS,
  keyPathOf,
  rawSectorBytes,
  sectorBytesOf,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'check a VMGS file and tell what OpenHCL would do with it',
  description:
    'Checks footer, headers, file table, marker, and with a key the extended table and every encrypted file. Tells what ' +
    'OpenHCL does with the store: open, format or refuse. Never writes. Exit codes: 0 no errors were found, 1 there are ' +
    'errors, 64 a wrong call.',
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...KEY_OPTIONS,
    { flags: '--strict', description: 'warnings count as errors' },
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  run(args, options, io) {
    rawSectorBytes(options);
    const path = resolvePath(io, filePathOf(args, options));
    const key = readKey(io, keyPathOf(options));
    const file = openFile(path);
    let report: Report;
    try {
      report = verifyVmgs(file, { raw: sectorBytesOf(options, file), key });
    } finally {
      file.close();
    }
    const isStrict = flagOption(options, 'strict');
    const counts = (severity: string): boolean =>
      severity === 'error' || (isStrict && severity === 'warning');
    const isGood = !report.findings.some(({ severity }) => counts(severity));
    if (flagOption(options, 'json')) {
      io.out(`${jsonText({ ok: isGood, file: path, ...summary(report) })}\n`);
    } else {
      io.out(shown(report, isGood));
    }
    return isGood ? 0 : 1;
  },
};

function summary({ findings, openhcl, store }: Report): object {
  return {
    openhcl,
    store:
      store === undefined
        ? null
        : {
            storeBytes: store.geometry.storeBytes,
            activeHeader: store.activeSlot + 1,
            sequence: store.header.sequence,
            encrypted: store.header.algorithm !== 0,
            unlocked: store.unlocked !== undefined,
            freeBlocks: freeBlocks(store),
          },
    findings,
  };
}

function shown({ findings, openhcl }: Report, isGood: boolean): string {
  let text = '';
  for (const { severity, code, at, what, mend } of findings) {
    text += `${severity.padEnd(7)}  ${code.padEnd(20)}  ${showText(at)}: ${showText(what)}\n`;
    if (mend !== null) text += `${''.padEnd(31)}${showText(mend)}\n`;
  }
  text += `OpenHCL  ${openhcl.default} by default, ${openhcl.reprovisionOnFailure} where it may reprovision on failure, `;
  text += `${openhcl.reprovision} when asked to reprovision\n`;
  return `${text}${isGood ? 'good' : 'not good'}\n`;
}
