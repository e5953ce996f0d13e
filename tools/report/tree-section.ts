import { showRaw, type RawText } from '../bytes/text.ts';
import { BOOT_FILES } from '../guestos/layout.ts';
import { html, join, lines, type Html, type Part } from './html.ts';
import { clip, firstOf, LIMITS } from './limits.ts';
import type { Report } from './model.ts';
import { cutNote, digest, facts, oneLine, plural, section, size, table, tag, type State } from './parts.ts';
import type { Hunk, TextDifference } from './text-difference.ts';
import type { Change, TreeFact, TreeRow } from './tree-difference.ts';

const CHANGES: Readonly<Record<Change, readonly [state: State, word: string]>> = {
  added: ['ok', 'added'],
  removed: ['failed', 'removed'],
  changed: ['open', 'changed'],
  same: ['none', 'unchanged'],
};

/** The tree of the boot partition, what differs from the base first. */
export function treeSection(report: Report): Html {
  const { tree, base, isBeforeVote } = report;
  if (isBeforeVote) {
    return section(
      'tree',
      'The boot partition',
      html`<p>
          The boot partition of the base, to which a proposal is added after the vote. Nothing else of it
          changes.
        </p>
        ${rowsTable('Files of the base’s boot partition', tree.rows, report)}`,
    );
  }
  if (!tree.compared) {
    return section(
      'tree',
      'The boot partition',
      html`<p>
          ${plural(tree.rows.length, 'entry', 'entries')}. A release of its own has no base to be compared
          with.
        </p>
        ${rowsTable('Files of the boot partition', tree.rows, report)}`,
    );
  }
  const of = (change: Change): TreeRow[] => tree.rows.filter((row) => row.change === change);
  const differing = tree.rows.filter(({ change }) => change !== 'same');
  const texts = differing.filter(({ text }) => text !== null);
  return section(
    'tree',
    'The boot partition against its base',
    html`<p>
        Compared with the boot partition inside the base release: names, types, contents, modes, owners, times
        and extended attributes.
      </p>
      ${
        base !== null &&
        facts([
          ['Base', html`${oneLine(base.file.name)}, ${size(base.file.sizeBytes)}`],
          [
            'Version',
            base.version === null ? 'none that is text' : html`<code>${oneLine(base.version)}</code>`,
          ],
          ['sha256', digest(base.file.sha256)],
        ])
      }
      <ul class="counts">
        ${(['added', 'removed', 'changed', 'same'] as const).map((change) => html`<li class="${CHANGES[change][0]}"><b>${of(change).length}</b> ${CHANGES[change][1]}</li>`)}
      </ul>
      ${
        differing.length === 0
          ? html`<p>Nothing differs.</p>`
          : rowsTable('What differs from the base', differing, report)
      }
      ${texts.map(fileDifference)}
      <details>
        <summary>${plural(of('same').length, 'unchanged entry', 'unchanged entries')}</summary>
        ${rowsTable('As in the base', of('same'), report)}
      </details>`,
  );
}

function rowsTable(caption: string, rows: readonly TreeRow[], report: Report): Html {
  const { shown, more } = firstOf(rows, LIMITS.treeRows);
  const isCompared = report.tree.compared;
  return html`${table(
    caption,
    [
      { name: 'Path' },
      ...(isCompared ? [{ name: 'Base' }] : []),
      { name: 'Measured' },
      { name: 'Content', kind: 'digest' },
    ],
    shown.map((row) => ({
      kind: row.change,
      cells: [
        html`<code class="path">/${oneLine(showRaw(row.path))}</code>`,
        ...(isCompared ? [change(row)] : []),
        role(row.path, report),
        content(row),
      ],
    })),
  )}${cutNote(more, 'entries')}`;
}

function change({ change: kind, differences }: TreeRow): Html {
  const [state, word] = CHANGES[kind];
  return html`${tag(state, word)}${differences.length > 0 && html`<br /><span class="quiet">${differences.join(', ')}</span>`}`;
}

/** What the launch measurement, or the vote, says about a file. */
function role(path: RawText, { boot }: Report): string {
  const part = boot.components.find((component) => component.path === path);
  if (part !== undefined) return `${part.role}: measured`;
  if (path === BOOT_FILES.bootArgs) return 'TEE command lines: measured';
  if (path === BOOT_FILES.proposal) return 'signed by the NNS';
  if (boot.components.some(({ name }) => name === path)) return 'leads to what is measured';
  return 'no';
}

function content({ now, base, change: kind }: TreeRow): Part {
  const is = now ?? base;
  if (is === null) return '';
  const was = kind === 'changed' && now !== null && base !== null ? base : null;
  return html`${fact(is)}${was !== null && html`<br /><span class="quiet">was ${fact(was)}</span>`}`;
}

function fact({ type, sizeBytes, sha256, target, mode, uid, gid }: TreeFact): Html {
  const rights = `${mode.toString(8).padStart(4, '0')}${uid === 0 && gid === 0 ? '' : `, owner ${uid}:${gid}`}`;
  if (target !== null) return html`${type} to <code class="path">${oneLine(showRaw(target))}</code>`;
  if (sha256 === null || sizeBytes === null) return html`${type === 'dir' ? 'folder' : type}, ${rights}`;
  return html`${size(sizeBytes)}, ${rights}<br />${digest(sha256)}`;
}

const FINAL_NEWLINE: Readonly<Record<TextDifference['finalNewline'], string>> = {
  same: '',
  added: 'The last line has a line feed now, which it had not.',
  removed: 'The last line has no line feed any more.',
};

function fileDifference({ path, text, change: kind }: TreeRow): Html | false {
  if (text === null) return false;
  const { hunks, added, removed, cut, finalNewline } = text;
  const name = showRaw(path);
  return html`<details class="difference-of" open>
    <summary>
      <code class="path">/${oneLine(name)}</code>
      <span class="quiet"
        >${CHANGES[kind][1]}: ${plural(added, 'line')} more, ${plural(removed, 'line')} less</span
      >
    </summary>
    <div class="diff" role="region" tabindex="0" aria-label="Difference of /${clip(name, LIMITS.lineUnits)}">
      ${hunks.map(hunkLines)}
    </div>
    ${finalNewline !== 'same' && html`<p class="cut">${FINAL_NEWLINE[finalNewline]}</p>`}
    ${cutNote(cut, 'lines')}
  </details> `;
}

const MARKS = { '+': 'plus', '-': 'minus', ' ': 'both' } as const;

function hunkLines({ beforeLine, afterLine, lines: rows }: Hunk): Html {
  const shown = rows.map(
    ({ mark, text }) =>
      html`<span class="${MARKS[mark]}"
        ><span class="sign">${mark}</span>${lines(clip(text, LIMITS.lineUnits))}</span
      >`,
  );
  const at = html`<span class="at">line ${beforeLine} of the base, ${afterLine} here</span>`;
  return html`<pre class="hunk">${join([at, ...shown], lines('\n'))}</pre>`;
}
