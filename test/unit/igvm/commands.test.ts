import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { command as diff } from '../../../tools/commands/igvm-diff.ts';
import { command as dump } from '../../../tools/commands/igvm-dump.ts';
import { command as edit } from '../../../tools/commands/igvm-edit.ts';
import { command as extract } from '../../../tools/commands/igvm-extract.ts';
import { command as measure } from '../../../tools/commands/igvm-measure.ts';
import type { OptionValues } from '../../../tools/commands/command.ts';
import { diffIgvm } from '../../../tools/igvm/diff.ts';
import { usageError, formatError } from '../../../tools/errors.ts';
import { measureIgvm, type MeasureOptions } from '../../../tools/igvm/measure.ts';
import { PAGE_FLAGS, supportedPlatform, type IgvmFile, type IgvmHeader } from '../../../tools/igvm/model.ts';
import { readIgvm } from '../../../tools/igvm/reader.ts';
import { writeIgvm } from '../../../tools/igvm/writer.ts';
import { expectCvmRejection } from '../../support/errors.ts';
import {
  allPageKinds,
  filled,
  MINIMAL,
  MINIMAL_TDX,
  page,
  stage2CpuidPage,
  STANDARD_VMSA,
  vmsa,
} from '../../support/igvm-files.ts';
import { runCommand, scratchFolder, type Outcome } from '../../support/run-command.ts';

const ALL = allPageKinds(stage2CpuidPage());
const DIGEST =
  'CE9200E1CA7DCB290F7FEDB4F88B6FAB321307C40B784BD8F824345ED6FA0C25F0281C158235B86F506D4D548F310EA0';
const NATIVE_ZERO =
  '6EF1AFFFDCD74A666B3D29FF85CCA8A5A78E7596E2671117E6CCA9EA1A72D111139E4E8C36222D44D88DA0DD30364827';

let folder = '';
const put = (name: string, content: IgvmFile | Uint8Array | string): void => {
  const isFile = typeof content === 'object' && !(content instanceof Uint8Array);
  writeFileSync(join(folder, name), isFile ? writeIgvm(content) : content);
};
const got = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));
const withHeaders = (file: IgvmFile, change: (headers: readonly IgvmHeader[]) => IgvmHeader[]): IgvmFile => ({
  ...file,
  headers: change(file.headers),
});
beforeEach(() => {
  folder = scratchFolder();
  put('a.igvm', MINIMAL);
  put('all.igvm', ALL);
});
type Options = Readonly<Record<string, string | boolean | readonly string[]>>;
const on =
  (command: typeof dump) =>
  (args: readonly string[], options: Options = {}): Promise<Outcome> =>
    runCommand(command, folder, args, options satisfies OptionValues);

describe('igvm measure', () => {
  const run = on(measure);

  test('prints what igvmmeasure prints', async () => {
    const rule = '='.repeat(111);
    expect(await run(['a.igvm'])).toEqual({
      code: 0,
      out: `\n${rule}\nigvmmeasure 'a.igvm'\nLaunch Digest: ${DIGEST}\n${rule}\n\n`,
      err: '',
    });
    expect((await run(['a.igvm'], { bare: true })).out).toBe(`${DIGEST}\n`);
    expect((await run(['a.igvm'], { bare: true, nativeZero: true, verbose: true })).out).toBe(
      'gpa 0x800000 len 0x1000 (Zero page)\ngpa 0x801000 len 0x3000 (Normal page)\n' +
        `gpa 0xfffffffff000 len 0x1000 (VMSA page)\n${NATIVE_ZERO}\n`,
    );
  });

  // Large enough for a second thread, with what it may not count in between.
  test.each([{}, { nativeZero: true }, { compat: 'igvmmeasure' }, { platform: 'sev' }])(
    'measures a large file as it does in one thread: %o',
    async (options) => {
      const bytes = new Uint8Array(20 << 20);
      for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31) ^ (i >>> 12);
      const pages = Array.from({ length: bytes.length / 4096 }, (_, i) => {
        const data = bytes.subarray(i * 4096, (i + 1) * 4096);
        const gpa = 0x1000_0000 + i * 4096;
        if (i % 100 === 50) return page(gpa, 3, data, { flags: PAGE_FLAGS.unmeasured });
        if (i % 100 === 51) return page(gpa, 3, data, { flags: PAGE_FLAGS.shared });
        if (i % 100 === 52) return page(gpa, 2, data);
        if (i % 100 === 53) return page(gpa, 3);
        return i % 100 === 54 ? page(gpa, 3, data.subarray(0, 10)) : page(gpa, i % 2 === 0 ? 1 : 3, data);
      });
      const sev = supportedPlatform('SEV', 2, { highestVtl: 0 });
      const large = withHeaders(ALL, (headers) => [
        ...headers.map((header) =>
          header.kind === 'supported-platform' && header.mask === 2 ? sev : header,
        ),
        ...pages,
      ]);
      put('large.igvm', large);
      const { platform = 'sev-snp', ...way } = options as Partial<MeasureOptions>;
      const { digest } = measureIgvm(readIgvm(got('large.igvm')), { platform, ...way });
      const outcome = await run(['large.igvm'], { ...options, bare: true });
      expect(outcome.out).toBe(`${Buffer.from(digest).toString('hex').toUpperCase()}\n`);
    },
  );

  test('prints nothing when it is told so, and still fails', async () => {
    expect(await run(['a.igvm'], { quiet: true, digestOutput: 'd' })).toEqual({ code: 0, out: '', err: '' });
    await expectCvmRejection(() => run(['a.igvm'], { quiet: true, expect: '00'.repeat(48) }), 'IGVM_DIGEST');
    await expectCvmRejection(() => run(['a.igvm'], { quiet: true, bare: true }), 'OPTION_CONFLICT');
  });

  test('writes digest, JSON and explanation', async () => {
    const outputs = { digestOutput: 'd', jsonOutput: 'out/j', explainOutput: 'e' };
    const { out } = await run(['a.igvm'], { json: true, ...outputs });
    const text = (name: string): string => new TextDecoder().decode(got(name));
    expect(text('d')).toBe(`${DIGEST}\n`);
    expect(text('out/j')).toBe(out);
    const json = JSON.parse(out) as { runs: { digestAfter: string }[] };
    expect(json).toMatchObject({
      ok: true,
      platform: 'sev-snp',
      algorithm: 'SHA-384',
      digest: DIGEST.toLowerCase(),
      policy: '0x30000',
      vmsaCount: 1,
      claimed: [],
    });
    expect(json.runs.map((step) => step.digestAfter).at(-1)).toBe(DIGEST.toLowerCase());
    expect(text('e')).toContain('0x800000..0x803fff  Normal  headers 2 to 5');
    expect(text('e')).toBe((await run(['a.igvm'], { explain: true })).out);
  });

  test('an expected digest, and the nearest miss', async () => {
    put('expected', `${NATIVE_ZERO.toLowerCase()}\n`);
    expect((await run(['a.igvm'], { bare: true, expect: DIGEST.toLowerCase() })).code).toBe(0);
    expect((await run(['a.igvm'], { bare: true, nativeZero: true, expectFile: 'expected' })).code).toBe(0);
    const near = await expectCvmRejection(
      () => run(['a.igvm'], { expectFile: 'expected' }),
      'IGVM_DIGEST',
      'mismatch',
    );
    expect(near.nearest).toContain('with --native-zero');
    const compat =
      'C6313F5D3E7869269DF515B215C02721895EFA06D320139EE2ABD927527317055108E4071BDC3A860D38AEE387D4A39D';
    const other = await expectCvmRejection(() => run(['all.igvm'], { expect: compat }), 'IGVM_DIGEST');
    expect(other.nearest).toContain('--compat igvmmeasure');
    const none = await expectCvmRejection(() => run(['a.igvm'], { expect: '00'.repeat(48) }), 'IGVM_DIGEST');
    expect(none.nearest).toBeUndefined();
  });

  test('the check for KVM', async () => {
    expect((await run(['a.igvm'], { checkKvm: true })).code).toBe(0);
    put(
      'b.igvm',
      withHeaders(MINIMAL, (headers) => [...headers.slice(0, -1), vmsa(STANDARD_VMSA, 0x4fff000)]),
    );
    const error = await expectCvmRejection(() => run(['b.igvm'], { checkKvm: true }), 'IGVM_KVM_VMSA_GPA');
    expect(error.facts).toContainEqual(['file', 'b.igvm']);
  });

  test.each<[string, string, Options, string]>([
    ['an unknown platform', 'a.igvm', { platform: 'snp' }, 'OPTION_CHOICE'],
    ['an unknown peer', 'a.igvm', { compat: 'measure' }, 'OPTION_CHOICE'],
    [
      'a platform that the peer does not know',
      'a.igvm',
      { platform: 'tdx', compat: 'igvmmeasure' },
      'COMPAT_PLATFORM',
    ],
    ['a platform that the file lacks', 'a.igvm', { platform: 'tdx' }, 'IGVM_PLATFORM_MISSING'],
    ['two forms', 'a.igvm', { bare: true, json: true }, 'OPTION_CONFLICT'],
    ['two expectations', 'a.igvm', { expect: '00', expectFile: 'x' }, 'OPTION_CONFLICT'],
    ['a short digest', 'a.igvm', { expect: '00' }, 'HEX_LENGTH'],
    ['a digest of another platform', 'a.igvm', { expect: '00'.repeat(32) }, 'HEX_LENGTH'],
    ['two outputs of one path', 'a.igvm', { digestOutput: 'x', jsonOutput: './x' }, 'OUTPUT_TWICE'],
    ['no file', 'none.igvm', {}, 'FILE_NOT_FOUND'],
    ['a folder', '.', {}, 'FILE_NOT_REGULAR'],
  ])('refuses %s', async (_name, path, options, code) => {
    await expectCvmRejection(() => run([path], options), code);
  });

  test('a huge file that is none, and one that claims to be', async () => {
    put('huge', '');
    truncateSync(join(folder, 'huge'), 2 ** 33);
    await expectCvmRejection(() => run(['huge']), 'IGVM_MAGIC', 'format');
    put('large', 'IGVM');
    truncateSync(join(folder, 'large'), 2 ** 33);
    await expectCvmRejection(() => run(['large']), 'IGVM_TOO_LARGE', 'format');
  });

  test('exit codes are those of igvmmeasure', () => {
    expect(measure.exitCode?.(usageError('OPTION_CHOICE', ''))).toBe(2);
    expect(measure.exitCode?.(usageError('FILE_NOT_FOUND', ''))).toBe(1);
    expect(measure.exitCode?.(formatError('IGVM_MAGIC', ''))).toBe(1);
  });

  test('nothing is written when the file claims another digest', async () => {
    mkdirSync(join(folder, 'out'));
    const none = new Uint8Array(72);
    const block: IgvmHeader = {
      kind: 'snp-id-block',
      mask: 1,
      authorKeyEnabled: 0,
      ld: filled(1, 48),
      familyId: new Uint8Array(16),
      imageId: new Uint8Array(16),
      version: 1,
      guestSvn: 0,
      idKeyAlgorithm: 1,
      authorKeyAlgorithm: 1,
      idKeySignature: { r: none, s: none },
      idPublicKey: { curve: 2, qx: none, qy: none },
      authorKeySignature: { r: none, s: none },
      authorPublicKey: { curve: 0, qx: none, qy: none },
    };
    put(
      'c.igvm',
      withHeaders(MINIMAL, (headers) => [...headers, block]),
    );
    await expectCvmRejection(() => run(['c.igvm'], { digestOutput: 'out/d' }), 'IGVM_CLAIM', 'mismatch');
    expect(() => got('out/d')).toThrow();
    expect((await run(['c.igvm'], { ignoreIdblock: true, bare: true })).out).toBe(`${DIGEST}\n`);
    // Of a block for another platform nothing is claimed.
    put(
      'd.igvm',
      withHeaders(MINIMAL, (headers) => [...headers, { ...block, mask: 2 }]),
    );
    expect((await run(['d.igvm'])).code).toBe(0);
  });
});

describe('igvm dump', () => {
  const run = on(dump);

  test('every header, runs of pages, registers by name', async () => {
    const { out } = await run(['a.igvm']);
    expect(out).toContain('0           SUPPORTED_PLATFORM SEV_SNP');
    expect(out).toContain('bits SMT, must be one');
    expect(out).toContain('2           PAGE_DATA 0x800000..0x800fff  1 × 4 KiB  SEV_SNP  NORMAL  empty');
    expect(out).toContain('3-5         PAGE_DATA 0x801000..0x803fff  3 × 4 KiB  SEV_SNP  NORMAL  data');
    expect(out).toContain('sev_features 0x9 (snp, restrict_injection)');
  });

  test('as JSON, unknown headers included', async () => {
    put(
      'b.igvm',
      withHeaders(MINIMAL, (headers) => [
        ...headers,
        { kind: 'unknown', type: 0x399, content: filled(7, 2) },
      ]),
    );
    const json = JSON.parse((await run(['b.igvm'], { json: true })).out) as { headers: unknown[] };
    expect(json).toMatchObject({ ok: true, version: 1, architecture: 'x64' });
    expect(json.headers).toHaveLength(8);
    expect(json.headers[7]).toEqual({
      number: 7,
      header: 'type 0x399',
      fields: { length: '2', content: '0707' },
    });
  });
});

describe('igvm diff', () => {
  const run = on(diff);

  test('equal files, whatever their bits are called', async () => {
    expect(await run(['all.igvm', 'all.igvm'])).toEqual({ code: 0, out: '', err: '' });
  });

  test('pages by range, registers by name, order', async () => {
    put(
      'b.igvm',
      withHeaders(ALL, (headers) =>
        headers.map((header) =>
          header.kind === 'page-data' && header.gpa >= 0x804000 && header.data !== undefined
            ? { ...header, data: filled(0x55) }
            : header.kind === 'vp-context' && header.mask === 1
              ? vmsa({
                  ...STANDARD_VMSA,
                  registers: { ...STANDARD_VMSA.registers, rip: 1n, sev_features: 0x29n },
                })
              : header,
        ),
      ),
    );
    const { code, out } = await run(['all.igvm', 'b.igvm']);
    expect(code).toBe(5);
    expect(out).toContain('PAGE_DATA 0x804000..0x805fff NATIVE+SEV_SNP (2 pages)');
    expect(out).toContain('byte at 0x804000: 0xaa -> 0x55');
    expect(out).toContain('rip: 0x808000 -> 0x1');
    expect(out).toContain(
      'sev_features: 0x9 (snp, restrict_injection) -> 0x29 (snp, restrict_injection, debug_swap)',
    );
    expect(out).not.toContain('rsp');
    put(
      'c.igvm',
      withHeaders(MINIMAL, (headers) => [...headers.slice(0, 2), ...headers.slice(2).toReversed()]),
    );
    expect((await run(['a.igvm', 'c.igvm'])).out).toMatch(/^order /);
    const json = JSON.parse((await run(['a.igvm', 'c.igvm'], { json: true })).out) as object;
    expect(json).toMatchObject({ ok: true, equal: false, differences: [{ change: 'order' }] });
  });

  test('diff of equal files is empty; of files that measure differently it is not', () => {
    const pages = fc
      .uniqueArray(fc.nat(20), { minLength: 1, maxLength: 10 })
      .chain((gpas) =>
        fc.tuple(
          ...gpas.map((gpa) =>
            fc.nat(2).map((byte) => page(gpa * 4096, 1, byte === 0 ? undefined : filled(byte))),
          ),
        ),
      );
    const file = pages.map((headers): IgvmFile => ({
      version: 1,
      architecture: 'x64',
      headers: [supportedPlatform('SEV_SNP', 1), ...headers, vmsa()],
    }));
    fc.assert(
      fc.property(file, file, (a, b) => {
        expect(diffIgvm(a, readIgvm(writeIgvm(a)))).toEqual([]);
        const isEqual = Buffer.from(writeIgvm(a)).equals(writeIgvm(b));
        expect(diffIgvm(a, b).length === 0).toBe(isEqual);
      }),
      { seed: 5, numRuns: 300 },
    );
  });
});

describe('igvm edit and extract', () => {
  const run = on(edit);
  const take = on(extract);

  test('memory that is replaced or added is what comes out', async () => {
    put('new', filled(0x33, 5000));
    await run(['all.igvm'], {
      replace: ['0x804000=new'],
      add: ['0x806000=new', '0x900000=new'],
      output: 'b.igvm',
    });
    await take(['b.igvm'], { gpa: '0x804000', size: '5000', output: 'x' });
    expect(got('x')).toEqual(filled(0x33, 5000));
    await take(['b.igvm'], { gpa: '0x900000', output: 'y' });
    expect(got('y')).toEqual(new Uint8Array([...filled(0x33, 5000), ...filled(0, 3192)]));
    expect((await on(measure)(['b.igvm'], { checkKvm: true })).code).toBe(0);
    const kept = readIgvm(got('b.igvm')).headers.find(
      (header) => header.kind === 'page-data' && header.gpa === 0x804000,
    );
    expect(kept).toMatchObject({ flags: 2, mask: 3 });
  });

  test('the policy changes no digest', async () => {
    await run(['a.igvm'], { policy: '0xb0000', output: 'b.igvm' });
    expect((await on(measure)(['b.igvm'], { bare: true })).out).toBe(`${DIGEST}\n`);
    expect((await on(diff)(['a.igvm', 'b.igvm'])).out).toContain('policy: 0x30000 -> 0xb0000');
  });

  test('a payload by header number', async () => {
    await take(['a.igvm'], { header: '3', output: 'x' });
    expect(got('x')).toEqual(filled(0x11));
    await expectCvmRejection(() => take(['a.igvm'], { header: '2', output: 'y' }), 'IGVM_NO_PAYLOAD');
    await expectCvmRejection(() => take(['a.igvm'], { header: '7', output: 'y' }), 'OPTION_NUMBER');
  });

  test.each<[string, Options, string]>([
    ['a page that is not there', { replace: ['0x700000=new'] }, 'IGVM_PAGE_MISSING'],
    ['a page that is there', { add: ['0x805000=new'] }, 'IGVM_PAGE_EXISTS'],
    ['a page where parameters go', { add: ['0x80c000=new'] }, 'IGVM_PAGE_EXISTS'],
    ['a page of others', { replace: ['0x805000=new'], platforms: 'SEV_SNP' }, 'IGVM_PAGE_SHARED'],
    ['an odd address', { replace: ['0x805001=new'] }, 'IGVM_EDIT_ADDRESS'],
    ['an empty file', { replace: ['0x805000=empty'] }, 'IGVM_EDIT_ADDRESS'],
    ['no address', { replace: ['new'] }, 'OPTION_EDIT'],
    ['no edit', {}, 'IGVM_NO_EDIT'],
    ['no file', { add: ['0x900000=none'] }, 'FILE_NOT_FOUND'],
    ['a platform that is none', { policy: '0', platforms: 'SNP' }, 'OPTION_CHOICE'],
    ['a platform of other files', { policy: '0', platforms: 'TDX' }, 'IGVM_PLATFORM_MISSING'],
    ['a policy where there is none', { policy: '0', platforms: 'NATIVE' }, 'IGVM_POLICY_MISSING'],
  ])('edit refuses %s', async (_name, options, code) => {
    put('new', filled(1));
    put('empty', '');
    await expectCvmRejection(() => run(['all.igvm'], { ...options, output: 'b.igvm' }), code);
    expect(() => got('b.igvm')).toThrow();
  });

  test('extract refuses what is not loaded, and calls without a place', async () => {
    for (const [options, code] of [
      [{}, 'OPTION_CONFLICT'],
      [{ gpa: '0', header: '1' }, 'OPTION_CONFLICT'],
      [{ gpa: '0x700000' }, 'IGVM_PAGE_MISSING'],
      [{ gpa: '0x803000', size: '8192' }, 'IGVM_PAGE_MISSING'],
      [{ gpa: '0x800001' }, 'IGVM_MEMORY_RANGE'],
      [{ gpa: '0x800000', size: '0' }, 'IGVM_MEMORY_RANGE'],
      [{ gpa: '0x800000', size: '0xfffffffffffff' }, 'IGVM_MEMORY_RANGE'],
      [{ gpa: '-1' }, 'OPTION_NUMBER'],
    ] as const) {
      await expectCvmRejection(() => take(['a.igvm'], { ...options, output: 'x' }), code);
    }
  });

  test('a signed digest is not left behind: refused, or taken out on purpose', async () => {
    const block: IgvmHeader = {
      kind: 'vbs-measurement',
      mask: 1,
      version: 1,
      productId: 0,
      moduleId: 0,
      securityVersion: 0,
      policyFlags: 0,
      bootDigestAlgorithm: 1,
      signingAlgorithm: 1,
      digest: filled(1, 64),
      signature: filled(2, 256),
      publicKey: filled(3, 512),
    };
    put(
      'b.igvm',
      withHeaders(MINIMAL, (headers) => [...headers, block]),
    );
    expect(readIgvm(got('b.igvm')).headers.at(-1)).toEqual(block);
    await expectCvmRejection(() => run(['b.igvm'], { policy: '0', output: 'c' }), 'IGVM_SIGNED', 'mismatch');
    await run(['b.igvm'], { dropSignatures: true, output: 'c' });
    expect(got('c')).toEqual(got('a.igvm'));
  });

  test('a file with a header that nobody knows is not written again', async () => {
    put(
      'b.igvm',
      withHeaders(MINIMAL_TDX, (headers) => [
        ...headers,
        { kind: 'unknown', type: 0x80000399, content: filled(0, 8) },
      ]),
    );
    put('new', filled(1));
    await expectCvmRejection(
      () => run(['b.igvm'], { add: ['0=new'], output: 'c' }),
      'IGVM_UNKNOWN_HEADER',
      'format',
    );
  });
});
