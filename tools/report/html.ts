import { digestBytes } from '../bytes/digest.ts';
import { jsonText, showText, utf8Bytes } from '../bytes/text.ts';
import { bug } from '../errors.ts';

/**
 * Markup that is safe to put into a page. Only this module makes one: of literals that stand in our own source, and of text that
 * it escaped. Whatever else is put into {@link html} is text.
 */
export class Html {
  readonly #markup: string;
  private constructor(markup: string) {
    this.#markup = markup;
  }
  toString(): string {
    return this.#markup;
  }
  /** For this module alone: the markup is believed as it is. */
  static trusted(markup: string, key: symbol): Html {
    if (key !== KEY) throw bug('markup is made by the html template alone');
    return new Html(markup);
  }
}

const KEY = Symbol('html');

export type Part = Html | string | number | bigint | null | undefined | false | readonly Part[];

/**
 * A template of markup. Every part that is no {@link Html} is outside text: its control, bidirectional and zero-width characters are shown as
 * codes, and what markup is made of is escaped, for text and for attributes in double quotes alike.
 *
 * It is only right in those two places, and refuses any other: a part inside a tag has to stand in double quotes, and to be text. No
 * attribute of ours takes a URL, a style or a script, so nothing from outside gets into one.
 */
export function html(literals: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let source = literals[0] ?? '';
  let markup = source;
  for (const [i, part] of parts.entries()) {
    const tag = openTag(source);
    if (tag !== undefined && (!/"[^"]*$/.test(quotesOf(tag)) || !isPlain(part)))
      throw bug('a part inside a tag of a page is no text in double quotes');
    const literal = literals[i + 1] ?? '';
    source += literal;
    markup += partText(part) + literal;
  }
  return Html.trusted(markup, KEY);
}

/** Our own source from the last `<` on, while no `>` closes it. */
function openTag(source: string): string | undefined {
  const start = source.lastIndexOf('<');
  return start > source.lastIndexOf('>') ? source.slice(start) : undefined;
}

/** A tag without the values whose quotes are closed. */
function quotesOf(tag: string): string {
  return tag.replace(/"[^"]*"/g, '');
}

function isPlain(part: Part): boolean {
  return typeof part === 'string' || typeof part === 'number' || typeof part === 'bigint';
}

function partText(part: Part): string {
  if (part === null || part === undefined || part === false) return '';
  if (part instanceof Html) return part.toString();
  if (typeof part === 'string') return escapeMarkup(showText(part));
  if (typeof part === 'number' || typeof part === 'bigint') return part.toString();
  return part.map(partText).join('');
}

/** Outside text of several lines: line feeds and tabs stay what they are, the rest is escaped as ever. */
export function lines(text: string): Html {
  const escaped = text
    .split(/([\n\t])/)
    .map((piece) => (piece === '\n' || piece === '\t' ? piece : escapeMarkup(showText(piece))))
    .join('');
  return Html.trusted(escaped, KEY);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

function escapeMarkup(text: string): string {
  return text.replace(/[&<>"'`]/g, (unit) => ENTITIES[unit] ?? unit);
}

/** Parts one after the other, something between them. */
export function join(parts: readonly Part[], between: Part): Part[] {
  return parts.flatMap((part, i) => (i === 0 ? [part] : [between, part]));
}

/** An element of ours with text that the browser takes raw, and the CSP source that allows exactly this text. */
export interface InlineElement {
  readonly element: Html;
  /** `'sha256-…'`. */
  readonly source: string;
}

/** @param css of our own source, never from outside */
export function styleElement(css: string): InlineElement {
  return inlineElement('style', css);
}

/** @param js of our own source, never from outside */
export function scriptElement(js: string): InlineElement {
  return inlineElement('script', js);
}

function inlineElement(name: 'style' | 'script', text: string): InlineElement {
  // What could end the element, or be read otherwise than it is hashed, is not escaped but refused.
  if (/<\/|<!--|\r|\0/.test(text)) throw bug(`the ${name} of a page could end its own element`);
  const digest = Buffer.from(digestBytes('sha256', utf8Bytes(text))).toString('base64');
  return {
    element: Html.trusted(`<${name}>${text}</${name}>`, KEY),
    source: `'sha256-${digest}'`,
  };
}

/**
 * A value for programs inside a page, as JSON that no script runs. `<`, `>` and `&` stand as \uXXXX, and so do line separators and
 * what a reader would obey or not see: the text can neither end its element nor open a comment in it.
 * @param id of the element: letters, digits and `-`
 */
export function dataElement(id: string, value: unknown): Html {
  if (!/^[a-z][a-z0-9-]*$/.test(id)) throw bug('the id of a data element is not plain');
  const text = jsonText(value).replace(
    /[<>&]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return Html.trusted(`<script type="application/json" id="${id}">${text}</script>`, KEY);
}
