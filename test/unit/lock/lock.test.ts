import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isBaseUrl, parseLock, proposalFileNames, writeLock, type Lock } from '../../../tools/lock/lock.ts';
import { expectCvmError } from '../../support/errors.ts';

// The same inputs as test/starlark/lock_cases.bzl: both readers have to decide alike.
const SHA = '0123456789abcdef'.repeat(4);
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const BASE = {
  commit: COMMIT,
  urls: ['https://releases.example/update-img.tar.zst'],
  sha256: SHA,
  size: 1024,
};
const PROPOSAL = { id: '139001', sha256: SHA, requestSha256: SHA, certifiedTimeNs: '1770000000000000000' };
const LOCK = { version: 1, network: 'mainnet', base: BASE, proposal: PROPOSAL };

type Fields = Readonly<Record<string, unknown>>;

const base = (changes: Fields): Fields => ({ ...LOCK, base: { ...BASE, ...changes } });
const proposal = (changes: Fields): Fields => ({ ...LOCK, proposal: { ...PROPOSAL, ...changes } });
const dev = (changes: Fields): Fields => ({ ...LOCK, network: 'dev', ...changes });
const devUrl = (url: string): Fields => dev({ base: { ...BASE, urls: [url] } });
const without = (value: Fields, key: string): Fields =>
  Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
const textOf = (lock: unknown): string => (typeof lock === 'string' ? lock : JSON.stringify(lock));

const ACCEPTED: readonly (readonly [string, Fields])[] = [
  ['a full mainnet lock', LOCK],
  ['a lock before the vote', { ...LOCK, proposal: null }],
  ['targets on dev', dev({ base: { target: '//a/b:c.tar.zst' }, proposal: { target: '//a:b' } })],
  ['a target of the root package', dev({ base: { target: '//:c' } })],
  ['a loopback URL on dev', devUrl('http://127.0.0.1:8080/x')],
  ['a loopback URL without port', devUrl('http://127.0.0.1/x')],
  ['a loopback name on dev', devUrl('http://localhost:8080/x')],
  ['a loopback IPv6 address on dev', devUrl('http://[::1]:8080/x')],
  ['several URLs', base({ urls: ['https://a.example/x', 'https://b.example/x'] })],
  ['proposal 0', proposal({ id: '0' })],
  ['an id of 20 digits', proposal({ id: '18446744073709551615' })],
  ['the largest size that is exact', base({ size: Number.MAX_SAFE_INTEGER })],
];

const REJECTED: readonly (readonly [string, unknown])[] = [
  ['text that is not JSON', '{'],
  ['an empty file', ''],
  ['JSON that is no object', '[1]'],
  ['null', 'null'],
  ['a number', '1'],
  ['text behind the object', `${JSON.stringify(LOCK)}x`],
  ['an unknown field', { ...LOCK, note: 'x' }],
  ['a field named __proto__', JSON.stringify(LOCK).replace('{', '{"__proto__": {},')],
  ['an unknown field of base', base({ path: 'x' })],
  ['an unknown field of proposal', proposal({ path: 'x' })],
  ['a target beside other fields', dev({ base: { ...BASE, target: '//a:b' } })],
  ['a proposal target beside other fields', dev({ proposal: { ...PROPOSAL, target: '//a:b' } })],
  ['another version', { ...LOCK, version: 2 }],
  ['version 0', { ...LOCK, version: 0 }],
  ['a version as text', { ...LOCK, version: '1' }],
  ['a version as truth', { ...LOCK, version: true }],
  ['an unknown network', { ...LOCK, network: 'testnet' }],
  ['a network in capitals', { ...LOCK, network: 'Mainnet' }],
  ['a network that every object has', { ...LOCK, network: 'constructor' }],
  ['a network of another type', { ...LOCK, network: null }],
  ['a network in a list', { ...LOCK, network: ['dev'] }],
  ['a target on mainnet', { ...LOCK, base: { target: '//a:b' } }],
  ['a proposal target on mainnet', { ...LOCK, proposal: { target: '//a:b' } }],
  ['a target in another repository', dev({ base: { target: '@other//a:b' } })],
  ['a target that is relative', dev({ base: { target: ':b' } })],
  ['a target without a name', dev({ base: { target: '//a' } })],
  ['a target with two names', dev({ base: { target: '//a:b:c' } })],
  ['a target with a line break', dev({ base: { target: '//a:b\n' } })],
  ['a target of another type', dev({ base: { target: 1 } })],
  ['a target that breaks out of its quotes', dev({ base: { target: '//a:b", x = "y' } })],
  ['base null', { ...LOCK, base: null }],
  ['a base as list', { ...LOCK, base: [BASE] }],
  ['a base as text', { ...LOCK, base: COMMIT }],
  ['a short commit', base({ commit: '0123' })],
  ['a commit in capitals', base({ commit: COMMIT.toUpperCase() })],
  ['a commit with a line break', base({ commit: `${COMMIT}\n` })],
  ['a commit that is a path', base({ commit: `../${COMMIT.slice(3)}` })],
  ['a commit of another type', base({ commit: 1 })],
  ['a short sha256', base({ sha256: SHA.slice(1) })],
  ['a long sha256', base({ sha256: `${SHA}0` })],
  ['a sha256 in capitals', base({ sha256: SHA.toUpperCase() })],
  ['an empty sha256', base({ sha256: '' })],
  ['a sha256 with a line break', base({ sha256: `${SHA.slice(1)}\n` })],
  ['a sha256 before a line break', base({ sha256: `${SHA}\n` })],
  ['a sha256 of another type', base({ sha256: null })],
  ['no URLs', base({ urls: [] })],
  ['a URL outside a list', base({ urls: BASE.urls[0] })],
  ['URLs as object', base({ urls: { 0: BASE.urls[0], length: 1 } })],
  ['a URL that is no text', base({ urls: [1] })],
  ['a bad URL behind a good one', base({ urls: [...BASE.urls, 'x'] })],
  ['http', base({ urls: ['http://releases.example/x'] })],
  ['http on dev', devUrl('http://releases.example/x')],
  ['a loopback URL on mainnet', base({ urls: ['http://127.0.0.1/x'] })],
  ['a host that only begins like loopback', devUrl('http://127.0.0.1.example/x')],
  ['a host that only begins like localhost', devUrl('http://localhost.example/x')],
  ['loopback as a user name', devUrl('http://127.0.0.1:x@releases.example/x')],
  ['a file URL', base({ urls: ['file:///etc/passwd'] })],
  ['a URL in capitals', base({ urls: ['HTTPS://releases.example/x'] })],
  ['a URL without a host', base({ urls: ['https://'] })],
  ['a URL with a quote', base({ urls: ['https://x/"),print("'] })],
  ['a URL with a space', base({ urls: ['https://x/a b'] })],
  ['a URL with a line break', base({ urls: ['https://x/a\n'] })],
  ['a URL with a letter beyond ASCII', base({ urls: ['https://x/ä'] })],
  ['size 0', base({ size: 0 })],
  ['a negative size', base({ size: -1 })],
  ['a size as text', base({ size: '1024' })],
  ['half a byte', base({ size: 1024.5 })],
  ['a size beyond exact numbers', base({ size: 2 ** 53 })],
  ['an endless size', JSON.stringify(LOCK).replace(':1024', ':1e400')],
  ['a proposal as list', { ...LOCK, proposal: [] }],
  ['a proposal as number', { ...LOCK, proposal: 139001 }],
  ['a proposal that is false', { ...LOCK, proposal: false }],
  ['an id as number', proposal({ id: 139001 })],
  ['an id with a leading zero', proposal({ id: '0139001' })],
  ['an id with a sign', proposal({ id: '+139001' })],
  ['an id that is a path', proposal({ id: '../139001' })],
  ['an id with a line break', proposal({ id: '139001\n' })],
  ['an id of 21 digits', proposal({ id: '1'.repeat(21) })],
  ['an empty id', proposal({ id: '' })],
  ['a time as number', proposal({ certifiedTimeNs: 1 })],
  ['a time with a fraction', proposal({ certifiedTimeNs: '1.5' })],
  ['a malformed proposal sha256', proposal({ sha256: 'x'.repeat(64) })],
  ['a malformed request sha256', proposal({ requestSha256: `0x${SHA}` })],
  ['a request sha256 in capitals', proposal({ requestSha256: SHA.toUpperCase() })],
  ...Object.keys(LOCK).map((key) => [`a lock without ${key}`, without(LOCK, key)] as const),
  ...Object.keys(BASE).map(
    (key) => [`a base without ${key}`, { ...LOCK, base: without(BASE, key) }] as const,
  ),
  ...Object.keys(PROPOSAL).map(
    (key) => [`a proposal without ${key}`, { ...LOCK, proposal: without(PROPOSAL, key) }] as const,
  ),
];

describe('parseLock', () => {
  test.each(ACCEPTED)('takes %s', (_, lock) => {
    expect(parseLock(textOf(lock))).toEqual(without(lock, 'version'));
  });

  test.each(REJECTED)('refuses %s', (_, lock) => {
    const error = expectCvmError(() => parseLock(textOf(lock)), 'LOCK_INVALID', 'format');
    expect(error.mend).toBeDefined();
  });

  test.each<[string, unknown, string]>([
    ['a field', proposal({ requestSha256: '' }), 'proposal.requestSha256'],
    ['a URL by its place', base({ urls: [...BASE.urls, 'x'] }), 'base.urls[1]'],
    ['what is missing', without(LOCK, 'base'), '"base"'],
    ['what is unknown', base({ path: 'x' }), '"path"'],
  ])('names %s', (_, lock, name) => {
    expect(expectCvmError(() => parseLock(textOf(lock)), 'LOCK_INVALID').message).toContain(name);
  });

  test('shows a huge value shortened', () => {
    const error = expectCvmError(
      () => parseLock(textOf(base({ commit: 'x'.repeat(1 << 20) }))),
      'LOCK_INVALID',
    );
    expect(error.message.length).toBeLessThan(400);
  });

  test('any text is a lock or LOCK_INVALID', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expectCvmError(() => parseLock(text), 'LOCK_INVALID', 'format');
      }),
      { seed: 3 },
    );
  });

  test('any value in the place of any field is right or LOCK_INVALID, and what is read is what was written', () => {
    const places = [
      ...Object.keys(LOCK).map((key) => (value: unknown) => ({ ...LOCK, [key]: value })),
      ...Object.keys(BASE).map((key) => (value: unknown) => base({ [key]: value })),
      ...Object.keys(PROPOSAL).map((key) => (value: unknown) => proposal({ [key]: value })),
    ];
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.jsonValue(), (place, value) => {
        const text = textOf(place(value));
        let lock: Lock;
        try {
          lock = parseLock(text);
        } catch {
          expectCvmError(() => parseLock(text), 'LOCK_INVALID', 'format');
          return;
        }
        expect({ version: 1, ...lock }).toEqual(JSON.parse(text));
      }),
      { seed: 3, numRuns: 500 },
    );
  });
});

const hexText = (digits: number): fc.Arbitrary<string> =>
  fc.string({
    unit: fc.constantFrom(...Array.from('0123456789abcdef')),
    minLength: digits,
    maxLength: digits,
  });
const decimal = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map(String);
const anyUrl = fc.webUrl({ validSchemes: ['https'] }).filter((url) => isBaseUrl(url, 'mainnet'));
const anyFile = fc.record({
  commit: hexText(40),
  urls: fc.array(anyUrl, { minLength: 1, maxLength: 3 }),
  sha256: hexText(64),
  size: fc.integer({ min: 1 }),
});
const anyProposal = fc.record({
  id: decimal,
  sha256: hexText(64),
  requestSha256: hexText(64),
  certifiedTimeNs: decimal,
});
const anyTarget = fc.constantFrom('//a:b', '//:x', '//a/b-c:d+e.f_g').map((target) => ({ target }));
const anyLock: fc.Arbitrary<Lock> = fc.oneof(
  fc.record({
    network: fc.constant('mainnet' as const),
    base: anyFile,
    proposal: fc.option(anyProposal),
  }),
  fc.record({
    network: fc.constant('dev' as const),
    base: fc.oneof(anyFile, anyTarget),
    proposal: fc.option(fc.oneof(anyProposal, anyTarget)),
  }),
);

describe('writeLock', () => {
  test('what is written is read back, and written again alike', () => {
    fc.assert(
      fc.property(anyLock, (lock) => {
        const text = writeLock(lock);
        expect(parseLock(text)).toEqual(lock);
        expect(writeLock(parseLock(text))).toBe(text);
      }),
      { seed: 3 },
    );
  });

  test('fields have one order, whatever order they come in', () => {
    const reversed = (value: object): object => Object.fromEntries(Object.entries(value).reverse());
    const lock = parseLock(textOf(LOCK));
    const shuffled = reversed({
      ...lock,
      base: reversed(lock.base),
      proposal: reversed(lock.proposal ?? {}),
    }) as Lock;
    expect(writeLock(shuffled)).toBe(writeLock(lock));
    expect(writeLock(lock)).toBe(`${JSON.stringify(LOCK, null, 2)}\n`);
  });

  test('a lock before the vote says so', () => {
    expect(writeLock({ ...parseLock(textOf(LOCK)), proposal: null })).toContain('"proposal": null\n');
  });

  test('no field of another format is written: a local path cannot get in', () => {
    const lock = parseLock(textOf(LOCK));
    const smuggled: Lock = { ...lock, base: Object.assign({}, lock.base, { path: '/home/somebody/x' }) };
    expect(writeLock(smuggled)).toBe(writeLock(lock));
  });

  test.each<[string, Partial<Record<keyof Lock, unknown>>]>([
    ['a commit in capitals', { base: { ...BASE, commit: COMMIT.toUpperCase() } }],
    ['no URL', { base: { ...BASE, urls: [] } }],
    ['a loopback URL on mainnet', { base: { ...BASE, urls: ['http://127.0.0.1/x'] } }],
    ['a target on mainnet', { base: { target: '//a:b' } }],
    ['a size of 0', { base: { ...BASE, size: 0 } }],
    ['an id that is a path', { proposal: { ...PROPOSAL, id: '../1' } }],
    ['an empty sha256', { proposal: { ...PROPOSAL, sha256: '' } }],
  ])('refuses to write %s', (_, changes) => {
    expectCvmError(() => writeLock({ ...parseLock(textOf(LOCK)), ...changes } as Lock), 'LOCK_INVALID');
  });
});

describe('isBaseUrl', () => {
  test.each(['https://a.example', 'https://a.example/x?y=1#z', 'https://[2001:db8::1]/x'])(
    'takes %s',
    (url) => {
      expect(isBaseUrl(url, 'mainnet')).toBe(true);
      expect(isBaseUrl(url, 'dev')).toBe(true);
    },
  );

  test.each(['http://127.0.0.1/x', 'http://127.0.0.1:1/x', 'http://localhost/x', 'http://[::1]:1/x'])(
    'takes %s on dev alone',
    (url) => {
      expect(isBaseUrl(url, 'dev')).toBe(true);
      expect(isBaseUrl(url, 'mainnet')).toBe(false);
    },
  );

  test.each([
    '',
    'x',
    '//a.example/x',
    'https:a.example',
    'https://',
    'https://a b/',
    'https://a.example/\u0000',
    'https://a.example/\u202e',
    'https://a.example/<x>',
    'https://a.example/{x}',
    'https://a.example/`x`',
    'https://a.example/\\x',
    "https://a.example/'x'",
    ' https://a.example/x',
    'ftp://a.example/x',
    'javascript:alert(1)',
    'data:,x',
    'http://a.example/x',
    'http://0.0.0.0/x',
    'http://127.0.0.1.example/x',
    'http://localhost.example/x',
    'http://127.0.0.1@a.example/x',
    'http:127.0.0.1/x',
  ])('refuses %j everywhere', (url) => {
    expect(isBaseUrl(url, 'mainnet')).toBe(false);
    expect(isBaseUrl(url, 'dev')).toBe(false);
  });

  // The build compares texts (rules/private/lock.bzl): what it would refuse must not be written.
  test.each([
    'http://127.0.0.1',
    'http://localhost?x',
    'http://LOCALHOST/x',
    'http://127.1/x',
    'http://0x7f000001/x',
    'http://user@127.0.0.1/x',
    'http:///127.0.0.1/x',
  ])('refuses %j, another spelling of loopback', (url) => {
    expect(isBaseUrl(url, 'dev')).toBe(false);
  });
});

test('the files beside a lock are named by the proposal', () => {
  expect(proposalFileNames('139001')).toEqual({
    certificate: '139001.cbor',
    request: '139001.request.cbor',
  });
});
