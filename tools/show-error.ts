import { showText, jsonText } from './bytes/text.ts';
import { CvmError } from './errors.ts';

/** Whatever was thrown, as an error of the house: what is none becomes `bug`. */
export function asCvmError(thrown: unknown): CvmError {
  if (thrown instanceof CvmError) return thrown;
  const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new CvmError('bug', 'INTERNAL', `this is a mistake in cvm itself: ${text}`, {
    cause: thrown,
    mend: 'report it with the command line and, if it may leave your machine, the input file',
  });
}

/**
 * An error for people: code and exit code first, then the facts in two columns, the nearest miss and the mend.
 * Every text that came from outside is escaped here.
 * @param exitCode what the process ends with, where a command has codes of its own
 */
export function showError(error: CvmError, exitCode = error.exitCode): string {
  const rows: (readonly [string, string])[] = error.facts.map(([name, value]) => [name, String(value)]);
  if (error.nearest !== undefined) rows.push(['nearest', error.nearest]);
  if (error.mend !== undefined) rows.push(['mend', error.mend]);
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  const lines = [`error ${error.code} (exit ${exitCode}): ${showText(error.message)}`];
  for (const [name, value] of rows) lines.push(`  ${showText(name).padEnd(width)}  ${showText(value)}`);
  return `${lines.join('\n')}\n`;
}

/** The same for programs: what `--json` prints on standard output when a command fails. */
export function errorJson(error: CvmError): string {
  return `${jsonText({ ok: false, error: errorObject(error) })}\n`;
}

/** The error as it stands in JSON, for commands whose JSON says more than the error. */
export function errorObject(error: CvmError): Readonly<Record<string, unknown>> {
  return {
    code: error.code,
    kind: error.kind,
    exitCode: error.exitCode,
    message: error.message,
    facts: Object.fromEntries(error.facts.map(([name, value]) => [name, String(value)])),
    nearest: error.nearest ?? null,
    mend: error.mend ?? null,
  };
}
