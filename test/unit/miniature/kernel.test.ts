import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readSetupHeader } from '../../../tools/miniature/bzimage.ts';
import {
  buildMiniatureKernel,
  COMMAND_LINE_LIMIT,
  DEFAULT_RELEASE,
} from '../../../tools/miniature/kernel.ts';
import { expectCvmError } from '../../support/errors.ts';

describe('the miniature kernel', () => {
  const kernel = buildMiniatureKernel(DEFAULT_RELEASE);

  test('is a bzImage that takes command lines of Linux’s length', () => {
    expect(readSetupHeader(kernel)).toMatchObject({
      protocol: 0x20c,
      loadedHigh: true,
      code32Start: 0x100000,
      initrdAddrMax: 0x7fffffff,
      cmdlineSize: COMMAND_LINE_LIMIT,
      version: `${DEFAULT_RELEASE} (rules_cvm) miniature kernel`,
    });
    expect(crc32(kernel)).toBe(0xffffffff);
  });

  test('has the same bytes every time, and others for another release', () => {
    expect(buildMiniatureKernel(DEFAULT_RELEASE)).toEqual(kernel);
    expect(buildMiniatureKernel('6.1.1-miniature')).not.toEqual(kernel);
  });

  test('stays small: real-mode part and kernel within 4 KiB', () => {
    expect(kernel.length).toBeLessThanOrEqual(4096);
  });

  test.each([
    ['nothing', ''],
    ['a blank', '6.1 x'],
    ['a slash, which no file name has', '6.1/x'],
    ['a line feed', '6.1\n'],
    ['a letter beyond ASCII', '6.1-größe'],
    ['a leading hyphen', '-6.1'],
    ['65 characters', '6'.repeat(65)],
  ])('rejects a release with %s', (_name, release) => {
    expectCvmError(() => buildMiniatureKernel(release), 'KERNEL_RELEASE_INVALID', 'usage');
  });

  test('takes a release of 64 characters', () => {
    expect(readSetupHeader(buildMiniatureKernel('6'.repeat(64))).version).toContain('6'.repeat(64));
  });
});
