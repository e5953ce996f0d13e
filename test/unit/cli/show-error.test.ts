import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  CvmError,
  EXIT_CODES,
  formatError,
  mismatchError,
  trustError,
  usageError,
} from '../../../tools/errors.ts';
import { asCvmError, errorJson, showError } from '../../../tools/show-error.ts';

test('an error shows code, exit code, facts in columns, the nearest miss and the mend', () => {
  const error = mismatchError('MEASUREMENT_NOT_BLESSED', 'the launch measurement is not in the blessed set', {
    facts: [
      ['computed', '3f9a'],
      ['proposal', 140123n],
    ],
    nearest: 'entry 2, if the command line ended in system=A',
    mend: 'pin the base that the proposal names',
  });
  expect(showError(error)).toBe(
    [
      'error MEASUREMENT_NOT_BLESSED (exit 5): the launch measurement is not in the blessed set',
      '  computed  3f9a',
      '  proposal  140123',
      '  nearest   entry 2, if the command line ended in system=A',
      '  mend      pin the base that the proposal names',
      '',
    ].join('\n'),
  );
});

test('each kind has its exit code', () => {
  expect([
    usageError('A', '').exitCode,
    formatError('A', '').exitCode,
    trustError('A', '').exitCode,
    mismatchError('A', '').exitCode,
    asCvmError(new TypeError('x')).exitCode,
  ]).toEqual([2, 3, 4, 5, 1]);
  expect(EXIT_CODES.network).toBe(6);
});

test('what is no error of ours is our bug, keeps its cause and says so', () => {
  const cause = new RangeError('offset is out of bounds');
  const error = asCvmError(cause);
  expect(error.kind).toBe('bug');
  expect(error.cause).toBe(cause);
  expect(error.message).toContain('offset is out of bounds');
  expect(asCvmError('text').message).toContain('text');
});

test('an error of ours stays itself', () => {
  const error = trustError('X', 'x');
  expect(asCvmError(error)).toBe(error);
});

test('no fact, message or mend can move the cursor, hide text or begin a line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (name, value) => {
      const shown = showError(
        new CvmError('format', 'CODE', value, { facts: [[name, value]], nearest: value, mend: value }),
      );
      expect(shown).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
      expect(shown.split('\n')).toHaveLength(5);
    }),
  );
});

test('the JSON form holds nothing that a terminal obeys or hides, and the same value', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      const text = errorJson(formatError('X', value));
      expect(text.trimEnd()).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/,
      );
      expect((JSON.parse(text) as { error: { message: string } }).error.message).toBe(value);
    }),
  );
  expect(errorJson(formatError('X', 'a\u202eb\u009b31m'))).toContain('a\\u202eb\\u009b31m');
});

test('the JSON form carries the house code and loses nothing', () => {
  const error = formatError('HEX_LENGTH', 'x', { facts: [['found', 3]], mend: 'y' });
  expect(JSON.parse(errorJson(error))).toEqual({
    ok: false,
    error: {
      code: 'HEX_LENGTH',
      kind: 'format',
      exitCode: 3,
      message: 'x',
      facts: { found: '3' },
      nearest: null,
      mend: 'y',
    },
  });
});
