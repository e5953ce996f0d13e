/** The few pieces of Markdown that the references are made of. */

/** Text of ours as one paragraph: what is not between backquotes is held from reading as HTML. */
export const paragraph = (text: string): string =>
  text
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .split(/(`[^`]*`)/)
    .map((part, i) => (i % 2 === 1 ? part : part.replaceAll('<', '&lt;')))
    .join('');

/** The same in a table, where a bar would end the cell. */
export const textCell = (text: string): string => paragraph(text).replaceAll('|', '\\|');

/** @param rows cells that are Markdown already */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  return line(heads) + line(heads.map(() => '---')) + rows.map(line).join('');
}

/** What every generated page says of itself. */
const NOTICE = '_Made from the code, and tested to be. To write it anew: `./bazelw run //docs:update`._';

/**
 * Puts texts where a frame has comments of their names; `<!-- generated -->` becomes the notice.
 * @throws Error when the frame lacks a place, has it twice, or has one that nothing fills
 */
export function fillFrame(frame: string, texts: Readonly<Record<string, string>>): string {
  const used = new Set<string>();
  const filled = frame.replace(/<!-- ([^>]*) -->/g, (_, name: string) => {
    const text = name === 'generated' ? NOTICE : texts[name];
    if (text === undefined || used.has(name))
      throw new Error(`the frame's place «${name}» is unknown or taken`);
    used.add(name);
    return text.trimEnd();
  });
  for (const name of ['generated', ...Object.keys(texts)])
    if (!used.has(name)) throw new Error(`the frame has no place «${name}»`);
  return `${filled.trimEnd()}\n`;
}
