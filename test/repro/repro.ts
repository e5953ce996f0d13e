/**
 * Whether one lock is one set of bytes: `./bazelw run //test/repro` builds it six times, so that every pair of
 * circumstances occurs; `//test/repro:full` in all 128 combinations. Exit codes: 0 equal, 1 a build failed, 5 not equal.
 */
import {
  copyFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { checkoutFiles, copyCheckout } from '../support/checkout.ts';
import { type Build, describeDifference, firstDisagreement } from './difference.ts';
import { FACTORS, everything, machineOf, pairwise } from './factors.ts';
import { type Built, type Means, buildOn, findMeans } from './machine.ts';

const { values: options } = parseArgs({
  options: {
    /** Labels of what has to be the same. */
    artifact: { type: 'string', multiple: true, default: [] },
    full: { type: 'boolean', default: false },
    /** Which builds, from 1: `1-16`, to spread the full matrix over machines. The first is always there. */
    builds: { type: 'string' },
    'at-once': { type: 'string', default: '2' },
    json: { type: 'string' },
  },
});
const workspace = process.env['BUILD_WORKSPACE_DIRECTORY'];
if (workspace === undefined) throw new Error('start it with ./bazelw run //test/repro');

const rows = options.full ? everything(FACTORS) : pairwise(FACTORS);
const [from = 1, to = rows.length] = (options.builds ?? '')
  .split('-')
  .filter((word) => word !== '')
  .map(Number);
const chosen = rows.flatMap((row, i) =>
  i === 0 || (i + 1 >= from && i + 1 <= to) ? [{ id: i + 1, row }] : [],
);

const means = findMeans();
const missing = [
  ...(means.user === true ? [] : [`user does not vary: ${means.user}`]),
  ...(typeof means.clock === 'string'
    ? [`clock does not vary, zone only outside actions: ${means.clock}`]
    : []),
];
if (typeof means.clock === 'string' && process.env['CVM_REQUIRE_ORACLES'] === '1')
  throw new Error(`oracle required, not found: ${means.clock}`);

const scratch = mkdtempSync(join(tmpdir(), 'cvm-repro-'));
// Others build below it.
chmodSync(scratch, 0o755);
// Whoever goes on editing meanwhile changes none of the builds.
const files = checkoutFiles(workspace);
const source = join(scratch, 'source');
copyCheckout(workspace, files, source, 0o022);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** A finished build whose artifacts were kept. */
interface Row extends Build {
  readonly id: number;
  readonly line: string;
}

say(`building ${chosen.length} times, ${options['at-once']} at once: ${options.artifact.join(' ')}`);

async function buildRow(id: number, row: readonly (0 | 1)[]): Promise<Row> {
  const machine = machineOf(row);
  const place = join(scratch, `${id}`);
  mkdirSync(place);
  chmodSync(place, 0o755);
  const built = await buildOn({
    machine,
    means,
    source,
    files,
    targets: options.artifact,
    workspace: workspace as string,
    place,
  });
  demandSeen(built, row, means, id);
  if (built.artifacts.size === 0) throw new Error(`build ${id} made no artifacts`);
  for (const [name, { path }] of built.artifacts) copyFileSync(path, keptPath(id, name));
  rmSync(place, { recursive: true, force: true });
  const line = [
    `${id}`.padStart(3),
    ...FACTORS.map(({ name, values }) =>
      machine[name].padEnd(Math.max(name.length, ...values.map((value) => value.length))),
    ),
    built.seen.clock.slice(0, 10),
    `${built.seconds.toFixed(0)} s`.padStart(6),
  ].join('  ');
  say(line);
  return {
    id,
    line,
    name: `${id}`,
    artifacts: new Map([...built.artifacts].map(([name, { sha256 }]) => [name, sha256])),
  };
}

function keptPath(id: number, name: string): string {
  const folder = join(scratch, `kept-${id}`);
  mkdirSync(folder, { recursive: true });
  return join(folder, name.replaceAll('/', '__'));
}

/** What was to differ did: a matrix of equal builds proves nothing. */
function demandSeen({ seen }: Built, row: readonly (0 | 1)[], means: Means, id: number): void {
  const machine = machineOf(row);
  const wrong = (what: string): Error =>
    new Error(
      `build ${id}: ${what} did not become ${machine[what as 'clock']}: actions saw ${JSON.stringify(seen)}`,
    );
  if (means.user === true && (seen.user === 4242) !== (machine.user === '4242')) throw wrong('user');
  if (typeof means.clock === 'string') return;
  const years = new Date(seen.clock).getUTCFullYear() - new Date().getUTCFullYear();
  if (years > 5 !== (machine.clock !== 'now')) throw wrong('clock');
  if (seen.zone !== machine.zone) throw wrong('zone');
}

async function buildAll(): Promise<Row[]> {
  const done: Row[] = [];
  const waiting = [...chosen];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      try {
        done.push(await buildRow(next.id, next.row));
      } catch (error) {
        // The others need not go on.
        waiting.length = 0;
        throw error;
      }
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: Number(options['at-once']) }, worker));
  for (const outcome of settled) if (outcome.status === 'rejected') throw outcome.reason;
  return done.sort((a, b) => a.id - b.id);
}

/** Every artifact with its sha256, and which builds made it so. */
function artifactTable(builds: readonly Row[]): string {
  const names = [...new Set(builds.flatMap(({ artifacts }) => [...artifacts.keys()]))].sort();
  return names
    .flatMap((name) => {
      const sums = new Map<string, string[]>();
      for (const { artifacts, id } of builds) {
        const sum = artifacts.get(name) ?? 'missing'.padEnd(64);
        sums.set(sum, [...(sums.get(sum) ?? []), `${id}`]);
      }
      return [...sums].map(([sum, ids]) => {
        const who = ids.length === builds.length ? `all ${ids.length}` : ids.join(',');
        return `${sum}  ${name}  (${who})`;
      });
    })
    .join('\n');
}

async function main(): Promise<number> {
  for (const line of missing) say(`note: ${line}`);
  const head = FACTORS.map(({ name, values }) =>
    name.padEnd(Math.max(name.length, ...values.map((v) => v.length))),
  );
  say(['  #', ...head, 'actions saw', ' time'].join('  '));
  const builds = await buildAll();
  say(`\n${artifactTable(builds)}\n`);
  if (options.json !== undefined) {
    const record = builds.map(({ id, artifacts }) => ({
      id,
      machine: machineOf(rows[id - 1] ?? []),
      artifacts: Object.fromEntries(artifacts),
    }));
    writeFileSync(
      resolve(process.env['BUILD_WORKING_DIRECTORY'] ?? '.', options.json),
      `${JSON.stringify(record, null, 2)}\n`,
    );
  }
  const found = firstDisagreement(builds);
  if (found === undefined) {
    say(`${builds[0]?.artifacts.size ?? 0} artifacts, ${builds.length} builds, one sha256 each`);
    return 0;
  }
  const { artifact, one, other } = found;
  const [a, b] = [one, other].map(({ name, artifacts }) =>
    artifacts.has(artifact) ? readFileSync(keptPath(Number(name), artifact)) : undefined,
  );
  const where = a === undefined || b === undefined ? 'one of them lacks it' : describeDifference(a, b);
  const differing = FACTORS.map(({ name }) => name).filter(
    (name) =>
      machineOf(rows[Number(one.name) - 1] ?? [])[name] !==
      machineOf(rows[Number(other.name) - 1] ?? [])[name],
  );
  say(`NOT REPRODUCIBLE: ${artifact}: builds ${one.name} and ${other.name}: ${where ?? 'nowhere'}`);
  say(`they differ in ${differing.join(', ')}`);
  return 5;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
