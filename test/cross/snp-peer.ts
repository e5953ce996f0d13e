import { execFileSync } from 'node:child_process';
import type { OptionValues } from '../../tools/commands/command.ts';
import { command } from '../../tools/commands/snp-measure.ts';
import { runCommand } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const peer = findOracle('sev-snp-measure');

/** `test` against sev-snp-measure, which Debian does not package: skipped by name without it. */
export const withPeer = oracleTest({ 'sev-snp-measure': peer }, false);

/** What the peer prints and how it ends, and of errors the first line after "error: " or "Error: ". */
export interface Answer {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

const firstLine = (text: string): string => /(?:error|Error): (.*)/.exec(text)?.[1] ?? '';

export function askPeer(folder: string, options: OptionValues): Answer {
  const args = Object.entries(options).flatMap(([name, value]) => {
    if (name === 'compat') return [];
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return value === true ? [flag] : typeof value === 'string' ? [`${flag}=${value}`] : [];
  });
  try {
    const out = execFileSync(peer ?? '', args, { cwd: folder, env: ORACLE_ENV, stdio: 'pipe' }).toString();
    return { code: 0, out, error: '' };
  } catch (thrown) {
    const { status, stdout, stderr } = thrown as { status: number; stdout: Buffer; stderr: Buffer };
    return { code: status, out: stdout.toString(), error: firstLine(stderr.toString()) };
  }
}

export async function askOurs(folder: string, options: OptionValues): Promise<Answer> {
  const { code, out, err } = await runCommand(command, folder, [], options);
  return { code, out, error: code === 0 ? '' : firstLine(err) };
}
