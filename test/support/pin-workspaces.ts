/** Workspaces to pin in, base releases of every kind, and files that prove proposals. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { concatBytes } from '../../tools/bytes/compare.ts';
import { chunks, sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { writeZstdFile } from '../../tools/commands/image-files.ts';
import { command } from '../../tools/commands/lock-pin.ts';
import type { OptionValues } from '../../tools/commands/command.ts';
import { writeSparseTar } from '../../tools/tar/sparse.ts';
import { signProposal } from '../nns/answer.ts';
import { GOOD_PROPOSAL } from '../nns/examples.ts';
import type { DevMeasurement, DevProposal } from '../nns/proposal-reply.ts';
import { bootArgsText, bootPartition, measureSource, type BootPlan } from './guestos-images.ts';
import { runCommand, scratchFolder, type Outcome, type Surroundings } from './run-command.ts';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
export const PACKAGE = 'ic-os/envs/recovery';
const ROOT_HASH = 'ab'.repeat(32);

/** A base's boot partition, right but for what `over` changes. */
export function baseBoot(over: Partial<BootPlan> = {}): ByteSource {
  return bootPartition({ bootArgs: bootArgsText(ROOT_HASH), version: `${COMMIT}\n`, ...over });
}

/** An update image as releases have it. */
export async function writeBase(path: string, boot: ByteSource, member = 'boot.img'): Promise<void> {
  await writeArchive(path, [
    { name: member, source: boot },
    { name: 'root.img', source: sourceFromBytes(new Uint8Array(4096).fill(1)) },
    { name: 'VERSION.TXT', source: sourceFromBytes(utf8Bytes(`${COMMIT}\n`)) },
  ]);
}

export async function writeArchive(
  path: string,
  members: readonly { readonly name: string; readonly source: ByteSource }[],
): Promise<void> {
  await writeZstdFile(path, writeSparseTar(members));
}

/** An archive of any blocks, compressed. */
export async function writeBlocks(path: string, ...blocks: readonly Uint8Array[]): Promise<void> {
  await writeZstdFile(path, chunks(sourceFromBytes(concatBytes(...blocks, new Uint8Array(1024)))));
}

/** What the good base is measured as, for a proposal to bless. */
export function blessedMeasurements(vcpus?: readonly number[]): DevMeasurement[] {
  return measureSource(baseBoot(), vcpus).map(({ measurement, kernelCmdline, vcpuType }) => ({
    measurement,
    ...(kernelCmdline === null ? {} : { kernelCmdline }),
    ...(vcpuType === null ? {} : { vcpuType }),
  }));
}

export function pinProposal(over: Partial<DevProposal> = {}): DevProposal {
  return { ...GOOD_PROPOSAL, measurements: blessedMeasurements(), ...over };
}

/** `<name>.cbor` and `<name>.request.cbor`. */
export function writeProposal(folder: string, name: string, proposal: DevProposal): void {
  const { certificate, request } = signProposal(proposal);
  writeFileSync(join(folder, `${name}.cbor`), certificate);
  writeFileSync(join(folder, `${name}.request.cbor`), request);
}

export interface Workspace {
  readonly path: string;
  /** The environment. */
  readonly folder: string;
  readonly cache: string;
  readonly lockPath: string;
  /** Where a base is kept. */
  readonly cached: string;
}

/** A workspace with an environment that has no lock, and an empty cache. */
export function makeWorkspace(): Workspace {
  const root = scratchFolder();
  const path = join(root, 'workspace');
  const folder = join(path, PACKAGE);
  const cache = join(root, 'cache');
  mkdirSync(folder, { recursive: true });
  mkdirSync(cache);
  writeFileSync(join(folder, 'BUILD.bazel'), '# empty\n');
  return {
    path,
    folder,
    cache,
    lockPath: join(folder, 'pins.lock.json'),
    cached: join(cache, 'rules_cvm/bases', `update-img-${COMMIT}.tar.zst`),
  };
}

/** Pins on dev, with one CPU type, unless `options` say otherwise. */
export async function runPin(
  workspace: Workspace,
  cwd: string,
  options: OptionValues,
  { env, ...surroundings }: Surroundings = {},
): Promise<Outcome> {
  return await runCommand(
    command,
    cwd,
    [],
    { workspace: workspace.path, package: PACKAGE, network: 'dev', vcpuTypes: 'EPYC-v4', ...options },
    { env: { XDG_CACHE_HOME: workspace.cache, ...env }, ...surroundings },
  );
}

/** Everything below a folder: contents, links, modes, and when files were written. */
export function snapshot(folder: string, below = ''): Record<string, string> {
  const entries: Record<string, string> = {};
  for (const name of readdirSync(join(folder, below)).sort()) {
    const path = join(below, name);
    const stat = lstatSync(join(folder, path), { bigint: true });
    if (stat.isDirectory()) {
      entries[path] = `folder ${stat.mode}`;
      Object.assign(entries, snapshot(folder, path));
    } else if (stat.isSymbolicLink()) entries[path] = `link ${readlinkSync(join(folder, path))}`;
    else entries[path] = `file ${stat.mode} ${stat.mtimeNs} ${sha256Of(join(folder, path))}`;
  }
  return entries;
}

export function sha256Of(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
