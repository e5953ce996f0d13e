import { hash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { writeU32 } from '../../../tools/bytes/little-endian.ts';
import type { ByteSource } from '../../../tools/bytes/source.ts';
import { command as create } from '../../../tools/commands/bundle-create.ts';
import { openBundle } from '../../../tools/commands/bundle-files.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import type { DigestsAhead } from '../../../tools/commands/digests-ahead.ts';
import { bundleTdxImage } from '../../../tools/commands/tdx-inputs.ts';
import { command as measure } from '../../../tools/commands/tdx-measure.ts';
import { command as mrtdCommand } from '../../../tools/commands/tdx-mrtd.ts';
import { command as show } from '../../../tools/commands/tdx-show.ts';
import { command as verify } from '../../../tools/commands/tdx-verify.ts';
import { artifact, bundleMetadata } from '../../../tools/dstack/contents.ts';
import { tdxGuest } from '../../../tools/dstack/tdx-guest.ts';
import { readVmConfig } from '../../../tools/dstack/vm-config.ts';
import { replayRuntime, runtimeDigest } from '../../../tools/tdx/runtime-events.ts';
import type { CvmError } from '../../../tools/errors.ts';
import { initrdI, kernelK, REVISION, ROOTFS_HASH, tdvf1 } from '../../support/dstack.ts';
import { expectCvmError, expectCvmRejection } from '../../support/errors.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

let home = '';
const run = async (command: typeof verify, options: OptionValues, ...args: string[]): Promise<Outcome> =>
  await runCommand(command, home, args, options);

interface Document {
  readonly registers: Record<'mrtd' | 'rtmr0' | 'rtmr1' | 'rtmr2', string | null>;
  readonly events: Record<
    'rtmr0' | 'rtmr1' | 'rtmr2',
    readonly { name: string; type: string; digest: string | null }[]
  >;
  readonly notes: readonly string[];
}
const measured = async (options: OptionValues): Promise<Document> =>
  JSON.parse((await run(measure, { bundle: 'image', json: true, ...options })).out) as Document;

const SHAPE = { cpus: '2', memory: '2G', qemuVersion: '8.2.2' };
const CONFIG = { cpu_count: 2, memory_size: 2 ** 31, qemu_version: '8.2.2', host_share_mode: '9p' };
const RUNTIME = [
  { name: 'app-id', payload: Uint8Array.of(1, 2, 3), version: 1 as const },
  { name: 'compose-hash', payload: Uint8Array.of(4), version: 2 as const },
];

/** A quote that states these registers. */
function quoteOf(registers: Document['registers'], rtmr3: Uint8Array): Uint8Array {
  const quote = new Uint8Array(1000);
  quote[0] = 4;
  writeU32(quote, 4, 0x81);
  for (const [at, hex] of [
    [136, registers.mrtd],
    [328, registers.rtmr0],
    [376, registers.rtmr1],
    [424, registers.rtmr2],
    [472, bytesToHex(rtmr3)],
  ] as const) {
    quote.set(Buffer.from(hex ?? '', 'hex'), 48 + at);
  }
  return quote;
}

const logOf = (document: Document): Record<string, unknown>[] => [
  ...(['rtmr0', 'rtmr1', 'rtmr2'] as const).flatMap((name, imr) =>
    document.events[name].map(({ type, digest }) => ({
      imr,
      event_type: Number(type),
      digest,
      event: '',
      event_payload: '',
    })),
  ),
  ...RUNTIME.map((event, i) => ({
    imr: 3,
    event_type: 0x08000001,
    digest: i === 0 ? bytesToHex(runtimeDigest(event)) : '',
    event: event.name,
    event_payload: bytesToHex(event.payload),
    ...(event.version === 2 ? { version: 2 } : {}),
  })),
];

const RTMR3 = replayRuntime(RUNTIME.map((event) => ({ ...event, statedDigest: undefined })));

/** Files of a guest that runs the image in a VM of this shape; answers the name of its folder. */
async function guest(name: string, options: OptionValues): Promise<string> {
  const document = await measured(options);
  mkdirSync(join(home, name), { recursive: true });
  writeFileSync(join(home, name, 'quote'), quoteOf(document.registers, RTMR3));
  writeFileSync(join(home, name, 'log'), JSON.stringify(logOf(document)));
  return name;
}

beforeAll(async () => {
  home = scratchFolder();
  const write = (name: string, content: Uint8Array | string): void =>
    writeFileSync(join(home, name), content);
  write('ovmf', tdvf1());
  write('kernel', kernelK());
  write('initrd', initrdI());
  write('rootfs', 'rootfs');
  write('vm.json', JSON.stringify(CONFIG));
  await run(create, {
    ovmf: 'ovmf',
    kernel: 'kernel',
    initrd: 'initrd',
    rootfs: 'rootfs',
    rootfsHash: ROOTFS_HASH,
    rootfsSize: '4096',
    imageVersion: '0.6.0',
    ovmfVariant: 'pre202505',
    gitRevision: REVISION,
    folder: 'image',
  });
  await guest('good', SHAPE);
});

const VERIFY = { bundle: 'image', vmConfig: 'vm.json' };
async function failure(options: OptionValues, code: string): Promise<CvmError> {
  return await expectCvmRejection(() => run(verify, { ...VERIFY, ...options }), code);
}

describe('tdx verify, of a guest that runs the image', () => {
  test('with a log: all registers', async () => {
    const { out } = await run(verify, { ...VERIFY, quote: 'good/quote', eventLog: 'good/log' });
    expect(out).toContain('ok: MRTD, RTMR0, RTMR1 and RTMR2 match');
    expect(out).toContain('RTMR3 is what 2 runtime events replay to');
    expect(out).toContain('signature chain (PCK) is not checked');
  });

  test('without a log, and says that RTMR3 is not checked', async () => {
    const { out } = await run(verify, { ...VERIFY, quote: 'good/quote', json: true });
    expect(JSON.parse(out)).toMatchObject({ ok: true, rtmr3Checked: false, signatureChecked: false });
  });

  test('as hex, and as the JSON that a guest answers', async () => {
    const hex = readFileSync(join(home, 'good/quote')).toString('hex');
    writeFileSync(join(home, 'quote.hex'), `${hex}\n`);
    expect((await run(verify, { ...VERIFY, quote: 'quote.hex' })).code).toBe(0);
    const log = readFileSync(join(home, 'good/log'), 'utf8');
    writeFileSync(
      join(home, 'quote.json'),
      JSON.stringify({ quote: hex, event_log: log, vm_config: JSON.stringify(CONFIG) }),
    );
    const { out } = await run(verify, { bundle: 'image', quote: 'quote.json', json: true });
    expect(JSON.parse(out)).toMatchObject({ rtmr3Checked: true });
  });

  test('a debug guest is said to be one', async () => {
    const quote = new Uint8Array(readFileSync(join(home, 'good/quote')));
    quote[48 + 120] = 1;
    writeFileSync(join(home, 'debug'), quote);
    expect((await run(verify, { ...VERIFY, quote: 'debug' })).out).toContain('debug TD');
  });
});

describe('a mismatch names its cause', () => {
  test.each<[string, OptionValues, string, RegExp, RegExp]>([
    [
      'another QEMU: both MRTD and RTMR0',
      { qemuVersion: '9.1.0' },
      'MRTD',
      /matches with qemu_version 9\.1\.0/,
      /acpi_tables/,
    ],
    ['QEMU 11.1', { qemuVersion: '11.1.0' }, 'MRTD', /matches with qemu_version 11\.1\.0/, /acpi_tables/],
    [
      'the newer firmware',
      { ovmfVariant: 'stable202505' },
      'RTMR0',
      /matches as stable202505/,
      /event 2, efi:SecureBoot/,
    ],
    ['more vCPUs', { cpus: '16' }, 'RTMR0', /matches with cpu_count 16/, /acpi_loader/],
    ['more memory', { memory: '8G' }, 'RTMR0', /matches with memory_size 8589934592/, /event 0, td_hob/],
    ['a second NIC', { nics: '2' }, 'RTMR0', /matches with num_nics 2/, /acpi_tables/],
    ['hotplug off', { hotplugOff: true }, 'RTMR0', /matches with hotplug_off true/, /acpi_loader/],
    ['pic off', { pic: 'off' }, 'RTMR0', /matches with pic false/, /acpi_tables/],
    ['one pass', { twoPassAddPages: 'off' }, 'MRTD', /matches with qemu_single_pass_add_pages false/, /./],
    [
      'both',
      { qemuVersion: '9.2.1', ovmfVariant: 'stable202505' },
      'MRTD',
      /with qemu_version 9\.2\.1 as stable202505/,
      /./,
    ],
    [
      'the constant of dstack-mr',
      { compat: 'dstack-mr' },
      'RTMR0',
      /empty variable store/,
      /event 1, cfv_image/,
    ],
  ])('%s', async (name, change, register, cause, event) => {
    const folder = await guest(name.replaceAll(/\W/g, '-'), { ...SHAPE, ...change });
    const error = await failure({ quote: `${folder}/quote`, eventLog: `${folder}/log` }, 'TDX_REGISTERS');
    expect(error.kind).toBe('mismatch');
    expect(error.message).toMatch(
      new RegExp(`^MRs do not match: ${register} mismatch: expected=[0-9a-f]{96}, actual=[0-9a-f]{96}$`),
    );
    expect(error.nearest).toMatch(cause);
    expect(error.facts.map(([fact, value]) => `${fact} ${value}`).join('\n')).toMatch(event);
  });

  test('a command line that was handed over without its initrd argument', async () => {
    const document = await measured(SHAPE);
    const { loadOptionsEvent, initrdEvent } = await import('../../../tools/tdx/kernel-events.ts');
    const { replay } = await import('../../../tools/tdx/register.ts');
    const { sourceFromBytes } = await import('../../../tools/bytes/source.ts');
    const { CMDLINE } = await import('../../support/dstack.ts');
    const rtmr2 = replay([loadOptionsEvent(CMDLINE).digest, initrdEvent(sourceFromBytes(initrdI())).digest]);
    writeFileSync(join(home, 'bare'), quoteOf({ ...document.registers, rtmr2: bytesToHex(rtmr2) }, RTMR3));
    const error = await failure({ quote: 'bare' }, 'TDX_REGISTERS');
    expect(error.message).toContain('RTMR2 mismatch');
    expect(error.nearest).toBe('RTMR2 matches without " initrd=initrd" on the command line');
  });

  test('or says that none explains it, and where to look', async () => {
    const document = await measured(SHAPE);
    writeFileSync(join(home, 'odd'), quoteOf({ ...document.registers, rtmr1: '00'.repeat(48) }, RTMR3));
    const error = await failure({ quote: 'odd' }, 'TDX_REGISTERS');
    expect(error.nearest).toBe('none of the usual causes explains it');
    expect(error.facts).toContainEqual(['RTMR1 depends on', expect.stringContaining('initrd')]);
  });
});

describe('what cannot be predicted is said', () => {
  test('17 events away from 2 GiB', async () => {
    const document = await measured({ ...SHAPE, memory: '4G', ovmfVariant: 'stable202505' });
    expect(document.registers.rtmr0).toBeNull();
    expect(document.notes.join()).toContain('SMBIOS');
    writeFileSync(join(home, 'big'), quoteOf({ ...document.registers, rtmr0: '11'.repeat(48) }, RTMR3));
    writeFileSync(
      join(home, 'big.json'),
      JSON.stringify({ ...CONFIG, memory_size: 2 ** 32, ovmf_variant: 'stable202505' }),
    );
    const error = await failure({ quote: 'big', vmConfig: 'big.json' }, 'TDX_UNPREDICTABLE');
    expect(error.kind).toBe('trust');
  });

  test('root ports with hotplug, unless the digests are given', async () => {
    const gpu = { ...SHAPE, gpus: '1' };
    expect((await measured(gpu)).registers.rtmr0).toBeNull();
    const digests = ['00', '11', '22'].map((byte) => byte.repeat(48)).join(',');
    expect((await measured({ ...gpu, acpiDigests: digests })).registers.rtmr0).toMatch(/^[0-9a-f]{96}$/);
  });
});

describe('one named error for', () => {
  const log = (edit: (events: Record<string, unknown>[]) => unknown): string => {
    const events = JSON.parse(readFileSync(join(home, 'good/log'), 'utf8')) as Record<string, unknown>[];
    writeFileSync(join(home, 'edited'), JSON.stringify(edit(events) ?? events));
    return 'edited';
  };
  const event =
    (index: number, change: Record<string, unknown>) =>
    (events: Record<string, unknown>[]): void => {
      events[events.length + index] = { ...events.at(index), ...change };
    };
  test.each<[string, (events: Record<string, unknown>[]) => unknown, string]>([
    ['a log that is an object', () => ({}), 'EVENT_LOG_SHAPE'],
    ['a log of numbers', () => [1], 'JSON_NOT_OBJECT'],
    ['an event of no register', event(-1, { imr: 4 }), 'EVENT_LOG_FIELD'],
    ['an event without a type', event(-1, { event_type: 'x' }), 'EVENT_LOG_FIELD'],
    ['a short digest', event(0 - 2, { digest: '00' }), 'EVENT_LOG_FIELD'],
    ['a digest that is no hex', event(-2, { digest: 'xy' }), 'HEX_INVALID'],
    ['a version of tomorrow', event(-1, { version: 3 }), 'EVENT_LOG_FIELD'],
    ['a firmware event in RTMR3', event(-1, { event_type: 4 }), 'EVENT_LOG_FIELD'],
    ['a payload that is another', event(-1, { event_payload: '05' }), 'EVENT_LOG_REPLAY'],
    [
      'a payload that is another under its digest',
      event(-2, { event_payload: '05' }),
      'RUNTIME_EVENT_DIGEST',
    ],
    ['an event less', (events) => events.slice(1), 'EVENT_LOG_REPLAY'],
    ['an event twice', (events) => [...events, events.at(-1)], 'EVENT_LOG_REPLAY'],
    ['events in another order', (events) => events.reverse(), 'EVENT_LOG_REPLAY'],
  ])('%s', async (_, edit, code) => {
    await failure({ quote: 'good/quote', eventLog: log(edit) }, code);
  });

  test.each<[string, (quote: Buffer) => Uint8Array, string]>([
    ['no quote', () => new Uint8Array(0), 'QUOTE_TRUNCATED'],
    ['half a quote', (quote) => quote.subarray(0, 600), 'QUOTE_TRUNCATED'],
    ['a quote of another version', (quote) => quote.fill(6, 0, 1), 'QUOTE_VERSION'],
    ['a quote of SGX', (quote) => quote.fill(0, 4, 8), 'QUOTE_TEE'],
    ['hex that is none', () => Buffer.from('zz'), 'HEX_INVALID'],
    ['JSON without a quote', () => Buffer.from('{"a":1}'), 'QUOTE_DOCUMENT'],
    ['JSON that is none', () => Buffer.from('{'), 'JSON_INVALID'],
  ])('%s', async (_, edit, code) => {
    writeFileSync(join(home, 'edited-quote'), edit(readFileSync(join(home, 'good/quote'))));
    await failure({ quote: 'edited-quote' }, code);
  });

  test.each<[string, object, string]>([
    ['another image', { os_image_hash: '00'.repeat(32) }, 'OS_IMAGE_HASH'],
    ['swtpm', { swtpm: true }, 'SWTPM'],
    ['an unknown share', { host_share_mode: 'nfs' }, 'SHARE_MODE'],
    ['QEMU 7', { qemu_version: '7.2.0' }, 'QEMU_UNSUPPORTED'],
    ['half a version', { qemu_version: '8.2' }, 'QEMU_VERSION'],
    ['no memory', { memory_size: 0 }, 'MEMORY_SIZE'],
    ['memory for the firmware alone', { memory_size: 2 ** 23 }, 'MEMORY_TOO_SMALL'],
    ['no vCPU', { cpu_count: 0 }, 'CPU_COUNT'],
  ])('a VmConfig of %s', async (_, change, code) => {
    writeFileSync(join(home, 'odd.json'), JSON.stringify({ ...CONFIG, ...change }));
    await failure({ quote: 'good/quote', vmConfig: 'odd.json' }, code);
  });

  test('each names the file that it is about', async () => {
    const named = async (options: OptionValues, code: string): Promise<unknown> =>
      Object.fromEntries((await failure({ quote: 'good/quote', ...options }, code)).facts)['file'];
    for (const name of ['json', 'short']) writeFileSync(join(home, name), name === 'json' ? '{' : '\x04');
    writeFileSync(join(home, 'typed.json'), JSON.stringify({ ...CONFIG, cpu_count: '2' }));
    writeFileSync(
      join(home, 'whole.json'),
      JSON.stringify({ quote: readFileSync(join(home, 'good/quote')).toString('hex'), event_log: '{}' }),
    );
    expect(await named({ quote: 'json' }, 'JSON_INVALID')).toBe('json');
    expect(await named({ quote: 'short' }, 'QUOTE_TRUNCATED')).toBe('short');
    expect(await named({ vmConfig: 'json' }, 'JSON_INVALID')).toBe('json');
    expect(await named({ vmConfig: 'typed.json' }, 'VM_CONFIG_TYPE')).toBe('typed.json');
    expect(await named({ eventLog: 'json' }, 'JSON_INVALID')).toBe('json');
    expect(await named({ quote: 'whole.json' }, 'EVENT_LOG_SHAPE')).toBe('whole.json');
  });

  test('a call that is wrong', async () => {
    await expectCvmRejection(
      () => run(verify, { bundle: 'image', quote: 'good/quote' }),
      'OPTION_MISSING',
      'usage',
    );
    await failure({ quote: 'good/quote', acpiDigests: '00' }, 'HEX_LENGTH');
    const one = '00'.repeat(48);
    await failure({ quote: 'good/quote', acpiDigests: one }, 'OPTION_DIGESTS');
    await failure({ quote: 'good/quote', acpiDigests: one, acpiTables: 'x' }, 'OPTION_CONTRADICTION');
    await failure({ quote: 'good/quote', acpiTables: 'kernel' }, 'ACPI_BLOB');
  });
});

describe('tdx measure', () => {
  test('prints registers, writes them, explains them', async () => {
    const outcome = await run(measure, { bundle: 'image', ...SHAPE, output: 'registers', explain: 'events' });
    expect(outcome.out).toBe('');
    const registers = JSON.parse(readFileSync(join(home, 'registers'), 'utf8')) as Document['registers'];
    expect(registers).toEqual((await measured(SHAPE)).registers);
    const explained = JSON.parse(readFileSync(join(home, 'events'), 'utf8')) as Document;
    expect(explained.events.rtmr0.map(({ name }) => name)).toEqual([
      'td_hob',
      'cfv_image',
      'efi:SecureBoot',
      'efi:PK',
      'efi:KEK',
      'efi:db',
      'efi:dbx',
      'separator',
      'acpi_loader',
      'acpi_rsdp',
      'acpi_tables',
      'boot_order',
      'Boot0000',
    ]);
    expect((await run(measure, { bundle: 'image', ...SHAPE })).out).toMatch(
      /^MRTD {3}[0-9a-f]{96}\nRTMR0 {2}/,
    );
  });

  // Large enough for a second thread.
  test('measures a large initrd as it does in one thread, and verifies first', async () => {
    const initrd = Buffer.alloc(17 << 20, 'an initrd of some size; ');
    writeFileSync(join(home, 'large-initrd'), initrd);
    await run(create, {
      ...{ ovmf: 'ovmf', kernel: 'kernel', initrd: 'large-initrd', rootfs: 'rootfs' },
      ...{ rootfsHash: ROOTFS_HASH, rootfsSize: '4096', imageVersion: '0.6.0', folder: 'large' },
      ...{ ovmfVariant: 'pre202505', gitRevision: REVISION },
    });
    const { events, registers } = await measured({ ...SHAPE, bundle: 'large' });
    expect(events.rtmr2.map(({ name, digest }) => [name, digest])).toEqual([
      ['cmdline', expect.any(String)],
      ['initrd', hash('sha384', initrd, 'hex')],
    ]);
    expect(registers.mrtd).toBe((await measured(SHAPE)).registers.mrtd);
    const file = join(home, 'large/initramfs.cpio.gz');
    initrd[1000] = 0;
    writeFileSync(file, initrd);
    await expectCvmRejection(() => run(measure, { bundle: 'large', ...SHAPE }), 'BUNDLE_CHECKSUM');
    rmSync(file);
    await expectCvmRejection(() => run(measure, { bundle: 'large', ...SHAPE }), 'BUNDLE_LISTED_MISSING');
    writeFileSync(join(home, 'large/metadata.json'), '{');
    await expectCvmRejection(() => run(measure, { bundle: 'large', ...SHAPE }), 'BUNDLE_LISTED_MISSING');
  });

  test('what was hashed before the bundle was verified counts for the verified initrd alone', async () => {
    const bundle = await openBundle(join(home, 'image'));
    const { contents } = bundle;
    const metadata = bundleMetadata(contents);
    const guest = tdxGuest(
      { ...readVmConfig(Buffer.from(JSON.stringify(CONFIG))), image: 'x' },
      'pre202505',
      true,
      { kind: 'generate' },
    );
    const other = new Uint8Array(48).fill(9);
    const rtmr2 = (initrd: ByteSource): Uint8Array => {
      const thread = { wait: () => other } as unknown as DigestsAhead;
      return bundleTdxImage(contents, metadata, { initrd, thread }).measure(guest).rtmr2;
    };
    const verified = bundleTdxImage(contents, metadata).measure(guest).rtmr2;
    expect(rtmr2(artifact(contents, 'Kernel', metadata.kernel))).toEqual(verified);
    expect(rtmr2(artifact(contents, 'Initrd', metadata.initrd))).not.toEqual(verified);
    bundle.close();
  });

  test('a VmConfig says what the options say', async () => {
    expect((await measured({ vmConfig: 'vm.json' })).registers).toEqual((await measured(SHAPE)).registers);
    await expectCvmRejection(
      () => measured({ vmConfig: 'vm.json', cpus: '2' }),
      'OPTION_CONTRADICTION',
      'usage',
    );
    await expectCvmRejection(
      () => measured({ vmConfig: 'vm.json', nics: '2' }),
      'OPTION_CONTRADICTION',
      'usage',
    );
    await expectCvmRejection(() => measured({ cpus: '2' }), 'OPTION_MISSING', 'usage');
    await expectCvmRejection(() => measured({ ...SHAPE, compat: 'other' }), 'OPTION_CHOICE', 'usage');
  });

  test('a cache gives the same, and keeps nothing that its key does not say', async () => {
    const first = JSON.parse(
      (await run(measure, { bundle: 'image', ...SHAPE, cache: 'cache', json: true })).out,
    ) as object;
    const second = JSON.parse(
      (await run(measure, { bundle: 'image', ...SHAPE, cache: 'cache', json: true })).out,
    ) as object;
    expect(first).toMatchObject({ fromCache: false, registers: (await measured(SHAPE)).registers });
    expect(second).toMatchObject({ fromCache: true, registers: (await measured(SHAPE)).registers });
    const other = { bundle: 'image', ...SHAPE, cache: 'cache' };
    await expectCvmRejection(() => run(measure, { ...other, compat: 'dstack-mr' }), 'OPTION_CACHE', 'usage');
    await expectCvmRejection(() => run(measure, { ...other, gpus: '1' }), 'CACHE_UNKNOWN_REGISTER', 'usage');
  });
});

test('tdx mrtd and tdx show', async () => {
  const two = (await run(mrtdCommand, { twoPass: true }, 'ovmf')).out;
  expect(two).toBe(
    '595e669a17cebd538908ae1972cb87c49022db5411eb395dbf604b708d80d6efbea0ae71c78001c91ab8dc276f14f076\n',
  );
  expect((await run(mrtdCommand, {}, 'ovmf')).out).toMatch(
    /^single-pass {2}218f[0-9a-f]{92}\ntwo-pass {5}595e/,
  );
  expect(JSON.parse((await run(mrtdCommand, { json: true }, 'ovmf')).out)).toMatchObject({
    mrtd: { 'two-pass': two.trim() },
  });
  expectCvmError(
    () => mrtdCommand.run(['ovmf'], { twoPass: true, singlePass: true }, {} as never),
    'OPTION_CONTRADICTION',
  );
  expect((await run(show, {}, 'ovmf')).out).toMatch(/^BFV .*content in MRTD\nCFV .*variable store other/);
  expect(JSON.parse((await run(show, { json: true }, 'ovmf')).out)).toMatchObject({
    sections: [{ type: 'BFV' }, {}, {}, {}, {}],
  });
});
