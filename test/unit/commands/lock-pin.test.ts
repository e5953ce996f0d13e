import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readAll, sourceFromBytes } from '../../../tools/bytes/source.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { command } from '../../../tools/commands/lock-pin.ts';
import { parseLock, writeLock, type BaseFile } from '../../../tools/lock/lock.ts';
import { STATUS, type DevProposal } from '../../nns/proposal-reply.ts';
import { startReplica, type Replica } from '../../nns/server.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import { bootArgsText } from '../../support/guestos-images.ts';
import {
  baseBoot,
  blessedMeasurements,
  COMMIT,
  makeWorkspace,
  PACKAGE,
  pinProposal,
  runPin,
  sha256Of,
  snapshot,
  writeArchive,
  writeBase,
  writeBlocks,
  writeProposal,
  type Workspace,
} from '../../support/pin-workspaces.ts';
import {
  optionNames,
  runCommand,
  scratchFolder,
  type Outcome,
  type Surroundings,
} from '../../support/run-command.ts';
import { member } from '../../support/tar-blocks.ts';

const OTHER_COMMIT = 'f'.repeat(40);
const MIRROR = 'https://mirror.example/update-img.tar.zst';

/** Bases and proposals, named by what is wrong with them. */
let files = '';
const file = (name: string): string => join(files, name);
const proposals: Readonly<Record<string, Partial<DevProposal>>> = {
  good: {},
  other: { proposalId: 139002n },
  'blesses-strangers': { measurements: [{ measurement: new Uint8Array(48).fill(0x42) }] },
  'blesses-slot-a': { measurements: blessedMeasurements().slice(0, 1) },
  open: { status: STATUS.open },
  rejected: { status: STATUS.rejected },
  adopted: { status: STATUS.adopted },
  failed: { status: STATUS.failed },
};

beforeAll(async () => {
  files = scratchFolder();
  const boot = baseBoot();
  const bytes = readAll(boot, 1 << 30, 'boot').slice();
  await writeBase(file('good'), boot);
  await writeBase(file('changed'), baseBoot({ kernel: new Uint8Array(100).fill(7) }));
  await writeBase(file('of-another-commit'), baseBoot({ version: `${OTHER_COMMIT}\n` }));
  await writeBase(file('without-version'), baseBoot({ without: ['version.txt'] }));
  await writeBase(file('without-firmware'), baseBoot({ without: ['OVMF_SEV.fd'] }));
  await writeBase(file('without-kernel'), baseBoot({ without: ['vmlinuz-1'] }));
  const old = bootArgsText('ab'.repeat(32)).replaceAll(/^BOOT_ARGS_TEE_.*\n/gm, '');
  await writeBase(file('before-tee'), baseBoot({ bootArgs: old }));
  await writeBase(
    file('without-slot-b'),
    baseBoot({ bootArgs: bootArgsText('ab').replace(/^BOOT_ARGS_TEE_B.*\n/m, '') }),
  );
  const damaged = bytes.slice();
  damaged.fill(0, 1024, 2048);
  await writeBase(file('bad-superblock'), sourceFromBytes(damaged));
  await writeBase(file('cut-partition'), sourceFromBytes(bytes.subarray(0, 4096)));
  await writeArchive(file('without-boot'), [{ name: 'root.img', source: boot }]);
  await writeArchive(file('two-boots'), [
    { name: 'boot.img', source: boot },
    { name: 'x/boot.img', source: boot },
  ]);
  await writeBlocks(
    file('with-dot'),
    member({ name: './boot.img' }, bytes),
    member({ name: './root.img' }, 'x'),
  );
  await writeBlocks(
    file('boot-is-a-link'),
    member({ name: 'boot.img', typeFlag: '2', linkName: 'root.img' }),
  );
  const strangers = {
    'member-up': { name: '../etc/x' },
    'member-up-inside': { name: 'a/../../boot.img' },
    'member-absolute': { name: '/boot.img' },
    'link-absolute': { name: 'boot.img', typeFlag: '2', linkName: '/etc/passwd' },
    'link-up': { name: 'a/boot.img', typeFlag: '2', linkName: '../../etc/passwd' },
    'hardlink-up': { name: 'a/b/boot.img', typeFlag: '1', linkName: '../boot.img' },
  };
  for (const [name, plan] of Object.entries(strangers))
    await writeBlocks(file(name), member({ name: './root.img' }, 'x'), member(plan));
  await writeBlocks(file('boot-is-a-folder'), member({ name: 'boot.img/', typeFlag: '5' }));
  const whole = readFileSync(file('good'));
  writeFileSync(file('truncated'), whole.subarray(0, whole.length - 100));
  writeFileSync(file('half'), whole.subarray(0, whole.length / 2));
  writeFileSync(file('trailing'), Buffer.concat([whole, Buffer.from('rubbish')]));
  writeFileSync(file('text'), '<html>not found</html>\n'.repeat(100));
  writeFileSync(file('empty'), '');
  mkdirSync(file('folder'));
  for (const [name, over] of Object.entries(proposals)) writeProposal(files, name, pinProposal(over));
  copyFileSync(file('good.cbor'), file('bare.cbor'));
  copyFileSync(file('good.cbor'), file('with-other-request.cbor'));
  copyFileSync(file('other.request.cbor'), file('with-other-request.request.cbor'));
  const certificate = readFileSync(file('good.cbor'));
  for (const name of ['tampered', 'longer', 'shorter']) {
    copyFileSync(file('good.request.cbor'), file(`${name}.request.cbor`));
  }
  const tampered = Buffer.from(certificate);
  const inTitle = tampered.indexOf('Bless a recovery');
  tampered[inTitle] = 0x42 ^ 0x20;
  writeFileSync(file('tampered.cbor'), tampered);
  writeFileSync(file('longer.cbor'), Buffer.concat([certificate, Buffer.of(0)]));
  writeFileSync(file('shorter.cbor'), certificate.subarray(0, -1));
});

const replicas: Replica[] = [];
afterEach(async () => {
  await Promise.all(replicas.splice(0).map((replica) => replica.close()));
});

const BASE: OptionValues = { base: COMMIT, baseFile: 'good' };
const BOTH: OptionValues = { ...BASE, proposalFile: 'good.cbor' };

const pin = (workspace: Workspace, options: OptionValues, more?: Surroundings): Promise<Outcome> =>
  runPin(workspace, files, options, more);

describe('lock pin', () => {
  test('a base alone: proposal null, and what a proposer builds next', async () => {
    const workspace = makeWorkspace();
    const { code, out, err } = await pin(workspace, BASE);
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(readFileSync(workspace.lockPath, 'utf8'))).toEqual({
      version: 1,
      network: 'dev',
      base: {
        commit: COMMIT,
        urls: [
          `https://download.dfinity.systems/ic/${COMMIT}/guest-os/update-img/update-img.tar.zst`,
          `https://download.dfinity.network/ic/${COMMIT}/guest-os/update-img/update-img.tar.zst`,
        ],
        sha256: sha256Of(file('good')),
        size: statSync(file('good')).size,
      },
      proposal: null,
    });
    expect(out).toContain('none yet');
    expect(out).toContain(`${PACKAGE}:proposal-payload.json`);
    expect(out).toContain(`sha256 ${sha256Of(file('good'))}`);
  });

  test('the base goes into the cache, and a link to it where Bazel looks', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, BASE);
    expect(sha256Of(workspace.cached)).toBe(sha256Of(file('good')));
    expect(readlinkSync(join(workspace.path, '.distdir', `update-img-${COMMIT}.tar.zst`))).toBe(
      workspace.cached,
    );
    expect(existsSync(`${workspace.cached}.part`)).toBe(false);
  });

  test('base and proposal: lock, certificate and request, and how far they overlap', async () => {
    const workspace = makeWorkspace();
    const { out } = await pin(workspace, { ...BOTH, chipId: ['2a'.repeat(64)] });
    const lock = parseLock(readFileSync(workspace.lockPath, 'utf8'));
    expect(lock.proposal).toEqual({
      id: '139001',
      sha256: sha256Of(file('good.cbor')),
      requestSha256: sha256Of(file('good.request.cbor')),
      certifiedTimeNs: '1769999760000000000',
    });
    for (const name of ['.cbor', '.request.cbor'])
      expect(sha256Of(join(workspace.folder, `139001${name}`))).toBe(sha256Of(file(`good${name}`)));
    expect(out).toContain('2 of 2 launch measurements');
    expect(out).toContain('EPYC-v4  slots A, B');
    expect(out).toContain('1 asked for, all listed');
    expect(out).toContain(`+  "network": "dev",`);
    expect(out).toMatch(/^next: /m);
    expect(out).toContain(`//${PACKAGE}:update-img`);
  });

  test('a partial overlap is taken, and its rest is named', async () => {
    const { out } = await pin(makeWorkspace(), { ...BASE, proposalFile: 'blesses-slot-a.cbor' });
    expect(out).toContain('1 of 2 launch measurements');
    expect(out).toContain('slot A; not slot B: from there it would not open its disk');
  });

  test('the lock names no path of this machine', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, { ...BOTH, baseFile: file('good'), proposalFile: file('good.cbor') });
    expect(readFileSync(workspace.lockPath, 'utf8')).not.toContain(files);
  });

  test('a second run changes nothing', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, BOTH);
    const before = [snapshot(workspace.path), snapshot(workspace.cache)];
    const { out } = await pin(workspace, BOTH);
    expect(out).toContain('pins.lock.json is as it was');
    expect([snapshot(workspace.path), snapshot(workspace.cache)]).toEqual(before);
  });

  test('a third one needs no file: what is pinned is kept, and nobody is asked', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, BOTH);
    const before = snapshot(workspace.path);
    // Nothing listens there.
    const { out } = await pin(workspace, { proposal: '139001', nnsUrl: ['http://127.0.0.1:1'] });
    expect(out).toContain('from the cache');
    expect(out).toContain('kept');
    expect(snapshot(workspace.path)).toEqual(before);
  });

  test('the proposal is added to a base that is pinned', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, { ...BASE, baseUrl: [MIRROR] });
    const { out } = await pin(workspace, { proposalFile: 'good.cbor' });
    expect(out).toContain('-  "proposal": null');
    const lock = parseLock(readFileSync(workspace.lockPath, 'utf8'));
    expect((lock.base as BaseFile).urls).toEqual([MIRROR]);
    expect(lock.proposal).not.toBeNull();
  });

  test('another base takes no URL of the one that was pinned', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, { ...BASE, baseUrl: [MIRROR] });
    await pin(workspace, { base: OTHER_COMMIT, baseFile: 'of-another-commit' });
    const { base } = parseLock(readFileSync(workspace.lockPath, 'utf8'));
    expect((base as BaseFile).urls[0]).toContain(OTHER_COMMIT);
  });

  test('a dry run does everything and writes nothing into the workspace', async () => {
    const workspace = makeWorkspace();
    const before = snapshot(workspace.path);
    const { code, out } = await pin(workspace, { ...BOTH, dryRun: true });
    expect(code).toBe(0);
    expect(out).toContain('dry run: nothing was written');
    expect(out).toContain('+  "network": "dev",');
    expect(snapshot(workspace.path)).toEqual(before);
  });

  test('the environment names base and proposal, the command line wins', async () => {
    const env = { ALTERNATIVE_GUESTOS_BASE_VERSION: COMMIT, ALTERNATIVE_GUESTOS_PROPOSAL_ID: '139001' };
    const workspace = makeWorkspace();
    const { out } = await pin(workspace, { baseFile: 'good', proposalFile: 'good.cbor' }, { env });
    expect(out).toContain('139001 on dev');
    const wrong = { ALTERNATIVE_GUESTOS_BASE_VERSION: 'x', ALTERNATIVE_GUESTOS_PROPOSAL_ID: 'x' };
    await pin(workspace, { ...BOTH, proposal: '139001' }, { env: wrong });
    await expectCvmRejection(() => pin(workspace, { proposalFile: 'good.cbor' }, { env: wrong }), 'PIN_BASE');
    const strange = { ...env, ALTERNATIVE_GUESTOS_PROPOSAL_ID: '139002' };
    await expectCvmRejection(() => pin(workspace, BOTH, { env: strange }), 'PROPOSAL_FILE_ID');
  });

  test('empty variables count as none', async () => {
    const env = { ALTERNATIVE_GUESTOS_BASE_VERSION: '', ALTERNATIVE_GUESTOS_PROPOSAL_ID: '' };
    const workspace = makeWorkspace();
    await pin(workspace, BASE, { env });
    expect(parseLock(readFileSync(workspace.lockPath, 'utf8')).proposal).toBeNull();
  });

  test('mainnet is meant unless dev is named, whatever the lock says', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, { ...BASE, baseUrl: [MIRROR] });
    const before = snapshot(workspace.path);
    const mainnet = { network: undefined };
    await expectCvmRejection(() => pin(workspace, { ...BOTH, ...mainnet }), 'CERT_SIGNATURE', 'trust');
    // Of the other network's lock nothing is taken over, not even the commit.
    await expectCvmRejection(() => pin(workspace, { baseFile: 'good', ...mainnet }), 'PIN_BASE', 'usage');
    expect(snapshot(workspace.path)).toEqual(before);
    await pin(workspace, { ...BASE, ...mainnet });
    const lock = parseLock(readFileSync(workspace.lockPath, 'utf8'));
    expect(lock.network).toBe('mainnet');
    expect((lock.base as BaseFile).urls).not.toContain(MIRROR);
  });

  test('the cache is below HOME when there is no folder for caches', async () => {
    const workspace = makeWorkspace();
    for (const other of [undefined, '', 'relative']) {
      await pin(workspace, BASE, { env: { XDG_CACHE_HOME: other, HOME: workspace.cache } });
    }
    expect(existsSync(join(workspace.cache, '.cache/rules_cvm/bases', `update-img-${COMMIT}.tar.zst`))).toBe(
      true,
    );
  });

  test('a member ./boot.img is a member boot.img', async () => {
    const { code } = await pin(makeWorkspace(), {
      base: COMMIT,
      baseFile: 'with-dot',
      proposalFile: 'good.cbor',
    });
    expect(code).toBe(0);
  });

  test('a broken lock is replaced, and that is said', async () => {
    const workspace = makeWorkspace();
    for (const text of ['{', '{"version": 2}\n', '\u0000']) {
      writeFileSync(workspace.lockPath, text);
      const { err, out } = await pin(workspace, BASE);
      expect(err).toContain('it will be written anew');
      expect(out).toContain('+  "version": 1,');
      parseLock(readFileSync(workspace.lockPath, 'utf8'));
    }
  });

  test('a lock of built targets is replaced', async () => {
    const workspace = makeWorkspace();
    writeFileSync(
      workspace.lockPath,
      writeLock({ network: 'dev', base: { target: '//a:b' }, proposal: null }),
    );
    await expectCvmRejection(() => pin(workspace, { baseFile: 'good' }), 'PIN_BASE', 'usage');
    await pin(workspace, BASE);
    expect('target' in parseLock(readFileSync(workspace.lockPath, 'utf8')).base).toBe(false);
  });

  test('what is shown is escaped', async () => {
    const workspace = makeWorkspace();
    writeFileSync(workspace.lockPath, `{"version": "\u001b[2J\u202e"}\n`);
    writeProposal(files, 'odd', pinProposal({ title: 'a\u001b[2J\u202eb\nproposal  999' }));
    const { out, err } = await pin(workspace, { ...BASE, proposalFile: 'odd.cbor' });
    expect(out + err).not.toMatch(/[\u001b\u202e]/);
    expect(out).not.toMatch(/^proposal {2}999/m);
  });
});

describe('a proposal from the network', () => {
  const serve = async (): Promise<Replica> => {
    const started = await startReplica({ proposals: [pinProposal()] });
    replicas.push(started);
    return started;
  };

  test('is downloaded once, kept, and asked for anew with --refresh', async () => {
    const workspace = makeWorkspace();
    const replica = await serve();
    const options = { ...BASE, proposal: '139001', nnsUrl: [replica.url] };
    expect((await pin(workspace, options)).out).toContain('downloaded');
    expect(replica.paths).toHaveLength(1);
    const before = snapshot(workspace.path);
    expect((await pin(workspace, options)).out).toContain('kept');
    expect(replica.paths).toHaveLength(1);
    expect(snapshot(workspace.path)).toEqual(before);
    expect((await pin(workspace, { ...options, refresh: true })).out).toContain('downloaded');
    expect(replica.paths).toHaveLength(2);
  });

  test('replaces a certificate that does not verify', async () => {
    const workspace = makeWorkspace();
    const replica = await serve();
    writeFileSync(join(workspace.folder, '139001.cbor'), 'rubbish');
    writeFileSync(join(workspace.folder, '139001.request.cbor'), 'rubbish');
    const { err } = await pin(workspace, { ...BASE, proposal: '139001', nnsUrl: [replica.url] });
    expect(err).toContain('do not verify');
    expect(readFileSync(join(workspace.folder, '139001.cbor'), 'latin1')).not.toBe('rubbish');
  });

  test.each<[string, OptionValues, string]>([
    ['a proposal that does not exist', { proposal: '7' }, 'PROPOSAL_MISSING'],
    ['no host on dev', { proposal: '139001', nnsUrl: [] }, 'NNS_URL'],
    ['an id that is no number', { proposal: '139001x' }, 'OPTION_NUMBER'],
    ['a negative id', { proposal: '-1' }, 'OPTION_NUMBER'],
    ['an id above 64 bits', { proposal: `${1n << 64n}` }, 'OPTION_NUMBER'],
  ])('%s is refused, and nothing is written', async (_, options, code) => {
    const workspace = makeWorkspace();
    const before = snapshot(workspace.path);
    const nnsUrl = [(await serve()).url];
    await expectCvmRejection(() => pin(workspace, { ...BASE, nnsUrl, ...options }), code);
    expect(snapshot(workspace.path)).toEqual(before);
  });
});

/** Runs into an error; the workspace, with or without a lock, is as it was. */
async function refuses(
  options: OptionValues,
  code: string,
  more: Surroundings & { readonly prepare?: (workspace: Workspace) => unknown } = {},
): Promise<Awaited<ReturnType<typeof expectCvmRejection>>> {
  const { prepare, ...surroundings } = more;
  const workspace = makeWorkspace();
  await prepare?.(workspace);
  const before = snapshot(workspace.path);
  const error = await expectCvmRejection(() => pin(workspace, options, surroundings), code);
  expect(snapshot(workspace.path)).toEqual(before);
  const cached = Object.keys(snapshot(workspace.cache)).filter((name) => name.endsWith('.part'));
  expect(cached).toEqual([]);
  return error;
}

const pinned = (workspace: Workspace): Promise<unknown> => pin(workspace, BASE);

describe('a bad call writes nothing', () => {
  test.each([
    ['a short commit', COMMIT.slice(1)],
    ['a long commit', `${COMMIT}0`],
    ['a branch', 'main'],
    ['a commit with a line break', `${COMMIT}\n`],
    ['a path', `../../../${COMMIT.slice(9)}`],
    ['no commit', ''],
  ])('%s', async (_, base) => {
    const error = await refuses({ ...BASE, base }, 'PIN_BASE');
    expect(error.nearest).toBeUndefined();
    expect(error.mend).toBeDefined();
  });

  test('a commit in capitals: the right one is near', async () => {
    const error = await refuses({ ...BASE, base: COMMIT.toUpperCase() }, 'PIN_BASE');
    expect(error.nearest).toBe(COMMIT);
  });

  test('no base, and none is pinned', async () => {
    await refuses({ baseFile: 'good' }, 'PIN_BASE');
  });

  test.each<[string, OptionValues, string]>([
    ['a sha256 that is no hex', { baseSha256: 'g'.repeat(64) }, 'HEX_INVALID'],
    ['a sha256 with a prefix', { baseSha256: `0x${'0'.repeat(62)}` }, 'HEX_INVALID'],
    ['a short sha256', { baseSha256: '00' }, 'HEX_LENGTH'],
    ['an empty sha256', { baseSha256: '' }, 'HEX_LENGTH'],
    ['a chip id that is no hex', { chipId: ['x'.repeat(128)] }, 'HEX_INVALID'],
    ['a short chip id', { chipId: ['00'] }, 'HEX_LENGTH'],
    ['an unknown network', { network: 'testnet' }, 'NETWORK_UNKNOWN'],
    ['an unknown CPU type', { vcpuTypes: 'EPYC-v99' }, 'VCPU_TYPE_UNKNOWN'],
    ['no CPUs', { vcpus: '0' }, 'OPTION_NUMBER'],
    ['http on mainnet', { network: 'mainnet', baseUrl: ['http://mirror.example/x'] }, 'PIN_BASE_URL'],
    [
      'http to this machine on mainnet',
      { network: 'mainnet', baseUrl: ['http://127.0.0.1/x'] },
      'PIN_BASE_URL',
    ],
    ['http elsewhere on dev', { baseUrl: ['http://mirror.example/x'] }, 'PIN_BASE_URL'],
    ['one bad URL of two', { baseUrl: [MIRROR, 'ftp://mirror.example/x'] }, 'PIN_BASE_URL'],
    ['a file URL', { baseUrl: ['file:///etc/passwd'] }, 'PIN_BASE_URL'],
    ['an environment that is not there', { package: 'ic-os/envs/none' }, 'FILE_NOT_FOUND'],
    ['an environment that is a file', { package: `${PACKAGE}/BUILD.bazel` }, 'PACKAGE_MISSING'],
    ['no environment', { package: undefined }, 'OPTION_MISSING'],
    ['a workspace that is not there', { workspace: '/nonexistent' }, 'FILE_NOT_FOUND'],
  ])('%s', async (_, options, code) => {
    await refuses({ ...BASE, ...options }, code);
  });

  test('no folder for the cache', async () => {
    const error = await refuses(BASE, 'CACHE_UNKNOWN', {
      env: { XDG_CACHE_HOME: undefined, HOME: undefined },
    });
    expect(error.mend).toContain('XDG_CACHE_HOME');
    await refuses(BASE, 'CACHE_UNKNOWN', { env: { XDG_CACHE_HOME: 'relative', HOME: 'relative' } });
  });

  test('a cache that cannot be written', async () => {
    // A folder below a file: nobody can make that, whatever they may do elsewhere.
    await refuses(BASE, 'FILE_NOT_FOUND', { env: { XDG_CACHE_HOME: join(files, 'good') } });
  });

  test('an environment where nobody may write', async () => {
    await refuses({ ...BASE, workspace: '/sys', package: 'kernel' }, 'FILE_ACCESS');
  });

  // Root may write wherever the mount allows it.
  test('the options are these and no others: a new one needs its tests', () => {
    expect(optionNames(command).sort()).toEqual([
      'base',
      'baseFile',
      'baseSha256',
      'baseUrl',
      'chipId',
      'dryRun',
      'network',
      'nnsUrl',
      'package',
      'proposal',
      'proposalFile',
      'refresh',
      'vcpuTypes',
      'vcpus',
      'workspace',
    ]);
    expect(command.arguments ?? []).toEqual([]);
  });
});

describe('a bad base writes nothing', () => {
  test.each([
    ['missing', 'FILE_NOT_FOUND'],
    ['folder', 'FILE_NOT_REGULAR'],
    ['/dev/null', 'FILE_NOT_REGULAR'],
    ['empty', 'EXT4_TOO_SMALL'],
    ['text', 'EXT4_MAGIC'],
    ['truncated', 'ZSTD_TRUNCATED'],
    ['half', 'ZSTD_TRUNCATED'],
    ['trailing', 'ZSTD_MAGIC'],
    ['without-boot', 'IMAGE_MEMBER_MISSING'],
    ['two-boots', 'IMAGE_MEMBER_TWICE'],
    ['boot-is-a-link', 'IMAGE_MEMBER_MISSING'],
    ['boot-is-a-folder', 'IMAGE_MEMBER_MISSING'],
    ['member-up', 'TAR_PATH'],
    ['member-up-inside', 'TAR_PATH'],
    ['member-absolute', 'TAR_PATH'],
    ['link-absolute', 'TAR_PATH'],
    ['link-up', 'TAR_PATH'],
    ['hardlink-up', 'TAR_PATH'],
    ['bad-superblock', 'EXT4_MAGIC'],
    ['cut-partition', 'EXT4_TRUNCATED'],
    ['of-another-commit', 'IMAGE_VERSION'],
    ['without-version', 'BOOT_FILE_MISSING'],
    ['without-firmware', 'BOOT_FILE_MISSING'],
    ['without-kernel', 'BOOT_FILE_MISSING'],
    ['before-tee', 'BOOT_ARGS_TEE_MISSING'],
    ['without-slot-b', 'BOOT_ARGS_TEE_MISSING'],
  ])('%s', async (baseFile, code) => {
    await refuses({ base: COMMIT, baseFile }, code);
    await refuses({ base: COMMIT, baseFile, proposalFile: 'good.cbor' }, code);
  });

  test('the commit that it is of is named', async () => {
    const error = await refuses({ base: COMMIT, baseFile: 'of-another-commit' }, 'IMAGE_VERSION');
    expect(error.kind).toBe('mismatch');
    expect(error.facts.join('\n')).toContain(OTHER_COMMIT);
  });

  test('another sha256 than --base-sha256', async () => {
    const error = await refuses({ ...BASE, baseSha256: '0'.repeat(64) }, 'BASE_SHA256');
    expect(error.kind).toBe('mismatch');
    expect(Object.fromEntries(error.facts)).toMatchObject({
      'expected by': '--base-sha256',
      'expected sha256': '0'.repeat(64),
      found: sha256Of(file('good')),
    });
  });

  test('the right --base-sha256 in capitals is taken', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, { ...BASE, baseSha256: sha256Of(file('good')).toUpperCase() });
    expect(existsSync(workspace.lockPath)).toBe(true);
  });

  test('another sha256 than the pinned one, unless it is to be asked anew', async () => {
    const error = await refuses({ base: COMMIT, baseFile: 'changed' }, 'BASE_SHA256', { prepare: pinned });
    expect(Object.fromEntries(error.facts)['expected by']).toBe('pins.lock.json');
    expect(error.mend).toContain('--refresh');
    const workspace = makeWorkspace();
    await pinned(workspace);
    const { out } = await pin(workspace, { base: COMMIT, baseFile: 'changed', refresh: true });
    expect(out).toContain(`-    "sha256": "${sha256Of(file('good'))}",`);
    expect(out).toContain(`+    "sha256": "${sha256Of(file('changed'))}",`);
    expect(sha256Of(workspace.cached)).toBe(sha256Of(file('changed')));
  });

  test('--base-sha256 stands above the pinned one', async () => {
    await refuses({ ...BASE, baseSha256: '0'.repeat(64) }, 'BASE_SHA256', { prepare: pinned });
  });

  test('a base that is refused is not where Bazel looks', async () => {
    const workspace = makeWorkspace();
    await expectCvmRejection(
      () => pin(workspace, { base: COMMIT, baseFile: 'of-another-commit' }),
      'IMAGE_VERSION',
    );
    expect(existsSync(join(workspace.path, '.distdir'))).toBe(false);
  });
});

describe('a bad proposal writes nothing', () => {
  test.each<[string, string, OptionValues?]>([
    ['missing', 'FILE_NOT_FOUND'],
    ['bare.cbor', 'REQUEST_FILE_MISSING'],
    ['with-other-request.cbor', 'REQUEST_ID'],
    ['blesses-strangers.cbor', 'MEASUREMENT_NOT_BLESSED'],
    ['good.cbor', 'PROPOSAL_FILE_ID', { proposal: '139002' }],
    ['other.cbor', 'PROPOSAL_FILE_ID', { proposal: '139001' }],
    ['good.cbor', 'CHIP_NOT_LISTED', { chipId: ['00'.repeat(64)] }],
    ['good.cbor', 'CHIP_NOT_LISTED', { chipId: ['2a'.repeat(64), '00'.repeat(64)] }],
    ['good.cbor', 'CERT_SIGNATURE', { network: 'mainnet' }],
    ['good.cbor', 'MEASUREMENT_NOT_BLESSED', { baseFile: 'changed' }],
    ['good.cbor', 'MEASUREMENT_NOT_BLESSED', { vcpus: '16' }],
    ['open.cbor', 'PROPOSAL_NOT_EXECUTED'],
    ['rejected.cbor', 'PROPOSAL_NOT_EXECUTED'],
    ['adopted.cbor', 'PROPOSAL_NOT_EXECUTED'],
    ['failed.cbor', 'PROPOSAL_NOT_EXECUTED'],
    ['tampered.cbor', 'CERT_SIGNATURE'],
    ['longer.cbor', 'CBOR_TRAILING'],
    ['shorter.cbor', 'CBOR_TRUNCATED'],
    ['good.request.cbor', 'REQUEST_FILE_MISSING'],
    ['text', 'REQUEST_FILE_MISSING'],
  ])('%s: %s %o', { timeout: 60_000 }, async (proposalFile, code, options = {}) => {
    await refuses({ ...BASE, proposalFile, ...options }, code);
    await refuses({ ...BASE, proposalFile, ...options }, code, {
      prepare: (workspace) => {
        writeFileSync(workspace.lockPath, '{');
      },
    });
  });

  test('a dry run refuses alike', async () => {
    await refuses(
      { ...BASE, proposalFile: 'blesses-strangers.cbor', dryRun: true },
      'MEASUREMENT_NOT_BLESSED',
    );
    await refuses({ base: COMMIT, baseFile: 'without-boot', dryRun: true }, 'IMAGE_MEMBER_MISSING');
  });
});

describe('places that are something else', () => {
  test.each(['pins.lock.json', '139001.cbor', '139001.request.cbor'])('a folder named %s', async (name) => {
    const workspace = makeWorkspace();
    mkdirSync(join(workspace.folder, name));
    await expect(pin(workspace, BOTH)).rejects.toMatchObject({ name: 'CvmError', kind: 'usage' });
    expect(statSync(join(workspace.folder, name)).isDirectory()).toBe(true);
  });

  test('a file where the folder for Bazel goes: the lock stays as it was', async () => {
    const workspace = makeWorkspace();
    writeFileSync(join(workspace.path, '.distdir'), 'x');
    const before = snapshot(workspace.path);
    await expect(pin(workspace, BOTH)).rejects.toMatchObject({ name: 'CvmError', kind: 'usage' });
    expect(snapshot(workspace.path)).toEqual(before);
  });

  test('a stale link where the base goes is replaced', async () => {
    const workspace = makeWorkspace();
    await pin(workspace, BASE);
    rmSync(workspace.cached);
    await pin(workspace, BASE);
    expect(existsSync(join(workspace.path, '.distdir', `update-img-${COMMIT}.tar.zst`))).toBe(true);
  });
});

test('the call needs a workspace: it is the current folder when none is named', async () => {
  const workspace = makeWorkspace();
  const { code } = await runCommand(
    command,
    workspace.path,
    [],
    { ...BASE, baseFile: file('good'), network: 'dev', package: PACKAGE },
    { env: { XDG_CACHE_HOME: workspace.cache } },
  );
  expect(code).toBe(0);
  expect(existsSync(workspace.lockPath)).toBe(true);
});
