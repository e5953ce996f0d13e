import { expect, test } from 'vitest';
import { bug, formatError, mismatchError, trustError, usageError } from '../../../tools/errors.ts';
import { exitCodeOf, VerdictLog } from '../../../tools/release/verdicts.ts';

function logOf(...errors: readonly Error[]): VerdictLog {
  const log = new VerdictLog();
  log.take(
    'good',
    () => 1,
    (n) => `${n}`,
  );
  log.leaveOut('open', 'nobody asked');
  for (const error of errors) {
    log.take(
      'bad',
      () => {
        throw error;
      },
      () => '',
    );
  }
  return log;
}

test.each([
  [0, []],
  [3, [formatError('F', 'f')]],
  [3, [usageError('U', 'u')]],
  [5, [formatError('F', 'f'), mismatchError('M', 'm')]],
  [4, [mismatchError('M', 'm'), trustError('T', 't'), formatError('F', 'f')]],
] as const)('exit code %i', (code, errors) => {
  expect(exitCodeOf(logOf(...errors).verdicts)).toBe(code);
});

test('every step is told, failed or not, and a step that showed nothing is no ok', () => {
  const log = logOf(trustError('T', 'not so'));
  log.take(
    'looked',
    () => undefined,
    () => ({ unproven: 'nothing there' }),
  );
  expect(log.verdicts.map(({ name, ok, detail }) => [name, ok, detail])).toEqual([
    ['good', true, '1'],
    ['open', null, 'nobody asked'],
    ['bad', false, 'T: not so'],
    ['looked', null, 'nothing there'],
  ]);
});

test.each([bug('ours'), new TypeError('ours')])('mistakes of our own are no verdict: %s', (error) => {
  expect(() => logOf(error)).toThrow('ours');
});
