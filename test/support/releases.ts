/** Releases of small images, made as a build makes them, and what tests do to them. */
import { cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { digestBytes } from '../../tools/bytes/digest.ts';
import { sourceFromBytes, type ByteSource } from '../../tools/bytes/source.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import type { OptionValues } from '../../tools/commands/command.ts';
import { command as diskImage } from '../../tools/commands/guestos-disk-image.ts';
import { command as updateImage } from '../../tools/commands/guestos-update-image.ts';
import { writeTzst } from '../../tools/commands/image-files.ts';
import { command as shippedCreate } from '../../tools/commands/release-create.ts';
import { openExt4 } from '../../tools/ext4/reader.ts';
import { measureBootPartition } from '../../tools/guestos/boot-partition.ts';
import { writeLaunchMeasurements } from '../../tools/guestos/measurements.ts';
import { writeLock, type Lock } from '../../tools/lock/lock.ts';
import { writeExt4 } from '../../tools/ext4/writer.ts';
import { NO_XATTRS, type TreeEntry } from '../../tools/tree/entry.ts';
import { verifyProposal } from '../../tools/proposal/verify.ts';
import { signProposal } from '../nns/answer.ts';
import { command as rehearse } from '../nns/commands/release-create.ts';
import { GOOD_PROPOSAL } from '../nns/examples.ts';
import { bootArgsText, bootPartition, verityPartition } from './guestos-images.ts';
import { COMMIT, writeArchive } from './pin-workspaces.ts';
import { runCommand, scratchFolder, type Outcome } from './run-command.ts';

export const REVISION = 'fedcba9876543210fedcba9876543210fedcba98';
const PLAN = { vcpus: [64], vcpuTypes: ['EPYC-v4'] };
const VERSION = 'v-1';

const sha256 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha256', bytes));

/** A root partition with a version where a build puts it. */
function rootPartition(
  version: string,
  fill: number,
): { readonly image: ByteSource; readonly rootHash: string } {
  const common = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, xattrs: NO_XATTRS } as const;
  const entries: TreeEntry[] = [
    ...['', 'opt', 'opt/ic', 'opt/ic/share'].map((path) => ({ ...common, path, type: 'dir' as const })),
    {
      ...common,
      path: 'opt/ic/share/version.txt',
      type: 'file',
      content: sourceFromBytes(utf8Bytes(`${version}\n`)),
    },
    { ...common, path: 'z', type: 'file', content: sourceFromBytes(new Uint8Array(9000).fill(fill)) },
  ];
  const data = writeExt4(entries, {
    sizeBytes: 1 << 20,
    uuid: new Uint8Array(16).fill(1),
    hashSeed: new Uint8Array(16).fill(2),
    label: '',
    epochSec: 0,
  });
  return verityPartition(data, data.sizeBytes / 4096);
}

/** A folder with all that goes into a release, and the options that name it. */
export interface Parts {
  readonly folder: string;
  readonly options: OptionValues;
  readonly lock: Lock;
}

export async function releaseParts(): Promise<Parts> {
  const folder = scratchFolder();
  const path = (name: string): string => join(folder, name);
  const base = rootPartition('base', 1);
  const next = rootPartition(VERSION, 2);
  const boot = (proposal?: Uint8Array): ByteSource =>
    bootPartition({
      bootArgs: bootArgsText(base.rootHash),
      version: `${COMMIT}\n`,
      ...(proposal === undefined ? {} : { proposal }),
    });
  const measured = measureBootPartition(openExt4(boot()), PLAN);
  const { certificate, request } = signProposal({
    ...GOOD_PROPOSAL,
    rootfsHash: next.rootHash,
    measurements: measured.map(({ measurement, kernelCmdline, vcpuType }) => ({
      measurement,
      ...(kernelCmdline === null ? {} : { kernelCmdline }),
      ...(vcpuType === null ? {} : { vcpuType }),
    })),
  });
  await writeArchive(path('base.tar.zst'), [
    { name: 'boot.img', source: boot() },
    { name: 'root.img', source: base.image },
    { name: 'VERSION.TXT', source: sourceFromBytes(utf8Bytes('base\n')) },
  ]);
  await writeTzst(path('boot.tzst'), boot(certificate));
  await writeTzst(path('root.tzst'), next.image);
  writeFileSync(path('version'), `${VERSION}\n`);
  writeFileSync(path('certificate'), certificate);
  writeFileSync(path('request'), request);
  writeFileSync(path('measurements'), writeLaunchMeasurements(measured));
  writeFileSync(path('status'), `BUILD_HOST x\nSTABLE_GIT_REVISION ${REVISION}\n`);
  writeFileSync(path('tool'), 'tool');
  writeFileSync(path('node'), 'node');
  writeFileSync(path('update-img.report.html'), '<!doctype html><title>report</title>');
  cpSync(new URL('../../package-lock.json', import.meta.url), path('package-lock.json'));
  const plan = { vcpus: '64', vcpuTypes: 'EPYC-v4' };
  const packing = { boot: 'boot.tzst', root: 'root.tzst', request: 'request', network: 'dev', ...plan };
  await runCommand(updateImage, folder, [], {
    ...packing,
    versionFile: 'version',
    output: 'update-img.tar.zst',
  });
  await runCommand(diskImage, folder, [], { ...packing, output: 'disk-img.tar.zst' });
  const facts = verifyProposal({ certificate, request, trust: { network: 'dev' } });
  const baseBytes = readFileSync(path('base.tar.zst'));
  const lock: Lock = {
    network: 'dev',
    base: {
      commit: COMMIT,
      urls: ['https://releases.example/update-img.tar.zst'],
      sha256: sha256(baseBytes),
      size: baseBytes.length,
    },
    proposal: {
      id: facts.proposalId.toString(),
      sha256: sha256(certificate),
      requestSha256: sha256(request),
      certifiedTimeNs: facts.certifiedTimeNs.toString(),
    },
  };
  writeFileSync(path('pins.lock.json'), writeLock(lock));
  return {
    folder,
    lock,
    options: {
      updateImage: 'update-img.tar.zst',
      diskImage: 'disk-img.tar.zst',
      measurements: 'measurements',
      proposal: 'certificate',
      request: 'request',
      lock: 'pins.lock.json',
      base: 'base.tar.zst',
      statusFile: 'status',
      packageLock: 'package-lock.json',
      tool: 'tool',
      node: 'node',
      target: '//ic-os/envs/x:release',
      document: ['update-img.report.html'],
      ...plan,
    },
  };
}

/** A release of parts, rehearsed: the shipped tool refuses them. @param name of the folder beside the parts */
export async function rehearsed(parts: Parts, name: string, over: OptionValues = {}): Promise<string> {
  await create(parts, name, over);
  return join(parts.folder, name);
}

export function create(parts: Parts, name: string, over: OptionValues = {}): Promise<Outcome> {
  return runCommand(rehearse, parts.folder, [], { ...parts.options, output: name, ...over });
}

export function createShipped(parts: Parts, name: string, over: OptionValues = {}): Promise<Outcome> {
  return runCommand(shippedCreate, parts.folder, [], { ...parts.options, output: name, ...over });
}

/** SHA256SUMS of what is there, as somebody would write it who changed a file and hides it. */
export function rewriteSums(folder: string): void {
  const lines = readdirSync(folder)
    .filter((name) => name !== 'SHA256SUMS')
    .toSorted((a, b) => (a < b ? -1 : 1))
    .map((name) => `${sha256(readFileSync(join(folder, name)))} ${name}\n`);
  writeFileSync(join(folder, 'SHA256SUMS'), lines.join(''));
}

interface Statement {
  subject: { name: string; digest: Record<string, string> }[];
  predicate: {
    buildDefinition: {
      externalParameters: { lock: { sha256: string } };
      resolvedDependencies: { name: string; digest: Record<string, string> }[];
    };
  };
}

/** The provenance, and then SHA256SUMS, of what is there: everything that a forger without a key can make fit. */
export function rewriteProvenance(
  folder: string,
  change: (statement: Statement) => void = () => undefined,
): void {
  const path = join(folder, 'provenance.intoto.json');
  const statement = JSON.parse(readFileSync(path, 'utf8')) as Statement;
  const own = ['SHA256SUMS', 'provenance.intoto.json'];
  statement.subject = readdirSync(folder)
    .filter((name) => !own.includes(name))
    .map((name) => ({ name, digest: { sha256: sha256(readFileSync(join(folder, name))) } }));
  const digestOf = (name: string): string => sha256(readFileSync(join(folder, name)));
  const { buildDefinition } = statement.predicate;
  buildDefinition.externalParameters.lock.sha256 = digestOf('pins.lock.json');
  const files: Readonly<Record<string, string>> = {
    lock: 'pins.lock.json',
    proposal: '139001.cbor',
    request: '139001.request.cbor',
  };
  for (const input of buildDefinition.resolvedDependencies) {
    const file = files[input.name];
    if (file !== undefined) input.digest = { sha256: digestOf(file) };
  }
  change(statement);
  writeFileSync(path, JSON.stringify(statement));
  rewriteSums(folder);
}

export function copyOf(folder: string): string {
  const copy = join(scratchFolder(), 'release');
  cpSync(folder, copy, { recursive: true });
  return copy;
}
