/** Report pages in a real browser: what it loads, refuses, shows, and lets people reach. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeReport } from '../../tools/report/page.ts';
import {
  goodReport,
  hostileRefusal,
  hostileReport,
  nearMissReport,
  releaseReport,
  unvotedReport,
} from '../support/report-pages.ts';
import { build } from './bazel.ts';
import { BROWSER_MISSING, startBrowser, type Browser, type Page } from './browser.ts';

const workspace = join(import.meta.dirname, '../..');
const axe = readFileSync(join(workspace, 'node_modules/axe-core/axe.min.js'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'cvm-report-'));

const DESKTOP = { width: 1200, height: 900 };
const PHONE = { width: 360, height: 740 };

const MADE = {
  good: goodReport,
  'near miss': nearMissReport,
  'before the vote': unvotedReport,
  release: releaseReport,
  hostile: hostileReport,
  'hostile and refused': hostileRefusal,
} as const;
const NAMES = [...Object.keys(MADE), 'sev-recovery'];
const HOSTILE = ['hostile', 'hostile and refused'];

const urlOf = (name: string): string => `file://${folder}/${name.replaceAll(' ', '-')}.html`;

let browser: Browser;
let page: Page;

beforeAll(async () => {
  if (BROWSER_MISSING !== undefined) return;
  for (const [name, make] of Object.entries(MADE))
    writeFileSync(join(folder, `${name.replaceAll(' ', '-')}.html`), writeReport(make()));
  const target = 'ic-os/guestos/envs/sev-recovery';
  build(workspace, [`//${target}:update-img.report.html`, `//${target}:update-img.tar.zst.sha256`]);
  writeFileSync(
    join(folder, 'sev-recovery.html'),
    readFileSync(join(workspace, `bazel-bin/${target}/update-img.report.html`)),
  );
  browser = startBrowser();
  page = await browser.page();
});

afterAll(async () => {
  if (BROWSER_MISSING === undefined) await browser.stop();
  rmSync(folder, { recursive: true });
});

const browserTest = BROWSER_MISSING === undefined ? test : test.skip;
const named = (name: string): string =>
  BROWSER_MISSING === undefined ? name : `${name} skipped: ${BROWSER_MISSING}`;

interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[];
  }[];
  readonly passes: readonly unknown[];
}

/** Everything on the page open, so that what is folded is judged, too. */
const OPEN_ALL = 'for (const fold of document.querySelectorAll("details")) fold.open = true';

describe.each(NAMES)('the page, %s', (name) => {
  browserTest(
    named('asks for nothing, breaks no policy of its own and writes nothing to the console'),
    async () => {
      for (const view of [DESKTOP, { ...PHONE, dark: true }, { ...DESKTOP, print: true }]) {
        await page.open(urlOf(name), view);
        await page.evaluate(OPEN_ALL);
        expect(page.noticed()).toEqual([]);
      }
    },
  );

  browserTest.each([
    ['light', { ...DESKTOP }],
    ['dark', { ...DESKTOP, dark: true }],
    ['light on a phone', { ...PHONE }],
    ['dark on a phone', { ...PHONE, dark: true }],
  ])(named('has nothing for axe-core to find, %s'), async (_, view) => {
    await page.open(urlOf(name), view);
    await page.evaluate(OPEN_ALL);
    await page.evaluate(`${axe};0`);
    const { violations, passes } = await page.evaluate<AxeResult>(
      'axe.run(document, { resultTypes: ["violations"] }).then(({ violations, passes }) => ({ violations, passes }))',
    );
    expect(violations).toEqual([]);
    expect(passes.length).toBeGreaterThan(10);
  });

  browserTest(named('is never wider than a phone, and nothing sticks out of it'), async () => {
    for (const width of [360, 320, 768]) {
      await page.open(urlOf(name), { ...PHONE, width });
      await page.evaluate(OPEN_ALL);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    }
  });

  browserTest(named('holds all of it without scripts'), async () => {
    const buttons = 'document.querySelectorAll("button").length';
    const text =
      'for (const button of document.querySelectorAll("button")) button.remove(); document.body.innerText';
    await page.open(urlOf(name), DESKTOP);
    await page.evaluate(OPEN_ALL);
    expect(await page.evaluate(buttons)).toBeGreaterThan(0);
    const withScripts = await page.evaluate<string>(text);
    await page.open(urlOf(name), { ...DESKTOP, scripts: false });
    await page.evaluate(OPEN_ALL);
    expect(await page.evaluate(buttons)).toBe(0);
    expect(await page.evaluate<string>(text)).toBe(withScripts);
    expect(withScripts.length).toBeGreaterThan(2000);
  });

  browserTest(
    named('lets the keyboard reach everything that does something, and shows where it is'),
    async () => {
      await page.open(urlOf(name), DESKTOP);
      await page.evaluate(OPEN_ALL);
      const wanted = await page.evaluate<number>(
        'document.querySelectorAll("a, button, summary, [tabindex]").length',
      );
      const seen = new Set<number>();
      for (let i = 0; i < wanted; i++) {
        await page.press('Tab');
        const [index, outline] = await page.evaluate<[number, string]>(
          '[[...document.querySelectorAll("*")].indexOf(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]',
        );
        seen.add(index);
        expect(outline).toBe('solid');
      }
      expect(seen.size).toBe(wanted);
    },
  );

  browserTest(named('prints all of it, on white, without buttons'), async () => {
    await page.open(urlOf(name), { ...DESKTOP, dark: true, print: true });
    const [background, nav, copy] = await page.evaluate<string[]>(
      '[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector("nav")).display, getComputedStyle(document.querySelector(".copy")).display]',
    );
    expect([background, nav, copy]).toEqual(['rgb(255, 255, 255)', 'none', 'none']);
    await page.evaluate('dispatchEvent(new Event("beforeprint"))');
    expect(await page.evaluate('document.querySelectorAll("details:not([open])").length')).toBe(0);
    const pdf = Buffer.from(await page.pdf()).toString('latin1');
    expect(pdf.startsWith('%PDF-')).toBe(true);
  });
});

browserTest(named('a fold opens and a button answers by keyboard'), async () => {
  await page.open(urlOf('good'), DESKTOP);
  await page.evaluate('document.querySelector("#measured summary").focus()');
  expect(await page.evaluate('document.querySelector("#measured details").open')).toBe(false);
  await page.press('Enter');
  expect(await page.evaluate('document.querySelector("#measured details").open')).toBe(true);
  await page.evaluate('document.querySelector(".copy").focus()');
  await page.press('Enter');
  const said =
    'new Promise((done) => { const look = () => { const text = document.querySelector(".copy").textContent; text === "Copy" ? setTimeout(look, 10) : done(text); }; look(); })';
  expect(['Copied', 'Selected']).toContain(await page.evaluate(said));
});

describe.each(HOSTILE)('texts from outside on the page, %s', (name) => {
  browserTest(named('run nothing, load nothing and become no element'), async () => {
    await page.open(urlOf(name), DESKTOP);
    await page.evaluate(OPEN_ALL);
    // Whatever listens would have something to listen to.
    await page.evaluate(
      'for (const element of document.querySelectorAll("main *")) for (const kind of ["mouseover", "focus", "load", "error"]) element.dispatchEvent(new Event(kind, { bubbles: true }))',
    );
    expect(page.noticed()).toEqual([]);
    const found = await page.evaluate<unknown>(`({
      strange: [...document.querySelectorAll('img, iframe, object, embed, form, input, base, link, video, audio, [style], [src], [srcset], [autofocus]')].length,
      scripts: [...document.scripts].map(({ type, src }) => type + src),
      styles: document.querySelectorAll('style').length,
      links: [...document.querySelectorAll('[href]')].filter((link) => !link.getAttribute('href').startsWith('#')).length,
      handlers: [...document.querySelectorAll('*')].filter((element) => [...element.attributes].some(({ name }) => name.startsWith('on'))).length,
      bodies: document.querySelectorAll('body').length,
    })`);
    expect(found).toEqual({
      strange: 0,
      scripts: ['application/json', ''],
      styles: 1,
      links: 0,
      handlers: 0,
      bodies: 1,
    });
  });

  browserTest(named('are there to be read'), async () => {
    await page.open(urlOf(name), DESKTOP);
    await page.evaluate(OPEN_ALL);
    const text = await page.evaluate<string>('document.body.textContent');
    for (const said of ['<img src=x', 'javascript:alert(6)', '\\u{202e}gnp.exe', '&lt;b&gt;'])
      expect(text).toContain(said);
    expect(text).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200b]/);
  });

  browserTest(named('would be stopped by the policy, too'), async () => {
    await page.open(urlOf(name), DESKTOP);
    // What no text can do is done here by hand: the second wall stands.
    const reached = await page.evaluate<unknown>(`new Promise((done) => {
      const refused = [];
      document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => refused.push(effectiveDirective));
      const script = document.createElement('script');
      script.textContent = 'globalThis.reached = true';
      document.body.append(script);
      const image = document.createElement('img');
      image.addEventListener('error', () => setTimeout(() => done({ reached: globalThis.reached === true, refused: refused.sort() }), 0));
      image.src = 'https://evil.example/x.png';
      document.body.append(image);
    })`);
    expect(reached).toEqual({ reached: false, refused: ['img-src', 'script-src-elem'] });
  });
});

browserTest(named('the page of an environment names the sha256 of the image beside it'), () => {
  const built = join(workspace, 'bazel-bin/ic-os/guestos/envs/sev-recovery');
  const text = readFileSync(join(folder, 'sev-recovery.html'), 'utf8');
  const [sha256 = ''] = readFileSync(join(built, 'update-img.tar.zst.sha256'), 'utf8').split(' ');
  expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(text).toContain(sha256);
  expect(text.length).toBeLessThan(200_000);
  expect(existsSync(join(built, 'update-img.report.html'))).toBe(true);
});
