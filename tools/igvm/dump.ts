import { Describer, hex, type Description } from './describe.ts';
import { IGVM_PAGE_BYTES, type IgvmFile } from './model.ts';

/** A file as JSON: every header by name, with its fields as texts. */
export function dumpJson(file: IgvmFile): object {
  const describer = new Describer(file);
  return {
    version: file.version,
    architecture: file.architecture,
    headers: file.headers.map((header, number) => {
      const { name, fields } = describer.describe(header);
      const platforms = 'mask' in header ? { platforms: describer.platforms(header.mask) } : {};
      return { number, header: name, ...platforms, fields };
    }),
  };
}

interface Lines {
  readonly first: number;
  last: number;
  readonly from: number;
  to: number;
  readonly likeness: string;
}

/** A file for people: one line a header, pages that follow one another as one line, start states register by register. */
export function dumpText(file: IgvmFile): string {
  const describer = new Describer(file);
  const lines: string[] = [
    `IGVM version ${file.version}, ${file.architecture}, ${file.headers.length} headers`,
  ];
  let run: Lines | undefined;
  const flush = (): void => {
    if (run === undefined) return;
    const numbers = run.first === run.last ? String(run.first) : `${run.first}-${run.last}`;
    const pages = (run.to - run.from) / IGVM_PAGE_BYTES;
    lines.push(
      `${numbers.padEnd(11)} PAGE_DATA ${hex(run.from)}..${hex(run.to - 1)}  ${pages} × 4 KiB  ${run.likeness}`,
    );
    run = undefined;
  };
  file.headers.forEach((header, number) => {
    const description = describer.describe(header);
    if (header.kind === 'page-data') {
      const { type = '', flags = '' } = description.fields;
      const content = header.data === undefined ? 'empty' : 'data';
      const likeness = `${describer.platforms(header.mask)}  ${type}  ${content}${flags === 'none' ? '' : `  ${flags}`}`;
      if (run !== undefined && run.likeness === likeness && run.to === header.gpa) {
        run.last = number;
        run.to += IGVM_PAGE_BYTES;
        return;
      }
      flush();
      run = { first: number, last: number, from: header.gpa, to: header.gpa + IGVM_PAGE_BYTES, likeness };
      return;
    }
    flush();
    lines.push(
      ...headerLines(
        String(number),
        description,
        header.kind === 'vp-context' || header.kind === 'snp-id-block',
      ),
    );
  });
  flush();
  return `${lines.join('\n')}\n`;
}

function headerLines(number: string, { subject, fields }: Description, isLong: boolean): string[] {
  const entries = Object.entries(fields);
  if (!isLong)
    return [
      `${number.padEnd(11)} ${subject}  ${entries.map(([name, value]) => `${name} ${value}`).join('  ')}`,
    ];
  return [
    `${number.padEnd(11)} ${subject}`,
    ...entries.map(([name, value]) => `${' '.repeat(14)}${name} ${value}`),
  ];
}
