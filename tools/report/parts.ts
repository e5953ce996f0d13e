/** What sections of a page are made of. */
import { html, lines, type Html, type Part } from './html.ts';
import { clip, LIMITS } from './limits.ts';

/** How something stands. Colour never says it alone: each has a word and a shape. */
export type State = 'ok' | 'failed' | 'open' | 'none';

const SHAPES: Readonly<Record<State, Html>> = {
  ok: html`<path d="M4 8.5l2.7 2.7L12 5.6" />`,
  failed: html`<path d="M5 5l6 6M11 5l-6 6" />`,
  open: html`<path d="M8 4.4v4.4M8 11.4v.2" />`,
  none: html`<path d="M5 8h6" />`,
};

export function mark(state: State): Html {
  return html`<svg class="mark ${state}" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <circle cx="8" cy="8" r="7" />
    ${SHAPES[state]}
  </svg>`;
}

/** A word with its mark. */
export function tag(state: State, word: string): Html {
  return html`<span class="tag ${state}">${mark(state)}${word}</span>`;
}

/** A hash or another value that is compared digit by digit: it wraps anywhere, in a table in equal lines. */
export function digest(text: string): Html {
  return html`<code class="hex n${text.length}">${text}</code>`;
}

/** Outside text on one line; long runs of hex digits in it are set as such. */
export function oneLine(text: string, units: number = LIMITS.lineUnits): Html {
  const pieces = clip(text, units).split(/((?<![0-9A-Za-z])[0-9a-f]{40,}(?![0-9A-Za-z]))/);
  return html`${pieces.map((piece, i) => (i % 2 === 1 ? html`<code class="hex">${piece}</code>` : piece))}`;
}

/** Text that has to stay on its line: names of ours, which are short. */
export function nowrap(text: Part): Html {
  return html`<span class="nowrap">${text}</span>`;
}

/** A block of text as it is, with a button to copy it where scripts run. */
export function block(text: string, copies?: string): Html {
  return copies === undefined
    ? html`<pre tabindex="0"><code>${lines(text)}</code></pre>`
    : html`<div class="copyable">
        <pre tabindex="0"><code data-copy="${copies}">${lines(text)}</code></pre>
      </div>`;
}

/** A value with its button. */
export function copyableDigest(text: string, what: string): Html {
  return html`<span class="copyable"><code class="hex" data-copy="${what}">${text}</code></span>`;
}

export function section(id: string, title: string, body: Part): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${title}</h2>
    ${body}
  </section> `;
}

/** Terms and what they are. */
export function facts(rows: readonly (readonly [name: string, value: Part] | undefined)[]): Html {
  return html`<dl class="facts">
    ${rows.map(
      (row) =>
        row !== undefined &&
        html`<div>
          <dt>${row[0]}</dt>
          <dd>${row[1]}</dd>
        </div> `,
    )}
  </dl>`;
}

export interface TableColumn {
  readonly name: string;
  readonly kind?: 'number' | 'digest';
}

/** A table in a box of its own, which scrolls where it does not fit. The first cell of a row is its header. */
export function table(
  caption: string,
  columns: readonly TableColumn[],
  rows: readonly { readonly cells: readonly Part[]; readonly kind?: string }[],
): Html {
  const [first, ...rest] = columns;
  return html`<div class="table" role="region" tabindex="0" aria-label="${caption}">
    <table>
      <caption>
        ${caption}
      </caption>
      <thead>
        <tr>
          ${columns.map(({ name, kind }) => html`<th scope="col" class="${kind ?? 'text'}">${name}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ({ cells, kind }) =>
            html`<tr class="${kind ?? 'plain'}">
              <th scope="row" class="${first?.kind ?? 'text'}">${cells[0]}</th>
              ${cells
                .slice(1)
                .map(
                  (cell, i) =>
                    html`<td class="${rest[i]?.kind ?? 'text'}" data-label="${rest[i]?.name ?? ''}">
                      ${cell}
                    </td>`,
                )}
            </tr> `,
        )}
      </tbody>
    </table>
  </div> `;
}

/** What a list leaves out; nothing when that is nothing. */
export function cutNote(more: number, what: string): Html | false {
  return (
    more > 0 && html`<p class="cut">${more} more ${what} ${more === 1 ? 'is' : 'are'} not shown here.</p>`
  );
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** {@link size} in a table, where only its parts may not be broken. */
export function sizeCell(bytes: number): Html {
  const [short = '', exact] = size(bytes).split(/ (?=\()/);
  return html`${nowrap(short)}${exact !== undefined && html` <span class="quiet nowrap">${exact}</span>`}`;
}

/** Bytes, and from a kibibyte on the same in a larger unit. */
export function size(bytes: number): string {
  const exact = `${bytes.toString().replace(/\B(?=(\d{3})+$)/g, '\u202f')} ${bytes === 1 ? 'byte' : 'bytes'}`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  if (power === 0) return exact;
  return `${(bytes / 2 ** (10 * power)).toFixed(1).replace(/\.0$/, '')} ${units[power - 1] ?? ''} (${exact})`;
}
