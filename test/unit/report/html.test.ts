import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { showText, utf8Bytes } from '../../../tools/bytes/text.ts';
import {
  dataElement,
  html,
  lines,
  scriptElement,
  styleElement,
  type Part,
} from '../../../tools/report/html.ts';
import { expectCvmError } from '../../support/errors.ts';
import { HOSTILE_TEXTS } from '../../support/report-pages.ts';

/** What a browser reads back, by the few entities that may occur; anything else stays and is noticed. */
const decode = (markup: string): string =>
  markup.replace(/&(amp|lt|gt|quot|#39|#96);/g, (_, name: string) => ENTITIES[name] ?? '');
const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  '#39': "'",
  '#96': '`',
};

/** Any text there is, and much that means something to HTML. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc
    .array(fc.constantFrom(...HOSTILE_TEXTS, '<', '>', '&', '"', "'", '`', '\n', '=', '/', '--', '\ud800'), {
      maxLength: 6,
    })
    .map((parts) => parts.join('')),
);

describe('what goes into a template', () => {
  test('is text: it holds nothing that markup is made of, and reads back as it is shown', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const markup = html`${value}`.toString();
        expect(markup).not.toMatch(/[<>"'`]/);
        expect(decode(markup)).toBe(showText(value));
      }),
      { seed: 1, numRuns: 2000 },
    );
  });

  test('is text in an attribute, too', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const markup = html`<p title="${value}">x</p>`.toString();
        const [, inside] = /^<p title="([^"<>]*)">x<\/p>$/.exec(markup) ?? [];
        expect(decode(inside ?? 'not one attribute')).toBe(showText(value));
      }),
      { seed: 2, numRuns: 1000 },
    );
  });

  test('shows no control, bidirectional or zero-width character', () => {
    for (const value of HOSTILE_TEXTS)
      expect(html`${value}`.toString()).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/,
      );
  });

  test('is escaped once, however deep it is put in', () => {
    const inner = html`<b>${'<i>'}</b>`;
    expect(html`<p>${inner}${[inner, ['&']]}</p>`.toString()).toBe(
      '<p><b>&lt;i&gt;</b><b>&lt;i&gt;</b>&amp;</p>',
    );
  });

  test.each<[Part, string]>([
    [null, ''],
    [undefined, ''],
    [false, ''],
    [0, '0'],
    [7n, '7'],
    [[], ''],
  ])('%s stands as "%s"', (part, expected) => {
    expect(html`${part}`.toString()).toBe(expected);
  });

  test.each<[string, readonly string[], Part]>([
    ['without quotes', ['<p title=', '>y</p>'], 'x'],
    ['as an attribute', ['<p ', '="y">y</p>'], 'onclick'],
    ['as an element', ['<', '>y</p>'], 'script'],
    ['behind a closed quote', ['<p title="a"', '>y</p>'], 'x'],
    ['in single quotes', ["<p title='", "'>y</p>"], 'x'],
    ['markup in an attribute', ['<p title="', '">y</p>'], html`<b></b>`],
    ['a list in an attribute', ['<p title="', '">y</p>'], ['x']],
    ['nothing in an attribute', ['<p title="', '">y</p>'], false],
  ])('is refused inside a tag: %s', (_, literals, part) => {
    const template = Object.assign([...literals], { raw: literals });
    expectCvmError(() => html(template, part), 'INTERNAL', 'bug');
  });

  test('markup cannot be made of a look-alike', () => {
    const fake = { toString: () => '<script>alert(1)</script>' } as unknown as Part;
    expect(() => html`${fake}`).toThrow();
  });
});

describe('lines', () => {
  test('keep line feeds and tabs, and nothing else that is not shown', () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const markup = lines(value).toString();
        expect(markup).not.toMatch(/[<>"'`]/);
        const shown = value
          .split(/([\n\t])/)
          .map((piece) => (/^[\n\t]$/.test(piece) ? piece : showText(piece)));
        expect(decode(markup)).toBe(shown.join(''));
      }),
      { seed: 3, numRuns: 1000 },
    );
  });
});

describe('elements with raw text', () => {
  test.each([
    ['style', styleElement],
    ['script', scriptElement],
  ] as const)('%s is allowed by the digest of exactly its text', (name, make) => {
    const { element, source } = make('a > b { c: "d" }');
    expect(element.toString()).toBe(`<${name}>a > b { c: "d" }</${name}>`);
    const digest = Buffer.from(digestBytes('sha256', utf8Bytes('a > b { c: "d" }'))).toString('base64');
    expect(source).toBe(`'sha256-${digest}'`);
  });

  test.each(['</script>', '</ style', '<!-- x', 'a\r\nb', 'nul \0'])('refuse %j', (text) => {
    expectCvmError(() => scriptElement(text), 'INTERNAL', 'bug');
    expectCvmError(() => styleElement(text), 'INTERNAL', 'bug');
  });

  test('data read back as they were, and hold nothing that ends or opens anything', () => {
    fc.assert(
      fc.property(fc.anything({ values: [anyText] }), (value) => {
        const expected = JSON.stringify({ value });
        const markup = dataElement('d', { value }).toString();
        const [, text = ''] =
          /^<script type="application\/json" id="d">([^<>&]*)<\/script>$/.exec(markup) ?? [];
        expect(text).not.toMatch(/[\u007f-\u009f\u2028\u2029\u202a-\u202e]/);
        expect(JSON.parse(text)).toEqual(JSON.parse(expected));
      }),
      { seed: 4, numRuns: 1000 },
    );
  });

  test.each(['', 'x"y', 'x>', '1', 'A'])('no data element is called %j', (id) => {
    expectCvmError(() => dataElement(id, 1), 'INTERNAL', 'bug');
  });
});
