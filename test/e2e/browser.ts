/**
 * A real browser, over its own debugging protocol on two pipes: no port, no driver, no package. It runs from the root that ./bazelw
 * made, or is the machine's.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { findOracle, ORACLES_REQUIRED } from '../cross/oracle.ts';
import { BAZEL_ROOTS, rootWords } from './oracle-root.ts';

const [inRoot] = globSync(join(BAZEL_ROOTS, 'usr/bin/chromium'));
const onMachine = findOracle('chromium');

export const BROWSER_MISSING = inRoot === undefined && onMachine === undefined ? 'no chromium' : undefined;

if (BROWSER_MISSING !== undefined && ORACLES_REQUIRED)
  throw new Error(`oracle required, not found: ${BROWSER_MISSING}`);

/** It asks nobody for anything and keeps nothing; as root it cannot have a sandbox of its own. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-default-apps',
  '--disable-extensions',
  '--force-color-profile=srgb',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
];

type Fields = Readonly<Record<string, unknown>>;
interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Fields;
  readonly result?: Fields;
  readonly error?: { readonly message: string };
  readonly sessionId?: string;
}

export interface Browser {
  page(): Promise<Page>;
  stop(): Promise<void>;
}

/** How a page is looked at. */
export interface View {
  readonly width: number;
  readonly height: number;
  readonly dark?: boolean;
  readonly scripts?: boolean;
  readonly print?: boolean;
}

export interface Page {
  /** Loads a file or URL and waits until it is there. What was noticed before is forgotten. */
  open(url: string, view: View): Promise<void>;
  /** What went wrong or went out since the page was opened, in words. */
  noticed(): readonly string[];
  /** The value of an expression, which may be a promise; JSON carries it. */
  evaluate<T>(expression: string): Promise<T>;
  press(key: string): Promise<void>;
  screenshot(): Promise<Uint8Array>;
  pdf(): Promise<Uint8Array>;
}

/** Starts the browser. Only when {@link BROWSER_MISSING} is undefined. */
export function startBrowser(): Browser {
  const profile = mkdtempSync(join(tmpdir(), 'cvm-chromium-'));
  const words = [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'];
  const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] as const;
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: profile };
  const child =
    inRoot === undefined
      ? spawn(onMachine ?? 'chromium', words, { stdio: [...stdio], env })
      : spawn('bwrap', rootWords(join(inRoot, '../../..'), '/usr/bin/chromium', words), {
          stdio: [...stdio],
          env,
        });
  const connection = connect(child);
  return {
    page: () => openPage(connection),
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      // What a killed browser still writes must not fail the test that is over.
      rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

interface Connection {
  call(method: string, params?: Fields, sessionId?: string): Promise<Fields>;
  listen(sessionId: string, listener: (method: string, params: Fields) => void): void;
}

function connect(child: ChildProcess): Connection {
  const to = child.stdio[3] as Writable;
  const from = child.stdio[4] as Readable;
  const waiting = new Map<
    number,
    { resolve: (value: Fields) => void; reject: (error: Error) => void; method: string }
  >();
  const listeners = new Map<string, (method: string, params: Fields) => void>();
  let last = 0;
  let pending: Buffer[] = [];
  const receive = (message: Message): void => {
    if (message.id === undefined) {
      listeners.get(message.sessionId ?? '')?.(message.method ?? '', message.params ?? {});
      return;
    }
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error !== undefined) call?.reject(new Error(`${call.method}: ${message.error.message}`));
    else call?.resolve(message.result ?? {});
  };
  from.on('data', (chunk: Buffer) => {
    let rest = chunk;
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      receive(JSON.parse(Buffer.concat([...pending, rest.subarray(0, end)]).toString()) as Message);
      pending = [];
      rest = rest.subarray(end + 1);
    }
    if (rest.length > 0) pending.push(rest);
  });
  child.once('exit', (code, signal) => {
    for (const { reject, method } of waiting.values())
      reject(new Error(`the browser ended (${code ?? signal ?? ''}) before it answered ${method}`));
    waiting.clear();
  });
  to.on('error', () => undefined);
  return {
    call(method, params = {}, sessionId?: string) {
      const id = ++last;
      const answer = new Promise<Fields>((resolve, reject) => {
        waiting.set(id, { resolve, reject, method });
      });
      to.write(
        `${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`,
      );
      return answer;
    },
    listen: (sessionId, listener) => void listeners.set(sessionId, listener),
  };
}

async function openPage(connection: Connection): Promise<Page> {
  const { targetId } = await connection.call('Target.createTarget', { url: 'about:blank' });
  const attached = await connection.call('Target.attachToTarget', { targetId, flatten: true });
  const sessionId = attached['sessionId'] as string;
  const call = (method: string, params?: Fields): Promise<Fields> =>
    connection.call(method, params, sessionId);
  let noticed: string[] = [];
  let url = '';
  let loaded: () => void = () => undefined;
  connection.listen(sessionId, (method, params) => {
    if (method === 'Page.loadEventFired') loaded();
    if (method === 'Page.javascriptDialogOpening')
      void call('Page.handleJavaScriptDialog', { accept: false });
    const notice = noticeOf(method, params, url);
    if (notice !== undefined) noticed.push(notice);
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'Audits']) await call(`${domain}.enable`);
  const evaluate = async <T>(expression: string): Promise<T> => {
    const answer = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (answer['exceptionDetails'] !== undefined)
      throw new Error(`the page threw: ${JSON.stringify(answer['exceptionDetails'])}`);
    return (answer['result'] as Fields)['value'] as T;
  };
  return {
    async open(address, { width, height, dark = false, scripts = true, print = false }) {
      await call('Emulation.setDeviceMetricsOverride', {
        width,
        height,
        deviceScaleFactor: 1,
        mobile: width < 600,
      });
      await call('Emulation.setEmulatedMedia', {
        media: print ? 'print' : 'screen',
        features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }],
      });
      await call('Emulation.setScriptExecutionDisabled', { value: !scripts });
      // Leaves the page before: what that one still does is not this one's.
      const blank = new Promise<void>((resolve) => (loaded = resolve));
      await call('Page.navigate', { url: 'about:blank' });
      await blank;
      noticed = [];
      url = address;
      const done = new Promise<void>((resolve) => (loaded = resolve));
      await call('Page.navigate', { url: address });
      await done;
      // A round through the page: what its load event set off has been noticed then. Without scripts no promise of it is kept.
      if (scripts) {
        await evaluate(
          'new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))',
        );
      }
    },
    noticed: () => noticed,
    evaluate,
    async press(key) {
      const code = { Tab: 9, Enter: 13, ' ': 32 }[key] ?? 0;
      const event = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: code };
      const text = { Enter: '\r', ' ': ' ' }[key];
      await call('Input.dispatchKeyEvent', {
        type: 'keyDown',
        ...event,
        ...(text === undefined ? {} : { text }),
      });
      await call('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
    },
    async screenshot() {
      const { data } = await call('Page.captureScreenshot', { captureBeyondViewport: true });
      return Buffer.from(data as string, 'base64');
    },
    async pdf() {
      const { data } = await call('Page.printToPDF', { preferCSSPageSize: true, printBackground: false });
      return Buffer.from(data as string, 'base64');
    },
  };
}

/** What of an event is worth a test's attention. */
function noticeOf(method: string, params: Fields, url: string): string | undefined {
  const text = (value: unknown): string => JSON.stringify(value);
  switch (method) {
    case 'Runtime.consoleAPICalled':
      return `console ${text(params['type'])}: ${text(params['args'])}`;
    case 'Runtime.exceptionThrown':
      return `exception: ${text(params['exceptionDetails'])}`;
    case 'Log.entryAdded':
      return `log: ${text(params['entry'])}`;
    case 'Audits.issueAdded':
      return `issue: ${text(params['issue'])}`;
    case 'Page.javascriptDialogOpening':
      return `dialog: ${text(params['message'])}`;
    case 'Network.requestWillBeSent': {
      const asked = (params['request'] as Fields)['url'];
      return asked === url || asked === 'about:blank' ? undefined : `request: ${text(asked)}`;
    }
    default:
      return undefined;
  }
}
