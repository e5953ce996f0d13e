/**
 * A picture of a flow from a text of boxes and arrows: boxes stand on a grid, arrows run along its rows and columns. Bytes depend
 * on the text alone; colours follow the reader's light or dark.
 */
interface Box {
  readonly column: number;
  readonly row: number;
  readonly kind: Kind;
  readonly lines: readonly string[];
}

interface Arrow {
  readonly from: string;
  readonly to: string;
  readonly isOver: boolean;
}

const KINDS = ['pinned', 'made', 'decided'] as const;
type Kind = (typeof KINDS)[number];

const KIND_TEXTS: Readonly<Record<Kind, string>> = {
  pinned: 'pinned and reviewed',
  made: 'made by an action',
  decided: 'a decision: refuses, or says what was checked',
};

/** Pixels at the picture's own size. */
const CELL = { width: 178, height: 112 } as const;
const BOX = { width: 146, height: 72 } as const;
const MARGIN = { left: 4, top: 66, bottom: 44 } as const;
/** What a character takes at most, on the average of a line: lines that might not fit are refused. */
const CHARACTER = { title: 7.9, line: 6.3 } as const;

const STYLE = `
  svg { --ink: #1f2328; --soft: #59636e; --page: #ffffff; --pinned: #fff4d6; --made: #eef2f6; --decided: #dff3e4; --edge: #8c959f; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6edf3; --soft: #a3adb8; --page: #0d1117; --pinned: #3d2f0a; --made: #1f2630; --decided: #12351f; --edge: #6e7681; }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; fill: var(--ink); }
  .page { fill: var(--page); }
  .head { font-size: 17px; font-weight: 600; }
  .title { font-size: 13px; font-weight: 600; text-anchor: middle; }
  .line { font-size: 11.5px; text-anchor: middle; fill: var(--soft); }
  .key { font-size: 12px; fill: var(--soft); }
  rect { stroke: var(--edge); }
  .pinned { fill: var(--pinned); }
  .made { fill: var(--made); }
  .decided { fill: var(--decided); stroke-width: 2; }
  path { fill: none; stroke: var(--edge); stroke-width: 1.5; }
  .tip { fill: var(--edge); stroke: none; }
`;

/**
 * @param text as docs/flow.txt explains itself
 * @throws Error naming the line that does not read, two boxes in one place, or a line too long for its box
 */
export function flowSvg(text: string): string {
  const { title, boxes, arrows } = readFlow(text);
  const columns = Math.max(...[...boxes.values()].map(({ column }) => column));
  const rows = Math.max(...[...boxes.values()].map(({ row }) => row));
  const width = MARGIN.left * 2 + columns * CELL.width;
  const height = MARGIN.top + rows * CELL.height + MARGIN.bottom;
  const box = (name: string): Box => {
    const found = boxes.get(name);
    if (found === undefined) throw new Error(`there is no box «${name}»`);
    return found;
  };
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title desc">
<title id="title">${escape(title)}</title>
<desc id="desc">${escape(arrows.map(({ from, to }) => `${box(from).lines[0] ?? ''} leads to ${box(to).lines[0] ?? ''}`).join('; '))}.</desc>
<style>${STYLE}</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>
<rect class="page" stroke="none" style="stroke:none" width="${width}" height="${height}" rx="8"/>
<text class="head" x="${MARGIN.left + (CELL.width - BOX.width) / 2}" y="30">${escape(title)}</text>
${arrows.map((arrow) => `<path d="${route(box(arrow.from), box(arrow.to), arrow.isOver)}" marker-end="url(#tip)"/>`).join('\n')}
${[...boxes.values()].map(boxSvg).join('\n')}
${key(height)}
</svg>
`;
}

function readFlow(text: string): { title: string; boxes: Map<string, Box>; arrows: Arrow[] } {
  let title = '';
  const boxes = new Map<string, Box>();
  const arrows: Arrow[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
    const [verb, name = '', second = '', third = '', kind, ...lines] = words;
    if (verb === 'title' && words.length === 2) {
      title = name;
    } else if (verb === 'box' && isKind(kind) && lines.length >= 1 && lines.length <= 3) {
      const at = { column: Number(second), row: Number(third) };
      if (!isPlace(at.column) || !isPlace(at.row) || boxes.has(name)) throw wrong(index, line);
      for (const other of boxes.values())
        if (other.column === at.column && other.row === at.row)
          throw wrong(index, `${line}: the place is taken`);
      for (const [i, part] of lines.entries()) {
        const size = part.length * (i === 0 ? CHARACTER.title : CHARACTER.line);
        if (size > BOX.width - 8) throw wrong(index, `«${part}» does not fit into its box`);
      }
      boxes.set(name, { ...at, kind, lines });
    } else if (verb === 'arrow' && (words.length === 3 || (words.length === 4 && third === 'over'))) {
      arrows.push({ from: name, to: second, isOver: third === 'over' });
    } else throw wrong(index, line);
  }
  if (title === '' || boxes.size === 0) throw new Error('a flow has a title and boxes');
  return { title, boxes, arrows };
}

const isKind = (text: string | undefined): text is Kind => KINDS.includes(text as Kind);

const isPlace = (value: number): boolean => Number.isInteger(value) && value >= 1 && value <= 20;

const wrong = (index: number, what: string): Error => new Error(`line ${index + 1}: ${what}`);

/** The middle of a box. */
function middle({ column, row }: Box): readonly [number, number] {
  return [MARGIN.left + (column - 0.5) * CELL.width, MARGIN.top + (row - 1) * CELL.height + BOX.height / 2];
}

/** The path of an arrow, as SVG writes it: from edge to edge, with a corner where it turns. */
function route(from: Box, to: Box, isOver: boolean): string {
  const [x1, y1] = middle(from);
  const [x2, y2] = middle(to);
  const [right, down] = [Math.sign(x2 - x1) * (BOX.width / 2), Math.sign(y2 - y1) * (BOX.height / 2)];
  if (isOver) {
    const top = y1 - BOX.height / 2;
    return `M${x1} ${top}V${top - 14}H${x2}V${y2 - BOX.height / 2 - 2}`;
  }
  if (y1 === y2) return `M${x1 + right} ${y1}H${x2 - right - Math.sign(right) * 2}`;
  if (x1 === x2) return `M${x1} ${y1 + down}V${y2 - down - Math.sign(down) * 2}`;
  return `M${x1 + right} ${y1}H${x2}V${y2 - down - Math.sign(down) * 2}`;
}

function boxSvg(box: Box): string {
  const [x, y] = middle(box);
  const rect = `<rect class="${box.kind}" x="${x - BOX.width / 2}" y="${y - BOX.height / 2}" width="${BOX.width}" height="${BOX.height}" rx="7"/>`;
  const top = y - (box.lines.length - 1) * 8.5 + 4;
  const texts = box.lines.map(
    (line, i) =>
      `<text class="${i === 0 ? 'title' : 'line'}" x="${x}" y="${top + i * 17}">${escape(line)}</text>`,
  );
  return rect + texts.join('');
}

/** What the colours mean. */
function key(height: number): string {
  let x: number = MARGIN.left + (CELL.width - BOX.width) / 2;
  return KINDS.map((kind) => {
    const at = x;
    x += 40 + KIND_TEXTS[kind].length * 6.6;
    const y = height - 22;
    return `<rect class="${kind}" x="${at}" y="${y - 11}" width="16" height="14" rx="3"/><text class="key" x="${at + 23}" y="${y}">${escape(KIND_TEXTS[kind])}</text>`;
  }).join('\n');
}

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
