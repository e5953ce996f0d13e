import { describe, expect, test } from 'vitest';
import { ProgressLine } from '../../../tools/commands/progress-line.ts';

const MIB = 1 << 20;

function line(isTerminal: boolean): { readonly shown: string[]; readonly progress: ProgressLine } {
  const shown: string[] = [];
  return { shown, progress: new ProgressLine({ err: (text) => shown.push(text), isTerminal }, 'image') };
}

describe('progress in a log', () => {
  test('a line at each quarter, whatever steps it comes in', () => {
    const { shown, progress } = line(false);
    for (let done = 0; done <= 1000; done++) progress.show(done * MIB, 1000 * MIB);
    progress.end();
    expect(shown).toEqual([
      'image: 0 %, 0.0 of 1000.0 MiB\n',
      'image: 25 %, 250.0 of 1000.0 MiB\n',
      'image: 50 %, 500.0 of 1000.0 MiB\n',
      'image: 75 %, 750.0 of 1000.0 MiB\n',
      'image: 100 %, 1000.0 of 1000.0 MiB\n',
    ]);
  });

  test('nothing of a transfer whose size is not known, and no control characters', () => {
    const { shown, progress } = line(false);
    for (let done = 0; done < 100; done++) progress.show(done, undefined);
    progress.show(0, 0);
    progress.end();
    expect(shown).toEqual([]);
  });
});

describe('progress on a terminal', () => {
  test('one line that is drawn over, and ended once', () => {
    const { shown, progress } = line(true);
    progress.show(0, 2 * MIB);
    progress.show(MIB, 2 * MIB);
    progress.show(MIB, 2 * MIB);
    progress.end();
    progress.end();
    expect(shown).toEqual([
      '\r\u001b[2Kimage [........................] 0 %, 0.0 of 2.0 MiB',
      '\r\u001b[2Kimage [############............] 50 %, 1.0 of 2.0 MiB',
      '\n',
    ]);
  });

  test('an amount alone when the size is not known', () => {
    const { shown, progress } = line(true);
    progress.show(MIB, undefined);
    expect(shown).toEqual(['\r\u001b[2Kimage [........................] 1.0 MiB']);
  });

  test('nothing to end when nothing was shown', () => {
    const { shown, progress } = line(true);
    progress.end();
    expect(shown).toEqual([]);
  });
});
