import { describe, expect, test } from 'vitest';
import { cliDocs } from '../../docs/generator/cli.ts';
import { flowSvg } from '../../docs/generator/flow-svg.ts';
import { fillFrame, textCell } from '../../docs/generator/markdown.ts';
import { readModuleInfo } from '../../docs/generator/module-info.ts';
import type { CommandEntry } from '../../tools/commands/command.ts';

const FLOW = 'title "T"\nbox a 1 1 pinned "A"\nbox b 2 2 made "B <&> b" "line"\narrow a b\n';

describe('a flow', () => {
  test('is drawn the same each time, and what it says is text', () => {
    expect(flowSvg(FLOW)).toBe(flowSvg(FLOW));
    expect(flowSvg(FLOW)).toContain('B &lt;&amp;&gt; b');
    expect(flowSvg(FLOW)).toContain('prefers-color-scheme: dark');
  });

  test.each([
    ['an arrow to nowhere', `${FLOW}arrow a c\n`, 'no box «c»'],
    ['two boxes in one place', `${FLOW}box c 1 1 made "C"\n`, 'the place is taken'],
    ['a box twice', `${FLOW}box a 3 3 made "C"\n`, 'line 5'],
    ['a place off the grid', `${FLOW}box c 0 1 made "C"\n`, 'line 5'],
    ['a kind that is none', `${FLOW}box c 3 1 red "C"\n`, 'line 5'],
    ['a line that does not fit', `${FLOW}box c 3 1 made "${'C'.repeat(30)}"\n`, 'does not fit'],
    ['a word that is none', `${FLOW}circle c\n`, 'line 5'],
    ['nothing', '# empty\n', 'a title and boxes'],
  ])('with %s is refused', (_, text, message) => {
    expect(() => flowSvg(text)).toThrow(message);
  });
});

describe("Bazel's description of a file", () => {
  /** A field of bytes, as the wire has it. */
  const field = (number: number, ...bytes: number[]): number[] => [(number << 3) | 2, bytes.length, ...bytes];
  const text = (value: string): number[] => [...Buffer.from(value, 'utf8')];

  test('is read', () => {
    const attribute = [...field(1, ...text('src')), 3 << 3, 3, 4 << 3, 1];
    const rule = [
      ...field(1, ...text('r')),
      ...field(2, ...text('Doc.')),
      ...field(3, ...attribute),
      6 << 3,
      1,
    ];
    expect(readModuleInfo(Uint8Array.from(field(1, ...rule))).rules).toEqual([
      {
        name: 'r',
        doc: 'Doc.',
        isTest: true,
        isExecutable: false,
        attributes: [
          { name: 'src', doc: '', type: 'label', isMandatory: true, providers: [], defaultValue: '' },
        ],
      },
    ]);
  });

  test('is text again where Bazel wrote UTF-8 twice', () => {
    const twice = [...Buffer.from('…')].map((byte) => String.fromCharCode(byte)).join('');
    expect(readModuleInfo(Uint8Array.from(field(5, ...text(twice)))).doc).toBe('…');
    expect(readModuleInfo(Uint8Array.from(field(5, ...text('…')))).doc).toBe('…');
    expect(readModuleInfo(Uint8Array.from(field(5, ...text('é alone')))).doc).toBe('é alone');
  });

  test.each([
    ['a field that is cut off', [(1 << 3) | 2, 9, 0], 'cut off'],
    ['a number that is cut off', [(1 << 3) | 0, 0x80], 'cut off'],
    ['a number without an end', [(1 << 3) | 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 'longer'],
    ['a field of another kind', [(1 << 3) | 5, 0, 0, 0, 0], 'wire type 5'],
    ['an attribute of an unknown type', field(1, ...field(3, 3 << 3, 99)), 'type 99'],
  ])('with %s is refused', (_, bytes, message) => {
    expect(() => readModuleInfo(Uint8Array.from(bytes))).toThrow(message);
  });
});

describe('a page', () => {
  test('has each place of its frame once', () => {
    expect(fillFrame('<!-- generated -->\n<!-- a -->', { a: 'x' })).toMatch(/x\n$/);
    expect(() => fillFrame('<!-- generated --><!-- b -->', {})).toThrow('«b»');
    expect(() => fillFrame('<!-- generated -->', { a: 'x' })).toThrow('«a»');
    expect(() => fillFrame('<!-- generated --><!-- a --><!-- a -->', { a: 'x' })).toThrow('«a»');
    expect(() => fillFrame('<!-- a -->', { a: 'x' })).toThrow('«generated»');
  });

  test('shows text as text', () => {
    expect(textCell('a | <b>\n  c `d<e|f`')).toBe('a \\| &lt;b> c `d<e\\|f`');
  });

  test('says whose exit codes a command has', async () => {
    const stranger: CommandEntry = {
      noun: 'strange',
      verb: 'thing',
      summary: 's',
      load: () => Promise.resolve({ command: { summary: 's', exitCode: () => 9, run: () => 0 } }),
    };
    await expect(cliDocs([stranger], '')).rejects.toThrow('say in PEERS whose they are');
  });
});
