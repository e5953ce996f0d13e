import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { openImage } from '../../../tools/commands/image-files.ts';
import { command as verify } from '../../../tools/commands/release-verify.ts';
import { writeLock } from '../../../tools/lock/lock.ts';
import { signProposal } from '../../nns/answer.ts';
import { GOOD_PROPOSAL } from '../../nns/examples.ts';
import { bootArgsText, bootPartition, rootPartition } from '../../support/guestos-images.ts';
import { writeArchive } from '../../support/pin-workspaces.ts';
import {
  copyOf,
  create,
  rehearsed,
  releaseParts,
  REVISION,
  rewriteProvenance,
  rewriteSums,
  type Parts,
} from '../../support/releases.ts';
import { runCommand, type Outcome } from '../../support/run-command.ts';

let parts: Parts;
let good = '';

beforeAll(async () => {
  parts = await releaseParts();
  good = await rehearsed(parts, 'good');
});

const run = (folder: string, options: OptionValues = {}): Promise<Outcome> =>
  runCommand(verify, parts.folder, [folder], { network: 'dev', ...options });

interface Report {
  readonly ok: boolean;
  readonly exitCode: number;
  readonly verdicts: readonly { readonly name: string; readonly verdict: string; readonly detail: string }[];
}

async function verdicts(folder: string, options: OptionValues = {}): Promise<Report> {
  const { code, out } = await run(folder, { ...options, json: true });
  const report = JSON.parse(out) as Report;
  expect(report.exitCode).toBe(code);
  expect(report.ok).toBe(code === 0);
  return report;
}

/** Names of the steps that failed. */
async function failed(folder: string, options: OptionValues = {}): Promise<string[]> {
  const report = await verdicts(folder, options);
  return report.verdicts.filter(({ verdict }) => verdict === 'failed').map(({ name }) => name);
}

const flip = (path: string, at?: number): void => {
  const bytes = readFileSync(path);
  const where = at ?? Math.floor(bytes.length / 2);
  bytes[where] = (bytes[where] as number) ^ 1;
  writeFileSync(path, bytes);
};

test('a good release: every step that needs nothing else is ok, the others are not proven', async () => {
  const report = await verdicts(good);
  expect(report.exitCode).toBe(0);
  const by = (word: string): string[] =>
    report.verdicts.filter(({ verdict }) => verdict === word).map(({ name }) => name);
  expect(by('failed')).toEqual([]);
  expect(by('not proven')).toEqual([
    'origin',
    'kind',
    'builder',
    'source',
    'base tree',
    'sbom packages',
    'documents',
  ]);
  expect(by('ok')).toEqual([
    'files',
    'sums',
    'provenance',
    'lock',
    'proposal files',
    'subjects',
    'inputs',
    'proposal',
    'update image',
    'boot certificate',
    'measurements',
    'blessed',
    'root hash',
    'version mark',
    'version',
    'base commit',
    'disk image',
    'other partitions',
    'lock proposal',
    'sbom',
  ]);
});

test('with everything that it can be held against, nothing but the builder is left to believe', async () => {
  const sums = readFileSync(join(good, 'SHA256SUMS'));
  const { createHash } = await import('node:crypto');
  const report = await verdicts(good, {
    sumsSha256: createHash('sha256').update(sums).digest('hex'),
    base: 'base.tar.zst',
    packageLock: 'package-lock.json',
    revision: REVISION,
    builderId: 'urn:rules-cvm:bazel',
  });
  expect(report.verdicts.filter(({ verdict }) => verdict !== 'ok').map(({ name }) => name)).toEqual([
    'kind',
    'documents',
  ]);
});

test('one verdict a line, a summary, and errors with their mend on standard error', async () => {
  const { out, err, code } = await run(good);
  expect(code).toBe(0);
  expect(err).toBe('');
  const lines = out.trimEnd().split('\n');
  expect(lines.slice(0, -2).every((line) => /^(ok|not proven) {2,}[a-z]/.test(line))).toBe(true);
  expect(lines.at(-1)).toBe('good, and NOT FOR PRODUCTION: 20 ok, 0 failed, 7 not proven');
  const bad = copyOf(good);
  flip(join(bad, 'launch-measurements.json'));
  const refused = await run(bad);
  expect(refused.code).toBe(5);
  expect(refused.out).toMatch(/^failed {6}sums/m);
  expect(refused.out).toContain('REFUSED: ');
  expect(refused.err).toMatch(/error RELEASE_SHA256 \(exit 5\)[^]*mend/);
});

test('of mainnet it is not: no flag is needed to see that', async () => {
  const { code, out } = await runCommand(verify, parts.folder, [good], {});
  expect(code).toBe(4);
  expect(out).toMatch(/^failed {6}lock +RELEASE_NETWORK/m);
  expect(out).toMatch(/^failed {6}kind +RELEASE_KIND/m);
});

describe('one byte changed in any file', () => {
  const FILES = [
    '139001.cbor',
    '139001.request.cbor',
    'NOT-FOR-PRODUCTION.txt',
    'SHA256SUMS',
    'disk-img.tar.zst',
    'launch-measurements.json',
    'pins.lock.json',
    'provenance.intoto.json',
    'sbom.spdx.json',
    'update-img.report.html',
    'update-img.tar.zst',
  ];

  test('these are all', () => {
    expect(readdirSync(good).toSorted()).toEqual(FILES.toSorted());
  });

  test.each(FILES)('%s: at the start, in the middle, at the end', async (name) => {
    const size = readFileSync(join(good, name)).length;
    for (const at of [0, size >>> 1, size - 1]) {
      const bad = copyOf(good);
      flip(join(bad, name), at);
      const found = await failed(bad);
      expect(
        found.some((step) => step === 'sums' || step === 'files'),
        `${name} at ${at}: ${found.join()}`,
      ).toBe(true);
    }
  });

  // Somebody who changes a file changes the sums, too.
  test.each(FILES.filter((name) => name !== 'SHA256SUMS'))(
    '%s, with SHA256SUMS written anew',
    async (name) => {
      const bad = copyOf(good);
      flip(join(bad, name));
      rewriteSums(bad);
      const found = await failed(bad);
      expect(found).not.toContain('sums');
      // In the provenance itself the byte may be one of any digest.
      const steps = name === 'provenance.intoto.json' ? ['provenance', 'subjects', 'inputs'] : ['subjects'];
      expect(found.filter((step) => steps.includes(step))).not.toEqual([]);
    },
  );

  // And the provenance. What is left is what no signature covers: the notice of a rehearsal, the report.
  test.each<readonly [string, number | undefined, string]>([
    ['139001.cbor', undefined, 'proposal'],
    ['139001.request.cbor', undefined, 'proposal'],
    ['disk-img.tar.zst', undefined, 'disk image'],
    ['launch-measurements.json', 40, 'measurements'],
    ['pins.lock.json', 30, 'lock'],
    ['sbom.spdx.json', 5, 'sbom'],
    ['update-img.tar.zst', undefined, 'update image'],
  ])('%s, with provenance and sums written anew', async (name, at, step) => {
    const bad = copyOf(good);
    flip(join(bad, name), at);
    rewriteProvenance(bad);
    const found = await failed(bad);
    expect(found).not.toContain('sums');
    expect(found).not.toContain('subjects');
    // A damaged frame may show in any step that reads it.
    if (name === 'update-img.tar.zst') expect(found.length).toBeGreaterThan(0);
    else expect(found).toContain(step);
  });
});

/** The members of the good update image, some exchanged, with sums and provenance that fit. */
async function repacked(
  members: Readonly<
    Partial<Record<'boot.img' | 'root.img' | 'VERSION.TXT', Parameters<typeof writeArchive>[1][0]['source']>>
  >,
  extra: Parameters<typeof writeArchive>[1] = [],
): Promise<string> {
  const bad = copyOf(good);
  const path = join(good, 'update-img.tar.zst');
  const boot = await openImage(path, 'boot.img');
  const root = await openImage(path, 'root.img');
  await writeArchive(join(bad, 'update-img.tar.zst'), [
    { name: 'boot.img', source: members['boot.img'] ?? boot },
    { name: 'root.img', source: members['root.img'] ?? root },
    { name: 'VERSION.TXT', source: members['VERSION.TXT'] ?? sourceFromBytes(utf8Bytes('v-1-dev\n')) },
    ...extra,
  ]);
  boot.close();
  root.close();
  rewriteProvenance(bad);
  return bad;
}

describe('a consistent forgery', () => {
  const certificate = (): Uint8Array => new Uint8Array(readFileSync(join(good, '139001.cbor')));

  test('repacked as it was, it is good: these tests can fail', async () => {
    expect(await failed(await repacked({}))).toEqual([]);
  });

  test('another root partition, sound in itself', async () => {
    const bad = await repacked({ 'root.img': rootPartition(9).image });
    expect(await failed(bad)).toEqual(['root hash', 'disk image']);
  });

  test('one byte of the root partition, its hash tree left as it was', async () => {
    const image = await openImage(join(good, 'update-img.tar.zst'), 'root.img');
    const at = image.extents[0]!.offset + 10;
    const changed = {
      sizeBytes: image.sizeBytes,
      extents: image.extents,
      read: (offset: number, length: number) => {
        const bytes = image.read(offset, length).slice();
        if (at >= offset && at < offset + length) bytes[at - offset] = (bytes[at - offset] as number) ^ 1;
        return bytes;
      },
    };
    const found = await failed(await repacked({ 'root.img': changed }));
    expect(found).toContain('root hash');
    image.close();
  });

  test('another kernel, certificate and all the rest in place', async () => {
    const boot = bootPartition({
      bootArgs: bootArgsText('ab'.repeat(32)),
      proposal: certificate(),
      version: '0123456789abcdef0123456789abcdef01234567\n',
      kernel: new Uint8Array(readFileSync(join(good, 'sbom.spdx.json'))).subarray(0, 5000),
    });
    const found = await failed(await repacked({ 'boot.img': boot }));
    expect(found).toContain('measurements');
  });

  test('the proposal gone from the boot partition', async () => {
    const boot = bootPartition({ bootArgs: bootArgsText('ab'.repeat(32)) });
    expect(await failed(await repacked({ 'boot.img': boot }))).toContain('boot certificate');
  });

  test.each([
    ['another version', 'v-2-dev\n', 'version'],
    ['a version without the mark of its network', 'v-1\n', 'version mark'],
  ])('%s in the archive', async (_, text, step) => {
    expect(await failed(await repacked({ 'VERSION.TXT': sourceFromBytes(utf8Bytes(text)) }))).toEqual([step]);
  });

  test('a further member that an installer might take', async () => {
    const bad = await repacked({}, [{ name: 'install.sh', source: sourceFromBytes(utf8Bytes('x')) }]);
    expect(await failed(bad)).toContain('update image');
  });

  test('another proposal, well signed and executed, that blesses something else', async () => {
    const bad = copyOf(good);
    const other = signProposal(GOOD_PROPOSAL);
    writeFileSync(join(bad, '139001.cbor'), other.certificate);
    writeFileSync(join(bad, '139001.request.cbor'), other.request);
    rewriteProvenance(bad);
    const found = await failed(bad);
    expect(found).toEqual(['boot certificate', 'root hash', 'lock proposal']);
  });

  test('the request of another proposal', async () => {
    const bad = copyOf(good);
    writeFileSync(
      join(bad, '139001.request.cbor'),
      signProposal({ ...GOOD_PROPOSAL, proposalId: 7n }).request,
    );
    rewriteProvenance(bad);
    expect(await failed(bad)).toContain('proposal');
  });

  test('a lock of another base', async () => {
    const bad = copyOf(good);
    const base = { ...parts.lock.base, commit: 'ab'.repeat(20) } as typeof parts.lock.base;
    writeFileSync(join(bad, 'pins.lock.json'), writeLock({ ...parts.lock, base }));
    rewriteProvenance(bad);
    expect(await failed(bad)).toEqual(['base commit']);
  });

  test('a lock of another certificate', async () => {
    const bad = copyOf(good);
    const proposal = { ...parts.lock.proposal, sha256: 'ab'.repeat(32) } as typeof parts.lock.proposal;
    writeFileSync(join(bad, 'pins.lock.json'), writeLock({ ...parts.lock, proposal }));
    rewriteProvenance(bad);
    expect(await failed(bad)).toEqual(['lock proposal']);
  });

  test('a lock from before the vote', async () => {
    const bad = copyOf(good);
    writeFileSync(join(bad, 'pins.lock.json'), writeLock({ ...parts.lock, proposal: null }));
    rewriteProvenance(bad);
    expect(await failed(bad)).toEqual(['lock proposal']);
  });

  test.each([
    '139001.cbor',
    '139001.request.cbor',
    'pins.lock.json',
    'sbom.spdx.json',
    'launch-measurements.json',
  ])('%s larger than any: a verdict like any other', async (name) => {
    const bad = copyOf(good);
    writeFileSync(join(bad, name), Buffer.alloc((16 << 20) + 1, ' '));
    rewriteProvenance(bad);
    expect((await verdicts(bad)).exitCode).toBe(3);
  });

  test('measurements that are blessed, of another machine than was built', async () => {
    const bad = copyOf(good);
    const path = join(bad, 'launch-measurements.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('EPYC-v4', 'EPYC-Genoa'));
    rewriteProvenance(bad);
    expect(await failed(bad)).toEqual(['measurements']);
  });

  test.each([
    ['vCPUs that were not measured', (p: { vcpus: number[] }) => (p.vcpus = [2]), 'measurements'],
    ['another network', (p: { network: string }) => (p.network = 'mainnet'), 'inputs'],
  ])('a provenance with %s', async (_, change, step) => {
    const bad = copyOf(good);
    rewriteProvenance(bad, (statement) => {
      (change as (value: unknown) => void)(statement.predicate.buildDefinition.externalParameters);
    });
    expect(await failed(bad)).toEqual([step]);
  });

  test.each([
    ['more vCPUs than any machine has', (p: { vcpus: number[] }) => (p.vcpus = [1_000_000]), 3],
    ['a CPU that nobody knows', (p: { vcpuTypes: string[] }) => (p.vcpuTypes = ['Z80']), 3],
  ])('a provenance with %s is malformed', async (_, change, code) => {
    const bad = copyOf(good);
    rewriteProvenance(bad, (statement) => {
      (change as (value: unknown) => void)(statement.predicate.buildDefinition.externalParameters);
    });
    expect((await verdicts(bad)).exitCode).toBe(code);
    expect(await failed(bad)).toEqual(['measurements']);
  });

  test.each(['base', 'lock', 'proposal', 'request', 'node', 'cvm-build.mjs', 'package-lock.json', 'source'])(
    'a provenance that does not name %s',
    async (name) => {
      const bad = copyOf(good);
      rewriteProvenance(bad, ({ predicate: { buildDefinition } }) => {
        buildDefinition.resolvedDependencies = buildDefinition.resolvedDependencies.filter(
          (row) => row.name !== name,
        );
      });
      expect(await failed(bad)).toEqual(['inputs']);
    },
  );

  test.each(['base', 'lock', 'proposal', 'request'])('a provenance with another %s', async (name) => {
    const bad = copyOf(good);
    rewriteProvenance(bad, ({ predicate: { buildDefinition } }) => {
      for (const row of buildDefinition.resolvedDependencies)
        if (row.name === name) row.digest = { sha256: 'ab'.repeat(32) };
    });
    expect(await failed(bad)).toEqual(['inputs']);
  });
});

describe('held against something else', () => {
  test.each<readonly [string, OptionValues, string, number]>([
    ['another sum file', { sumsSha256: 'ab'.repeat(32) }, 'origin', 4],
    ['another commit', { revision: 'ab'.repeat(20) }, 'source', 5],
    ['another builder', { builderId: 'https://example.com/ci' }, 'builder', 5],
    ['another base', { base: 'update-img.tar.zst' }, 'base tree', 5],
    ['another package lock', { packageLock: 'pins.lock.json' }, 'sbom packages', 5],
  ])('%s', async (_, options, step, code) => {
    const report = await verdicts(good, options);
    expect(report.verdicts.filter(({ verdict }) => verdict === 'failed').map(({ name }) => name)).toEqual([
      step,
    ]);
    expect(report.exitCode).toBe(code);
  });

  test('a bill of materials that leaves a package out, consistently', async () => {
    const bad = copyOf(good);
    const path = join(bad, 'sbom.spdx.json');
    const document = JSON.parse(readFileSync(path, 'utf8')) as {
      packages: { SPDXID: string }[];
      relationships: { spdxElementId: string; relatedSpdxElement: string }[];
    };
    const gone = document.packages.pop()!.SPDXID;
    document.relationships = document.relationships.filter(
      (row) => row.spdxElementId !== gone && row.relatedSpdxElement !== gone,
    );
    writeFileSync(path, JSON.stringify(document));
    rewriteProvenance(bad);
    expect(await failed(bad)).toEqual([]);
    expect(await failed(bad, { packageLock: 'package-lock.json' })).toEqual(['sbom packages']);
  });

  test('a boot file that no launch measures: the base shows it, and nothing else does', async () => {
    const image = await openImage(join(good, 'update-img.tar.zst'), 'boot.img');
    const { openExt4 } = await import('../../../tools/ext4/reader.ts');
    const { writeExt4 } = await import('../../../tools/ext4/writer.ts');
    const entries = openExt4(image)
      .entries()
      .filter(({ path }) => path !== 'lost+found');
    const grub = { ...entries.find(({ type }) => type === 'file')!, path: 'zz.cfg' };
    const boot = writeExt4([...entries, grub], {
      sizeBytes: 4 << 20,
      uuid: new Uint8Array(16),
      hashSeed: new Uint8Array(16).fill(3),
      label: '',
      epochSec: 0,
    });
    const bad = await repacked({ 'boot.img': boot });
    rmSync(join(bad, 'disk-img.tar.zst'));
    rewriteProvenance(bad);
    expect(await failed(bad)).toEqual([]);
    const report = await verdicts(bad, { base: 'base.tar.zst' });
    expect(report.verdicts.filter(({ verdict }) => verdict === 'failed')).toMatchObject([
      { name: 'base tree' },
    ]);
    image.close();
  });
});

describe('the folder', () => {
  test.each([
    'SHA256SUMS',
    'provenance.intoto.json',
    'sbom.spdx.json',
    'pins.lock.json',
    'launch-measurements.json',
    'update-img.tar.zst',
    '139001.cbor',
    '139001.request.cbor',
  ])('without %s', async (name) => {
    const bad = copyOf(good);
    rmSync(join(bad, name));
    if (name !== 'SHA256SUMS') rewriteSums(bad);
    expect((await verdicts(bad)).exitCode).not.toBe(0);
  });

  test('with a file that is not listed', async () => {
    const bad = copyOf(good);
    writeFileSync(join(bad, 'README'), 'x');
    expect(await failed(bad)).toContain('files');
  });

  test('with a folder that is not listed', async () => {
    const bad = copyOf(good);
    mkdirSync(join(bad, 'more'));
    expect(await failed(bad)).toContain('files');
  });

  test('with a listed file that is gone', async () => {
    const bad = copyOf(good);
    rmSync(join(bad, 'update-img.report.html'));
    expect(await failed(bad)).toContain('files');
  });

  test('with two proposals', async () => {
    const bad = copyOf(good);
    writeFileSync(join(bad, '7.cbor'), 'x');
    rewriteProvenance(bad);
    expect(await failed(bad)).toContain('proposal files');
  });

  test('with a proposal under the name of another', async () => {
    const bad = copyOf(good);
    renameSync(join(bad, '139001.cbor'), join(bad, '139002.cbor'));
    renameSync(join(bad, '139001.request.cbor'), join(bad, '139002.request.cbor'));
    rewriteSums(bad);
    expect((await verdicts(bad)).exitCode).not.toBe(0);
  });

  test('with a file below cas/ that is another than its name says', async () => {
    const bad = copyOf(good);
    mkdirSync(join(bad, 'cas'));
    writeFileSync(join(bad, 'cas', 'ab'.repeat(32)), 'x');
    expect(await failed(bad)).toEqual(['cas']);
  });

  test('that is not there', async () => {
    await expect(run('nowhere')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND', kind: 'usage' });
  });
});

test('equal parts give equal bytes, wherever and whenever', async () => {
  const again = await rehearsed(await releaseParts(), 'again');
  expect(existsSync(again)).toBe(true);
  for (const name of readdirSync(good)) {
    expect(readFileSync(join(again, name)).equals(readFileSync(join(good, name))), name).toBe(true);
  }
});

test('a stated time is in the provenance and the bill of materials, and nowhere else', async () => {
  await create(parts, 'timed', { time: '2026-01-02T03:04:05Z' });
  const changed = readdirSync(good).filter(
    (name) => !readFileSync(join(parts.folder, 'timed', name)).equals(readFileSync(join(good, name))),
  );
  expect(changed.toSorted()).toEqual(['SHA256SUMS', 'provenance.intoto.json', 'sbom.spdx.json']);
  expect(await failed(join(parts.folder, 'timed'))).toEqual([]);
});
