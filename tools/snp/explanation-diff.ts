import type { ExplainedStep, Explanation } from './explanation.ts';
import { guestFeatureNames } from './guest-features.ts';
import { describeSignature } from './search-report.ts';

/** Where two launches part, and what that means. */
export interface LaunchDifference {
  /** Index of the first step after which the digests differ. */
  readonly step: number;
  /** Undefined where that launch has ended already. */
  readonly ours: ExplainedStep | undefined;
  readonly theirs: ExplainedStep | undefined;
  /** Sentences, the plainest first; at least one. */
  readonly meaning: readonly string[];
}

/** Words of a command line that are shown. */
const SHOWN_WORDS = 4;

/** The first difference of two launches, undefined when there is none: digests are equal exactly when all before was. */
export function firstDifference(ours: Explanation, theirs: Explanation): LaunchDifference | undefined {
  if (ours.mode !== theirs.mode) {
    const meaning = [`other modes: ${ours.mode}, there ${theirs.mode}`];
    return { step: 0, ours: ours.steps[0], theirs: theirs.steps[0], meaning };
  }
  const most = Math.max(ours.steps.length, theirs.steps.length);
  for (let step = 0; step < most; step++) {
    const [a, b] = [ours.steps[step], theirs.steps[step]];
    if (a?.digest === b?.digest) continue;
    return { step, ours: a, theirs: b, meaning: explain(ours, theirs, a, b) };
  }
  return undefined;
}

function explain(
  ours: Explanation,
  theirs: Explanation,
  a: ExplainedStep | undefined,
  b: ExplainedStep | undefined,
): string[] {
  if (a === undefined || b === undefined) return ended(ours, theirs);
  if (a.what !== b.what && (a.what === 'vmsa' || b.what === 'vmsa'))
    return ['the firmware of one side lists more sections: another firmware build, or no kernel table (SEV)'];
  switch (a.what) {
    case 'firmware':
    case 'svsm':
      return image(a, b);
    case 'hashes':
      return hashes(ours, theirs, a, b);
    case 'section':
      return section(ours, theirs, a, b);
    case 'vmsa':
      return registers(ours, theirs, a, b);
  }
}

function ended(ours: Explanation, theirs: Explanation): string[] {
  const vcpus = ({ steps }: Explanation): number => steps.filter(({ what }) => what === 'vmsa').length;
  return [`other vCPU counts at launch: ${vcpus(ours)}, there ${vcpus(theirs)}`];
}

function image(a: ExplainedStep, b: ExplainedStep): string[] {
  const size = (step: ExplainedStep): string =>
    step.pages === null ? `${step.bytes ?? 0} bytes` : `${step.pages} pages`;
  if (size(a) !== size(b)) return [`another ${a.name} image: ${size(a)}, there ${size(b)}`];
  if (a.gpa !== b.gpa) return [`the ${a.name} image lies elsewhere: ${a.gpa ?? ''}, there ${b.gpa ?? ''}`];
  return [`another build of the ${a.name} image, of the same size`];
}

function section(ours: Explanation, theirs: Explanation, a: ExplainedStep, b: ExplainedStep): string[] {
  if (a.name !== b.name || a.gpa !== b.gpa) {
    const place = (step: ExplainedStep): string => `${step.name} at ${step.gpa ?? ''}`;
    return [
      ours.vmmType !== theirs.vmmType
        ? `other VMMs: ${ours.vmmType}, there ${theirs.vmmType} (EC2 measures the CPUID page last)`
        : `the firmware lists other sections or another order: ${place(a)}, there ${place(b)}`,
    ];
  }
  if (a.pageType !== b.pageType) {
    if (a.pageType === 'unmeasured' || b.pageType === 'unmeasured')
      return [`other VMMs: ${ours.vmmType}, there ${theirs.vmmType} (GCE does not clear the memory of SEC)`];
    const [without, other] = a.pageType === 'zero' ? ['this side', 'the other'] : ['the other side', 'this'];
    return [
      `${without} measures no kernel and ${other} does: set kernel-hashes=on on the sev-snp-guest object`,
    ];
  }
  if (a.pages !== b.pages)
    return [
      `the section has another size: ${a.pages ?? 0} pages, there ${b.pages ?? 0}: another firmware build`,
    ];
  return hashes(ours, theirs, a, b);
}

function hashes(ours: Explanation, theirs: Explanation, a: ExplainedStep, b: ExplainedStep): string[] {
  const meaning: string[] = [];
  for (const part of ['kernel', 'initrd', 'cmdline']) {
    const [x, y] = [a.fields[part], b.fields[part]];
    if (x === undefined || y === undefined || x === y) continue;
    if (part === 'cmdline') meaning.push(cmdlines(ours.guest.cmdline ?? '', theirs.guest.cmdline ?? ''));
    else meaning.push(`another ${part}: sha256 ${x}, there ${y}`);
  }
  return meaning.length > 0
    ? meaning
    : ['the kernel hashes lie elsewhere in their page: another base of the SEV hash table in the firmware'];
}

function cmdlines(ours: string, theirs: string): string {
  const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');
  const without = (all: readonly string[], others: readonly string[]): string => {
    const rest = all.filter((word) => !others.includes(word));
    const shown = rest.slice(0, SHOWN_WORDS).map((word) => JSON.stringify(word.slice(0, 100)));
    return `${shown.join(' ') || 'nothing'}${rest.length > SHOWN_WORDS ? ` and ${rest.length - SHOWN_WORDS} more` : ''}`;
  };
  const [a, b] = [words(ours), words(theirs)];
  const [onlyA, onlyB] = [without(a, b), without(b, a)];
  if (onlyA === 'nothing' && onlyB === 'nothing')
    return 'another command line: the same words in another order, or other blanks';
  return `another command line: only here ${onlyA}, only there ${onlyB}`;
}

function registers(ours: Explanation, theirs: Explanation, a: ExplainedStep, b: ExplainedStep): string[] {
  const names = Object.keys({ ...a.fields, ...b.fields }).filter((name) => a.fields[name] !== b.fields[name]);
  const value = (step: ExplainedStep, name: string): string => step.fields[name] ?? '0x0';
  const meaning: string[] = [];
  if (ours.vmmType !== theirs.vmmType) meaning.push(`other VMMs: ${ours.vmmType}, there ${theirs.vmmType}`);
  for (const name of names) {
    const [x, y] = [value(a, name), value(b, name)];
    if (name === 'rdx') meaning.push(`other CPU types: ${signature(x)}, there ${signature(y)}`);
    else if (name === 'sevFeatures')
      meaning.push(`other guest features: ${features(x)}, there ${features(y)}`);
    else if (name === 'mxcsr') {
      const older = x === '0x0' ? 'this side' : 'the other side';
      meaning.push(
        `${older} is a host before KVM_SEV_INIT2 (Linux 6.10), or another VMM: FPU registers are zero`,
      );
    } else if (name === 'rip' || name === 'cs')
      meaning.push(`vCPUs start elsewhere (${name} ${x}, there ${y}): another firmware build, or VMM`);
    else if (name !== 'x87Fcw') meaning.push(`register ${name}: ${x}, there ${y}`);
  }
  return meaning.length > 0 ? meaning : ['the VMSA pages differ in a register that neither side shows'];
}

function signature(text: string): string {
  return /^0x[0-9a-f]{1,8}$/.test(text) ? describeSignature(Number(text)) : text;
}

function features(text: string): string {
  return /^0x[0-9a-f]{1,16}$/.test(text) ? `${text} (${guestFeatureNames(BigInt(text)).join(', ')})` : text;
}
