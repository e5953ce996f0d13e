import { Describer, hex, type Description } from './describe.ts';
import { IGVM_PAGE_BYTES, type IgvmFile } from './model.ts';

/** One thing in which two files differ. */
export interface IgvmDifference {
  readonly change: 'only in A' | 'only in B' | 'differs' | 'order';
  /** A header by address and platform, or the range of pages that share the difference. */
  readonly subject: string;
  /** Names to what A and B say; pages name the first byte that differs. */
  readonly fields: Readonly<Record<string, readonly [a: string, b: string]>>;
}

interface Entry extends IgvmDifference {
  readonly gpa?: number;
  /** Pages are merged with neighbours that are alike. */
  readonly likeness?: string;
  readonly alsoDiffers?: string;
}

/**
 * Compares two files header by header. Headers are the same thing when address, platforms and type are: numbers of
 * masks, file offsets and positions do not matter, except that a different order of the same headers is a difference,
 * since it makes another digest. Nothing comes out exactly when both files load and measure alike.
 */
export function diffIgvm(a: IgvmFile, b: IgvmFile): IgvmDifference[] {
  const left = indexed(a);
  const right = indexed(b);
  const entries: Entry[] = [];
  const fileFields = different(
    { version: String(a.version), architecture: a.architecture },
    { version: String(b.version), architecture: b.architecture },
  );
  if (Object.keys(fileFields).length > 0)
    entries.push({ change: 'differs', subject: 'file', fields: fileFields });
  for (const [key, description] of left) {
    const other = right.get(key);
    if (other === undefined) entries.push(alone('only in A', description));
    else entries.push(...compared(key, description, other));
  }
  for (const [key, description] of right) if (!left.has(key)) entries.push(alone('only in B', description));
  if (entries.length === 0) entries.push(...orderDifference([...left.keys()], [...right.keys()]));
  return mergePages(entries);
}

/** Descriptions by subject; the second of one subject has `#2` behind it. */
function indexed(file: IgvmFile): Map<string, Description> {
  const describer = new Describer(file);
  const result = new Map<string, Description>();
  const counts = new Map<string, number>();
  for (const header of file.headers) {
    const description = describer.describe(header);
    const count = (counts.get(description.subject) ?? 0) + 1;
    counts.set(description.subject, count);
    result.set(count === 1 ? description.subject : `${description.subject} #${count}`, description);
  }
  return result;
}

function alone(change: 'only in A' | 'only in B', { subject, page }: Description): Entry {
  return { change, subject, fields: {}, ...pageOf(subject, page?.gpa) };
}

function compared(key: string, a: Description, b: Description): Entry[] {
  const fields = different(a.fields, b.fields);
  // The platforms of a header are compared by name, in its subject; which bit stands for which says its own header.
  if (a.name !== 'SUPPORTED_PLATFORM') delete fields['mask'];
  if (Object.keys(fields).length === 0) return [];
  if (a.page !== undefined && b.page !== undefined && 'data' in fields) {
    const { data = ['', ''] as const, ...rest } = fields;
    const at = firstDifference(a.page.data, b.page.data);
    const content: Record<string, readonly [string, string]> =
      at === undefined
        ? { data }
        : { [`byte at ${hex(a.page.gpa + at)}`]: [byteAt(a.page.data, at), byteAt(b.page.data, at)] };
    return [
      {
        change: 'differs',
        subject: key,
        fields: { ...rest, ...content },
        ...pageOf(key, a.page.gpa),
        // Pages of which more differs than their bytes stand apart from those of which the bytes alone do.
        alsoDiffers: JSON.stringify([rest, at === undefined]),
      },
    ];
  }
  return [{ change: 'differs', subject: key, fields }];
}

/** Fields of which the texts differ; what one side does not have is zero there, as a register is. */
function different(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): Record<string, readonly [string, string]> {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  const result: Record<string, readonly [string, string]> = {};
  for (const name of names) {
    if (a[name] !== b[name]) result[name] = [a[name] ?? '0x0', b[name] ?? '0x0'];
  }
  return result;
}

function firstDifference(a: Uint8Array | undefined, b: Uint8Array | undefined): number | undefined {
  if (a === undefined || b === undefined) return undefined;
  for (let i = 0; i < IGVM_PAGE_BYTES; i++) if ((a[i] ?? 0) !== (b[i] ?? 0)) return i;
  return undefined;
}

function byteAt(data: Uint8Array | undefined, at: number): string {
  return hex(data?.[at] ?? 0);
}

/** `PAGE_DATA 0x1000 SEV_SNP` is alike with pages of the same platforms. */
function pageOf(subject: string, gpa: number | undefined): Pick<Entry, 'gpa' | 'likeness'> {
  return gpa === undefined ? {} : { gpa, likeness: subject.replace(/^PAGE_DATA 0x[0-9a-f]+ /, '') };
}

function mergePages(entries: readonly Entry[]): IgvmDifference[] {
  const result: IgvmDifference[] = [];
  const pages = entries.filter((entry) => entry.gpa !== undefined);
  for (const entry of entries) if (entry.gpa === undefined) result.push(entry);
  pages.sort((a, b) => compareTexts(group(a), group(b)) || (a.gpa ?? 0) - (b.gpa ?? 0));
  for (let i = 0; i < pages.length;) {
    const first = pages[i] as Entry;
    let end = i + 1;
    while (end < pages.length && continues(pages[end - 1] as Entry, pages[end] as Entry)) end++;
    const count = end - i;
    const from = first.gpa ?? 0;
    const subject =
      count === 1
        ? first.subject
        : `PAGE_DATA ${hex(from)}..${hex(from + count * IGVM_PAGE_BYTES - 1)} ${first.likeness ?? ''} (${count} pages)`;
    result.push({ change: first.change, subject, fields: first.fields });
    i = end;
  }
  return result;
}

function group({ change, likeness, alsoDiffers }: Entry): string {
  return [change, likeness ?? '', alsoDiffers ?? ''].join('\0');
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function continues(a: Entry, b: Entry): boolean {
  return group(a) === group(b) && (a.gpa ?? 0) + IGVM_PAGE_BYTES === b.gpa;
}

function orderDifference(a: readonly string[], b: readonly string[]): Entry[] {
  const at = a.findIndex((key, i) => key !== b[i]);
  if (at < 0) return [];
  return [{ change: 'order', subject: `header ${at}`, fields: { header: [a[at] ?? '', b[at] ?? ''] } }];
}

/** Differences for people, one a line, fields below. */
export function diffText(differences: readonly IgvmDifference[]): string {
  return differences
    .flatMap(({ change, subject, fields }) => [
      `${change.padEnd(10)} ${subject}`,
      ...Object.entries(fields).map(([name, [a, b]]) => `${' '.repeat(13)}${name}: ${a} -> ${b}`),
    ])
    .map((line) => `${line}\n`)
    .join('');
}
