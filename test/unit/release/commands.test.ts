import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import type { Command, OptionValues } from '../../../tools/commands/command.ts';
import { openImage } from '../../../tools/commands/image-files.ts';
import { command as shippedCreate } from '../../../tools/commands/release-create.ts';
import { command as shippedPublish } from '../../../tools/commands/release-publish.ts';
import { command as verify } from '../../../tools/commands/release-verify.ts';
import { CvmError } from '../../../tools/errors.ts';
import { writeLock } from '../../../tools/lock/lock.ts';
import { command as rehearsedPublish } from '../../nns/commands/release-publish.ts';
import { rootPartition } from '../../support/guestos-images.ts';
import { startObjectServer } from '../../support/object-server.ts';
import { writeArchive } from '../../support/pin-workspaces.ts';
import { expectRefusalOf } from '../../support/refusals.ts';
import {
  copyOf,
  create,
  createShipped,
  rehearsed,
  releaseParts,
  REVISION,
  type Parts,
} from '../../support/releases.ts';
import { optionNames, runCommand, type Outcome, type Surroundings } from '../../support/run-command.ts';

let parts: Parts;
let good = '';

beforeAll(async () => {
  parts = await releaseParts();
  good = await rehearsed(parts, 'good');
  const write = (name: string, text: string): void => {
    writeFileSync(join(parts.folder, name), text);
  };
  write('dirty', `STABLE_GIT_REVISION ${REVISION}-dirty\n`);
  write('unknown', 'STABLE_GIT_REVISION unknown\n');
  write('empty', '');
  write('mainnet.lock', writeLock({ ...parts.lock, network: 'mainnet' }));
  const boot = await openImage(join(good, 'update-img.tar.zst'), 'boot.img');
  await writeArchive(join(parts.folder, 'other-root.tar.zst'), [
    { name: 'boot.img', source: boot },
    { name: 'root.img', source: rootPartition(9).image },
    { name: 'VERSION.TXT', source: sourceFromBytes(utf8Bytes('v-1-dev\n')) },
  ]);
  boot.close();
});

/** Nothing of a refused release is left, not even under another name. */
function expectNothing(name: string): void {
  expect(existsSync(join(parts.folder, name))).toBe(false);
  expect(readdirSync(parts.folder).filter((entry) => entry.includes('partial'))).toEqual([]);
}

describe('the gate of the shipped tool', () => {
  test('refuses the dev network, and names what else is wrong', async () => {
    const error = await expectRefusalOf(
      () => createShipped(parts, 'refused', { statusFile: 'dirty' }),
      'GATE_DEV_NETWORK',
      'trust',
    );
    expect(error.facts).toContainEqual(['also', expect.stringContaining('GATE_REVISION_DIRTY')]);
    expectNothing('refused');
  });

  test('refuses what only calls itself mainnet: no key but the compiled-in one counts', async () => {
    const error = await expectRefusalOf(
      () => createShipped(parts, 'refused', { lock: 'mainnet.lock' }),
      'GATE_IMAGE_UNVALIDATED',
      'trust',
    );
    expect(error.facts[0]?.[1]).toContain('CERT_SIGNATURE');
    expectNothing('refused');
  });

  test('has no option that names a network or a key, or leaves something out', () => {
    for (const command of [shippedCreate, shippedPublish]) {
      const names = optionNames(command).join(' ');
      expect(names).not.toMatch(/network|key|skip|force|rehears|dev|trust/i);
      expect(names).not.toMatch(/\bno[A-Z]/);
    }
  });
});

describe('the gate', () => {
  test.each<readonly [string, string, OptionValues]>([
    ['GATE_REVISION_DIRTY', 'a dirty revision', { statusFile: 'dirty' }],
    ['GATE_REVISION_UNKNOWN', 'an unknown revision', { statusFile: 'unknown' }],
    ['GATE_REVISION_UNKNOWN', 'a status without a revision', { statusFile: 'empty' }],
    ['GATE_NETWORK', 'mainnet, which is not rehearsed', { lock: 'mainnet.lock' }],
    ['GATE_IMAGE_UNVALIDATED', 'a root partition that nobody blessed', { updateImage: 'other-root.tar.zst' }],
    ['GATE_IMAGE_UNVALIDATED', 'a disk of other partitions', { diskImage: 'update-img.tar.zst' }],
    ['GATE_IMAGE_UNVALIDATED', 'measurements of something else', { measurements: 'status' }],
    ['GATE_IMAGE_UNVALIDATED', 'another base than the pinned one', { base: 'update-img.tar.zst' }],
    ['GATE_IMAGE_UNVALIDATED', 'vCPUs that were not measured', { vcpus: '2' }],
    ['GATE_IMAGE_UNVALIDATED', 'a chip that the proposal does not list', { chipId: ['00'.repeat(64)] }],
    ['GATE_IMAGE_UNVALIDATED', 'a request that is none', { request: 'status' }],
  ])('%s: %s', async (code, _, over) => {
    await expectRefusalOf(() => create(parts, 'refused', over), code, 'trust');
    expectNothing('refused');
  });

  test('GATE_REVISION_UNKNOWN and GATE_REQUEST_UNBOUND where the files are not given', async () => {
    const withoutOption = (name: string): Parts => {
      const options = Object.fromEntries(Object.entries(parts.options).filter(([key]) => key !== name));
      return { ...parts, options };
    };
    await expectRefusalOf(
      () => create(withoutOption('statusFile'), 'refused'),
      'GATE_REVISION_UNKNOWN',
      'trust',
    );
    await expectRefusalOf(() => create(withoutOption('request'), 'refused'), 'GATE_REQUEST_UNBOUND', 'trust');
    expectNothing('refused');
  });
});

describe('create', () => {
  test.each([
    'SHA256SUMS',
    'update-img.tar.zst',
    '7.cbor',
    '.hidden',
    'a b',
    'cas',
    'NOT-FOR-PRODUCTION.txt',
  ])('refuses a document of the name %s', async (name) => {
    mkdirSync(join(parts.folder, 'documents'), { recursive: true });
    writeFileSync(join(parts.folder, 'documents', name), 'x');
    await expectRefusalOf(
      () => create(parts, 'refused', { document: [join('documents', name)] }),
      'RELEASE_DOCUMENT',
      'usage',
    );
    expectNothing('refused');
  });

  test.each(['yesterday', '2026-13-01T00:00:00Z', '2026-01-02T03:04:05+01:00', '2026-01-02'])(
    'refuses the time %s',
    async (time) => {
      await expectRefusalOf(() => create(parts, 'refused', { time }), 'RELEASE_TIME', 'usage');
    },
  );

  test('refuses a folder that holds something', async () => {
    await expectRefusalOf(() => create(parts, 'documents'), 'OUTPUT_NOT_EMPTY', 'usage');
  });
});

const publish = (
  command: Command,
  release: string,
  options: OptionValues,
  around: Surroundings = {},
): Promise<Outcome> => runCommand(command, parts.folder, [], { release, ...options }, around);

describe('publish', () => {
  test('to a folder: the copy verifies, with its cas, and a second call changes nothing', async () => {
    const { out } = await publish(rehearsedPublish, 'good', { to: 'published' });
    expect(out).toContain('22 uploaded and read back, 0 there already');
    const again = await publish(rehearsedPublish, 'good', { to: 'published' });
    expect(again.out).toContain('0 uploaded and read back, 22 there already');
    const { code, out: verdict } = await runCommand(verify, parts.folder, ['published'], { network: 'dev' });
    expect(code).toBe(0);
    expect(verdict).toMatch(/^ok +cas +11 files/m);
  });

  test('refuses what does not verify, and sends nothing', async () => {
    const bad = copyOf(good);
    writeFileSync(join(bad, 'update-img.report.html'), 'changed');
    const server = await startObjectServer();
    try {
      await expectRefusalOf(
        () => publish(rehearsedPublish, bad, { to: server.url }),
        'PUBLISH_UNVERIFIED',
        'trust',
      );
      expect(server.asked).toEqual([]);
    } finally {
      await server.close();
    }
  });

  test('the shipped tool publishes no image of dev', async () => {
    const error = await expectRefusalOf(
      () => publish(shippedPublish, 'good', { to: 'nowhere' }),
      'PUBLISH_UNVERIFIED',
      'trust',
    );
    expect(error.facts.map(([name]) => name)).toContain('lock');
    expect(existsSync(join(parts.folder, 'nowhere'))).toBe(false);
  });

  test.each(['https://example.com/x', 'https://releases.example/'])(
    'a rehearsal goes to this machine alone, not to %s',
    async (to) => {
      await expectRefusalOf(() => publish(rehearsedPublish, 'good', { to }), 'PUBLISH_REHEARSAL', 'usage');
    },
  );

  test('credentials come from the environment or a file, and are shown nowhere', async () => {
    const SECRET = 'Bearer s3cr3t-t0ken';
    const server = await startObjectServer({ authorization: SECRET });
    try {
      writeFileSync(join(parts.folder, 'authorization'), `${SECRET}\n`);
      const env = { CVM_PUBLISH_AUTHORIZATION: SECRET };
      const first = await publish(rehearsedPublish, 'good', { to: server.url }, { env });
      const second = await publish(rehearsedPublish, 'good', {
        to: server.url,
        authorizationFile: 'authorization',
      });
      expect(second.out).toContain('0 uploaded');
      for (const { out, err } of [first, second]) expect(out + err).not.toContain('s3cr3t');
      const error = await expectRefusalOf(
        () => publish(rehearsedPublish, 'good', { to: server.url }),
        'PUBLISH_REFUSED',
        'network',
      );
      expect(error.facts).toContainEqual(['status', '401 Unauthorized']);
    } finally {
      await server.close();
    }
  });

  test.each(['s3cr3t-t0ken', 'Bearer s3cr3t\r\nX-Evil: 1', 'Bearer s3cr3t é', ' Bearer s3cr3t'])(
    'no Authorization header: %j, which is not shown',
    async (text) => {
      const env = { CVM_PUBLISH_AUTHORIZATION: text };
      const error = await expectRefusalOf(
        () => publish(rehearsedPublish, 'good', { to: 'https://localhost:1/' }, { env }),
        'PUBLISH_AUTHORIZATION',
        'usage',
      );
      expect(JSON.stringify([error.message, error.facts, error.mend])).not.toContain('s3cr3t');
    },
  );
});

test('what is refused is refused with an error of the house, whatever file is given for another', async () => {
  const files = [
    'update-img.tar.zst',
    'certificate',
    'request',
    'measurements',
    'pins.lock.json',
    'status',
    'version',
    'empty',
  ];
  for (const option of ['updateImage', 'proposal', 'request', 'lock', 'base', 'packageLock', 'statusFile']) {
    for (const file of files) {
      if (parts.options[option] === file) continue;
      const outcome = await create(parts, 'mixed', { [option]: file }).catch((error: unknown) => error);
      if (outcome instanceof CvmError) expect(outcome.kind, `${option} ${file}`).not.toBe('bug');
      else expect.fail(`${option} = ${file}: ${String(outcome)}`);
      expectNothing('mixed');
    }
  }
});

test('a release on a read-only medium, under links, is verified as any', async () => {
  const { symlinkSync } = await import('node:fs');
  const linked = join(parts.folder, 'linked');
  cpSync(good, `${linked}-real`, { recursive: true });
  mkdirSync(linked);
  for (const name of readdirSync(good)) symlinkSync(join(`${linked}-real`, name), join(linked, name));
  expect((await runCommand(verify, parts.folder, ['linked'], { network: 'dev' })).code).toBe(0);
  expect(readFileSync(join(linked, 'SHA256SUMS'))).toEqual(readFileSync(join(good, 'SHA256SUMS')));
});
