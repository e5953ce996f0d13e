import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import { DEV_TIME_NS } from '../../nns/answer.ts';
import type { ProposalFacts } from '../../../tools/proposal/facts.ts';
import { certifiedTime } from '../../../tools/report/certified-time.ts';
import { clip, LIMITS } from '../../../tools/report/limits.ts';
import type { Report } from '../../../tools/report/model.ts';
import { writeReport } from '../../../tools/report/page.ts';
import { size } from '../../../tools/report/parts.ts';
import {
  goodReport,
  HOSTILE_TEXTS,
  hostileRefusal,
  hostileReport,
  nearMissReport,
  releaseReport,
  unvotedReport,
} from '../../support/report-pages.ts';

const REPORTS: readonly (readonly [string, Report])[] = [
  ['good', goodReport()],
  ['near miss', nearMissReport()],
  ['before the vote', unvotedReport()],
  ['release', releaseReport()],
  ['hostile', hostileReport()],
  ['hostile and refused', hostileRefusal()],
];
const good = REPORTS[0]?.[1] as Report;
const pageOf = (name: string): string =>
  writeReport((REPORTS.find(([found]) => found === name) as [string, Report])[1]);

/** Tags with their attributes, as HTML reads a page whose text has no `<` and whose attributes are all in double quotes. */
function tagsOf(page: string): { readonly name: string; readonly attributes: ReadonlyMap<string, string> }[] {
  // What the browser reads raw is ours, and looked at elsewhere.
  const markup = page.replace(/(<(?:style|script)[^>]*>)[^]*?(<\/(?:style|script)>)/g, '$1$2');
  return [...markup.matchAll(/<([a-zA-Z!/][^\s>]*)((?:\s+[a-z][a-z-]*(?:="[^"]*")?)*)\s*\/?>/g)].map(
    ([, name = '', rest = '']) => ({
      name,
      attributes: new Map(
        [...rest.matchAll(/([a-z][a-z-]*)(?:="([^"]*)")?/gi)].map(([, key = '', value = '']) => [key, value]),
      ),
    }),
  );
}

const OURS = [
  '!doctype',
  'html',
  'head',
  'meta',
  'title',
  'style',
  'script',
  'body',
  'a',
  'header',
  'main',
  'footer',
  'nav',
  'section',
];
const TEXT = [
  'h1',
  'h2',
  'h3',
  'p',
  'b',
  'strong',
  'span',
  'code',
  'pre',
  'div',
  'br',
  'ul',
  'ol',
  'li',
  'dl',
  'dt',
  'dd',
  'time',
];
const TABLES = [
  'table',
  'caption',
  'thead',
  'tbody',
  'tr',
  'th',
  'td',
  'details',
  'summary',
  'svg',
  'circle',
  'path',
];

describe.each(REPORTS)('the page, %s', (_, report) => {
  const page = writeReport(report);
  const tags = tagsOf(page);

  test('has no element and no attribute that is not ours', () => {
    const names = new Set(tags.map(({ name }) => name.replace(/^\//, '').toLowerCase()));
    expect([...names].filter((name) => ![...OURS, ...TEXT, ...TABLES].includes(name))).toEqual([]);
    const attributes = new Set(tags.flatMap(({ attributes: found }) => [...found.keys()]));
    for (const name of attributes)
      expect(name).toMatch(
        /^(class|id|lang|charset|name|content|http-equiv|href|scope|role|tabindex|type|datetime|viewbox|viewBox|d|cx|cy|r|focusable|open|aria-[a-z]+|data-(copy|label)|html)$/,
      );
    // All of the markup is tags of that shape: no `<` is left over.
    const left = page
      .replace(/(<(?:style|script)[^>]*>)[^]*?(<\/(?:style|script)>)/g, '$1$2')
      .replace(/<([a-zA-Z!/][^\s>]*)((?:\s+[a-zA-Z][a-zA-Z-]*(?:="[^"]*")?)*)\s*\/?>/g, '');
    expect(left).not.toContain('<');
  });

  test('links to places on the page alone, which are there, each once', () => {
    const ids = tags.flatMap(({ attributes }) => attributes.get('id') ?? []);
    expect(ids).toEqual([...new Set(ids)]);
    for (const { name, attributes } of tags) {
      const href = attributes.get('href');
      if (href === undefined) continue;
      expect(name).toBe('a');
      expect(href).toMatch(/^#[a-z]+$/);
      expect(ids).toContain(href.slice(1));
    }
  });

  test('has one script and one style, and a policy that allows exactly these', () => {
    const policy = tags.find(({ attributes }) => attributes.get('http-equiv') === 'Content-Security-Policy');
    const digest = (element: string): string => {
      const found = [...page.matchAll(new RegExp(`<${element}>([^]*?)</${element}>`, 'g'))];
      expect(found).toHaveLength(1);
      return Buffer.from(digestBytes('sha256', utf8Bytes(found[0]?.[1] ?? ''))).toString('base64');
    };
    expect(policy?.attributes.get('content')?.replaceAll('&#39;', "'")).toBe(
      `default-src 'none'; style-src 'sha256-${digest('style')}'; script-src 'sha256-${digest('script')}'; base-uri 'none'; form-action 'none'`,
    );
    // The policy counts from where it stands: nothing that it is about comes before.
    expect(page.indexOf('Content-Security-Policy')).toBeLessThan(page.indexOf('<style>'));
    expect(page).not.toMatch(/url\(|@import|<link|<img|<iframe|<form|<base/i);
  });

  test('has headings in order, captions for tables and scopes for their headers', () => {
    const levels = tags.filter(({ name }) => /^h[1-6]$/.test(name)).map(({ name }) => Number(name.slice(1)));
    expect(levels[0]).toBe(1);
    expect(levels.filter((level) => level === 1)).toHaveLength(1);
    levels.forEach((level, i) => {
      if (i > 0) expect(level - (levels[i - 1] ?? 0)).toBeLessThanOrEqual(1);
    });
    const count = (wanted: string): number => tags.filter(({ name }) => name === wanted).length;
    expect(count('caption')).toBe(count('table'));
    for (const { name, attributes } of tags)
      if (name === 'th') expect(attributes.get('scope')).toMatch(/^(row|col)$/);
  });

  test('carries data for programs that say what the page says', () => {
    const [, text = ''] = /<script type="application\/json" id="report">([^<]*)<\/script>/.exec(page) ?? [];
    expect(JSON.parse(text)).toMatchObject({
      report: 1,
      network: report.network,
      outcome: report.outcome.kind,
    });
  });

  test('is the same every time, small, and says what it does not prove', () => {
    expect(writeReport(report)).toBe(page);
    expect(page.length).toBeLessThan(200_000);
    expect(page).toContain('What this page does not prove');
    expect(page.includes('NOT FOR PRODUCTION')).toBe(report.network === 'dev');
  });
});

test.each([
  ['good', 'Valid', 'Proposal 139001 blesses this image'],
  ['near miss', 'Refused', 'MEASUREMENT_NOT_BLESSED'],
  ['before the vote', 'Not voted on', 'There is no proposal yet'],
  ['release', 'Consistent', 'which no vote has blessed'],
])('%s: the verdict comes first', (name, seal, said) => {
  const page = pageOf(name);
  const main = page.slice(page.indexOf('<main>'));
  expect(page).toMatch(new RegExp(`<title>${seal}: `));
  expect(main.indexOf(seal)).toBeLessThan(main.indexOf('<h2'));
  expect(main.indexOf(said)).toBeLessThan(main.indexOf('<h2'));
});

test('only what was verified is called valid', () => {
  for (const [name, report] of REPORTS) {
    const page = writeReport(report);
    expect(page.includes('<title>Valid: '), name).toBe(report.outcome.kind === 'blessed');
    expect(/>verified</.test(page) || report.outcome.kind !== 'blessed', name).toBe(true);
  }
});

test('hostile texts are all there, as text', () => {
  const page = pageOf('hostile');
  for (const text of HOSTILE_TEXTS) if (text.includes('<')) expect(page).not.toContain(text);
  expect(page).toContain('&lt;img src=x onerror=alert(2)&gt;');
  expect(page).toContain('javascript:alert(document.domain)');
  expect(page).toContain('\\u{202e}gnp.exe');
  expect(page).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200b\u001b\u0007\u0000]/);
});

describe('lists of any length', () => {
  const facts = good.certification?.facts as ProposalFacts;
  const huge: Report = {
    ...good,
    boot: {
      ...good.boot,
      launches: Array.from({ length: 5000 }, (_, i) => ({
        measurement: `${i}`.padStart(96, '0'),
        vcpuType: 'EPYC-v4',
        vcpus: i + 1,
        slot: 'A' as const,
        blessed: false,
      })),
      otherBlessed: Array.from({ length: 5000 }, (_, i) => ({
        measurement: `${i}`.padStart(96, 'f'),
        vcpuType: '<'.repeat(5000),
        slot: '&'.repeat(5000),
        hasCommandLine: true,
      })),
      commandLines: good.boot.commandLines.map((line) => ({ ...line, text: 'x'.repeat(1 << 20) })),
    },
    certification: {
      ...(good.certification as NonNullable<Report['certification']>),
      facts: {
        ...facts,
        title: 't'.repeat(1 << 20),
        summary: 's'.repeat(1 << 20),
        url: 'u'.repeat(1 << 20),
        chipIds: Array.from({ length: 3000 }, (_, i) => new Uint8Array(64).fill(i)),
      },
    },
    tree: {
      compared: true,
      rows: Array.from({ length: 20_000 }, (_, i) => ({
        ...(good.tree.rows.at(-1) as Report['tree']['rows'][number]),
        path: `f${i}`.padEnd(4000, '/x'),
        text: null,
      })),
    },
  };
  const page = writeReport(huge);

  test('are cut, and the page says so', () => {
    expect(page.length).toBeLessThan(1_000_000);
    expect(page).toContain(`${5000 - LIMITS.launchRows} more computed launches are not shown here.`);
    expect(page).toContain(`${5000 - LIMITS.launchRows} more blessed digests are not shown here.`);
    expect(page).toContain(`${3000 - LIMITS.chips} more chips are not shown here.`);
    expect(page).toContain(`${20_000 - LIMITS.treeRows} more entries are not shown here.`);
    expect(page).toContain(`… (cut: ${1 << 20} characters in all)`);
  });
});

describe('words and numbers', () => {
  test.each([
    [0, '0 bytes'],
    [1, '1 byte'],
    [1023, '1\u202f023 bytes'],
    [1024, '1 KiB (1\u202f024 bytes)'],
    [1536, '1.5 KiB (1\u202f536 bytes)'],
    [1 << 20, '1 MiB (1\u202f048\u202f576 bytes)'],
    [10 * 2 ** 30, '10 GiB (10\u202f737\u202f418\u202f240 bytes)'],
    [2 ** 50, '1024 TiB (1\u202f125\u202f899\u202f906\u202f842\u202f624 bytes)'],
  ])('%d bytes', (bytes, expected) => {
    expect(size(bytes)).toBe(expected);
  });

  test.each<[bigint, string]>([
    [DEV_TIME_NS, '<time datetime="2026-02-02T02:36:00.000Z">2026-02-02 02:36:00 UTC</time>'],
    [
      1_753_272_354_975_000_000n,
      '<time datetime="2025-07-23T12:05:54.975Z">2025-07-23 12:05:54.975 UTC</time>',
    ],
    [1n, '<time datetime="1970-01-01T00:00:00.000Z">1970-01-01 00:00:00.000000001 UTC</time>'],
    [0n, 'at no time: zeros stand in its place, as in test certificates'],
    [1n << 90n, `${1n << 90n} ns after 1970, which is no date`],
  ])('%d ns', (timeNs, expected) => {
    expect(
      certifiedTime(timeNs)
        .toString()
        .replace(/\s+/g, ' ')
        .replace(/\s*>\s*/g, '>')
        .replace(/\s*</g, '<'),
    ).toBe(expected.replace(/\s*</g, '<'));
  });

  test('a text is cut between characters', () => {
    expect(clip('ab', 2)).toBe('ab');
    expect(clip('abc', 2)).toBe('ab… (cut: 3 characters in all)');
    expect(clip('a\u{1f600}b', 2)).toBe('a… (cut: 4 characters in all)');
  });
});
