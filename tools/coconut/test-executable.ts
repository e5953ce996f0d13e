import { usageError } from '../errors.ts';

/**
 * The executable that `cargo test --no-run --message-format=json-render-diagnostics` made of a package: the last
 * `compiler-artifact` message for its library, built as a test.
 *
 * @param output standard output: a JSON object a line
 * @throws CvmError usage TEST_EXECUTABLE_MISSING
 */
export function testExecutable(output: string, name: string): string {
  const crate = name.replaceAll('-', '_');
  const found = output
    .split('\n')
    .map((line) => executableOf(line, crate))
    .findLast((path) => path !== undefined);
  if (found !== undefined) return found;
  throw usageError('TEST_EXECUTABLE_MISSING', 'cargo names no test executable of the package', {
    facts: [
      ['package', name],
      ['library', crate],
    ],
    mend: 'let the package have a library with tests, or write another "type"',
  });
}

function executableOf(line: string, crate: string): string | undefined {
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch {
    // Whatever else stands between cargo's messages, as cargo itself says of this format.
    return undefined;
  }
  const { reason, target, profile, executable } = (message ?? {}) as {
    reason?: unknown;
    target?: { name?: unknown; kind?: unknown } | null;
    profile?: { test?: unknown } | null;
    executable?: unknown;
  };
  const isTest =
    reason === 'compiler-artifact' &&
    target?.name === crate &&
    Array.isArray(target.kind) &&
    target.kind.includes('lib') &&
    profile?.test === true;
  return isTest && typeof executable === 'string' ? executable : undefined;
}
