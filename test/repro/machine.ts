/** Another machine, as far as one machine can be made to look like it, and a build on it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { copyCheckout } from '../support/checkout.ts';
import type { Machine } from './factors.ts';

/** What an action on that machine saw: test/sandbox/probe.mjs. */
export interface Seen {
  readonly clock: string;
  readonly zone: string;
  readonly user: number;
  readonly umask: string;
  readonly folder: string;
  readonly mode: string;
}

export interface Built {
  /** By path below bazel-bin. */
  readonly artifacts: ReadonlyMap<string, { readonly sha256: string; readonly path: string }>;
  readonly seen: Seen;
  readonly seconds: number;
}

/** What this machine can be made to look like; a string says why not. */
export interface Means {
  /** Becoming another user. */
  readonly user: true | string;
  /** Another clock and zone for actions: the library that shifts clocks. */
  readonly clock: { readonly library: string } | string;
}

export function findMeans(): Means {
  const isRoot = process.getuid?.() === 0;
  const [library] = globSync('/usr/lib/*/faketime/libfaketime.so.1');
  return {
    user: isRoot && existsSync('/usr/bin/setpriv') ? true : 'only root can become another user (setpriv)',
    clock:
      process.platform !== 'linux' || process.arch !== 'x64'
        ? 'only --config=hermetic shows actions another /etc'
        : library === undefined
          ? 'no libfaketime (package faketime)'
          : { library },
  };
}

const PROBE = '//test/sandbox:machine';
/** Several servers run at once, and none for long: little memory, no second compiler; one that is left behind ends. */
const SERVER = ['--host_jvm_args=-Xmx1g', '--host_jvm_args=-XX:TieredStopAtLevel=1', '--max_idle_secs=60'];

export interface Job {
  readonly machine: Machine;
  readonly means: Means;
  /** The checkout to build a copy of, and its files. */
  readonly source: string;
  readonly files: readonly string[];
  /** Where node_modules are, for ./bazelw. */
  readonly workspace: string;
  /** Labels of what to build. */
  readonly targets: readonly string[];
  /** An empty folder of this build's own, which others may enter. */
  readonly place: string;
}

/**
 * Builds the artifacts from a fresh copy, with a home and a Bazel server of its own and no cache but npm's.
 *
 * @throws Error when the build fails, with the end of its log
 */
export async function buildOn({
  machine,
  means,
  source,
  files,
  workspace,
  targets,
  place,
}: Job): Promise<Built> {
  const start = performance.now();
  const checkout = join(place, machine.folder);
  const home = join(place, 'home');
  const user = machine.user !== 'caller' && means.user === true ? Number(machine.user) : undefined;
  copyCheckout(source, files, checkout, Number.parseInt(machine.umask, 8));
  // ./bazelw makes it, unless it is called inside the root that it made.
  const modules = join(workspace, 'node_modules');
  if (process.env['CVM_BAZELW_MOUNTS'] === undefined) symlinkSync(modules, join(checkout, 'node_modules'));
  mkdirSync(home);
  let npmCache = npmCacheFolder();
  if (user !== undefined) {
    cpSync(join(npmCache, '_cacache'), join(place, 'npm', '_cacache'), { recursive: true });
    npmCache = join(place, 'npm');
    for (const path of [checkout, home, npmCache]) giveTo(user, path);
  }

  const flags = [
    '--config=ci',
    '--disk_cache=',
    ...(machine.door === 'workspace' ? ['--config=workspace'] : []),
  ];
  if (typeof means.clock !== 'string') {
    // A genrule is a user's own builder, and needs a shell.
    flags.push('--config=hermetic', '--strategy=Genrule=processwrapper-sandbox');
    const etc = writeEtc(join(place, 'etc'), machine, means.clock.library);
    if (etc !== undefined) flags.push(`--sandbox_add_mount_pair=${etc}:/etc`);
  }
  const env = {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => KEPT.test(name))),
    HOME: home,
    USER: user === undefined ? 'somebody' : 'somebody-else',
    TZ: machine.zone,
    LC_ALL: machine.locale,
    npm_config_cache: npmCache,
  };
  const bazel = async (...words: readonly string[]): Promise<string> => {
    const become =
      user === undefined ? [] : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--'];
    const shell = ['/bin/sh', '-c', `umask ${machine.umask}; exec ./bazelw "$@"`, 'sh', ...SERVER];
    return await run([...become, ...shell, ...words], checkout, env);
  };

  try {
    await bazel('build', ...flags, ...targets, PROBE);
    const listed = await bazel(
      'cquery',
      ...flags,
      '--output=files',
      '--noshow_progress',
      targets.join(' + '),
    );
    const bin = (await bazel('info', ...flags, 'bazel-bin')).trim();
    const execroot = (await bazel('info', ...flags, 'execution_root')).trim();
    const artifacts = new Map(
      listed
        .split('\n')
        .filter((line) => line.startsWith('bazel-out/'))
        .flatMap((line) => filesOf(join(execroot, line)))
        .map((path) => [relative(bin, path), { sha256: sha256(path), path }] as const)
        // A tool is listed once more as actions use it, in a folder whose name differs from door to door: not what was asked for.
        .filter(([name]) => !name.startsWith('..')),
    );
    const seen = JSON.parse(readFileSync(join(bin, 'test/sandbox/machine.json'), 'utf8')) as Seen;
    return { artifacts, seen, seconds: (performance.now() - start) / 1000 };
  } finally {
    await bazel('shutdown');
  }
}

/** Of the caller's environment, what finds programs, packages and Bazel itself. */
const KEPT = /^(PATH|CVM_BAZELW_.*|BAZELISK_.*|npm_config_.*|https?_proxy|no_proxy)$/i;

function npmCacheFolder(): string {
  const { HOME = '', npm_config_cache: given = join(HOME, '.npm') } = process.env;
  return given;
}

function giveTo(user: number, path: string): void {
  lchownSync(path, user, user);
  for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' }))
    lchownSync(join(path, name), user, user);
}

/**
 * The /etc that actions see instead of the machine's, if it has to say anything: which clock the loader is to put
 * before every program, and in which zone the machine stands.
 */
function writeEtc(folder: string, machine: Machine, library: string): string | undefined {
  if (machine.clock === 'now' && machine.zone === 'UTC') return undefined;
  mkdirSync(folder);
  if (machine.clock !== 'now') {
    copyFileSync(library, join(folder, 'libfaketime.so.1'));
    writeFileSync(join(folder, 'ld.so.preload'), '/etc/libfaketime.so.1\n');
    writeFileSync(join(folder, 'faketimerc'), `${machine.clock.replace(' years', 'y')}\n`);
  }
  if (machine.zone !== 'UTC') {
    // Programs take the name from where the link leads.
    mkdirSync(join(folder, 'zoneinfo', machine.zone, '..'), { recursive: true });
    writeFileSync(join(folder, 'zoneinfo', machine.zone), '');
    symlinkSync(`/etc/zoneinfo/${machine.zone}`, join(folder, 'localtime'));
  }
  for (const name of ['', ...readdirSync(folder, { recursive: true, encoding: 'utf8' })]) {
    if (name !== 'localtime') chmodSync(join(folder, name), 0o755);
  }
  return folder;
}

async function run(words: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  const [command = '', ...rest] = words;
  const child: ChildProcess = spawn(command, rest, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let log = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0)
    throw new Error(`${words.join(' ')} ended with ${status ?? 'a signal'}:\n${log.slice(-8000)}`);
  return output;
}

function filesOf(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((name) => join(path, name))
    .filter((name) => statSync(name).isFile());
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
