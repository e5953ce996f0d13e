import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { jsonText, utf8FromBytes } from '../bytes/text.ts';
import { mismatchError, trustError, usageError } from '../errors.ts';
import { readLaunchMeasurements } from '../guestos/measurements.ts';
import { isDebugAllowed, readReport, type AttestationReport } from '../snp/attestation-report.ts';
import { readCertificate, verifyReport } from '../snp/report-chain.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { flagOption, parseIntegerLiteral, textOption, textsOption } from './options.ts';
import { hexValue, parseBytes, parseLaunchDigest, readSmall } from './snp-options.ts';

/** What may be expected of byte fields. */
const BYTE_FIELDS = [
  ['hostData', '--host-data'],
  ['reportData', '--report-data'],
  ['idKeyDigest', '--id-key-digest'],
  ['authorKeyDigest', '--author-key-digest'],
  ['familyId', '--family-id'],
  ['imageId', '--image-id'],
  ['chipId', '--chip-id'],
] as const;

interface Check {
  readonly name: string;
  readonly value: string;
}

export const command: Command = {
  summary: 'compare an SEV-SNP attestation report with what was built, and check its signature',
  description:
    'Compares the measurement and whatever else is given, refuses guests that may be debugged, and with certificates checks the signature ' +
    'down to the ARK, which you have to trust yourself: compare its fingerprint with the one that AMD publishes. Without certificates the ' +
    'report proves nothing, and the output says so. A wrong signature ends with 4, another value with 5.',
  arguments: [{ name: '<report>', description: 'attestation report, 1184 bytes' }],
  options: [
    {
      flags: '--measurement <digest>',
      description: 'launch digest that will do; may be repeated',
      repeatable: true,
    },
    { flags: '--measurements <file>', description: 'launch-measurements.json, of which any will do' },
    { flags: '--policy <value>', description: 'guest policy' },
    { flags: '--guest-svn <n>', description: 'least security version of the guest' },
    { flags: '--vmpl <n>', description: 'VMPL that asked for the report' },
    ...BYTE_FIELDS.map(([name, flag]) => ({
      flags: `${flag} <hex>`,
      description:
        name === 'hostData' ? 'host data, 32 bytes' : `the report's ${flag.slice(2).replaceAll('-', ' ')}`,
    })),
    { flags: '--allow-debug', description: 'take a policy with DEBUG: the host can read such a guest' },
    { flags: '--vcek <file>', description: 'VCEK certificate, PEM or DER' },
    { flags: '--vlek <file>', description: 'VLEK certificate instead' },
    { flags: '--ask <file>', description: 'ASK (of a VLEK: ASVK) certificate' },
    { flags: '--ark <file>', description: 'ARK certificate: the root that you trust' },
    {
      flags: '--at <time>',
      description:
        'when the certificates must be valid, such as 2026-01-31T00:00:00Z; not looked at when left out',
    },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],

  run(args, options, io) {
    const bytes = readSmall(io, args[0] ?? '', 'the report');
    const report = readReport(bytes);
    const checks: Check[] = [];
    const signature = checkSignature(bytes, report, options, io);
    if (isDebugAllowed(report) && !flagOption(options, 'allowDebug')) {
      throw trustError(
        'REPORT_DEBUG',
        "the guest's policy allows debugging: the host can read and write its memory",
        {
          facts: [['policy', hexValue(report.policy)]],
          mend: 'launch the guest without DEBUG in its policy, or take it with --allow-debug',
        },
      );
    }
    checkMeasurement(report, options, io, checks);
    for (const [name, flag] of BYTE_FIELDS) {
      const text = textOption(options, name);
      if (text === undefined) continue;
      const expected = parseBytes(text, flag, report[name].length);
      if (!equalBytes(expected, report[name]))
        throw differs(flag, bytesToHex(expected), bytesToHex(report[name]));
      checks.push({ name: flag.slice(2), value: bytesToHex(expected) });
    }
    checkNumbers(report, options, checks);
    if (checks.length === 0) {
      throw usageError('REPORT_NOTHING', 'nothing of the report is compared', {
        mend: 'give at least --measurement: a signature alone says that some guest runs on some processor',
      });
    }
    if (flagOption(options, 'json'))
      io.out(`${jsonText({ ok: true, signature: signature ?? null, checks })}\n`);
    else {
      for (const { name, value } of checks) io.out(`${name.padEnd(20)}${value}  as expected\n`);
      io.out(
        `${'signature'.padEnd(20)}${signature ?? 'NOT CHECKED: give --vcek or --vlek, --ask and --ark'}\n`,
      );
    }
    return 0;
  },
};

/** @returns whose signature was checked; undefined without certificates */
function checkSignature(
  bytes: Uint8Array,
  report: AttestationReport,
  options: OptionValues,
  io: Io,
): string | undefined {
  const [vcek, vlek] = [textOption(options, 'vcek'), textOption(options, 'vlek')];
  const [ask, ark, at] = [textOption(options, 'ask'), textOption(options, 'ark'), textOption(options, 'at')];
  const given = [vcek ?? vlek, ask, ark];
  if (given.every((path) => path === undefined) && at === undefined) return undefined;
  const [key, intermediate, root] = given;
  if (
    key === undefined ||
    intermediate === undefined ||
    root === undefined ||
    (vcek !== undefined && vlek !== undefined)
  ) {
    throw usageError('OPTION_MISSING', 'a signature needs one of --vcek and --vlek, and --ask and --ark', {
      mend: 'give all three certificates',
    });
  }
  const certificate = (path: string): ReturnType<typeof readCertificate> =>
    readCertificate(readSmall(io, path, path), path);
  const chain = {
    endorsement: certificate(key),
    intermediate: certificate(intermediate),
    root: certificate(root),
  };
  const kind = vcek === undefined ? 'VLEK' : 'VCEK';
  verifyReport(bytes, report, kind, chain, at === undefined ? undefined : parseTime(at));
  return `${kind}, ARK with SHA-256 fingerprint ${chain.root.fingerprint256.replaceAll(':', '').toLowerCase()}`;
}

function parseTime(text: string): number {
  const milliseconds = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(milliseconds)) return milliseconds / 1000;
  throw usageError('OPTION_TIME', '--at is no time', {
    facts: [['found', text]],
    mend: 'write it like 2026-01-31T00:00:00Z',
  });
}

function checkMeasurement(report: AttestationReport, options: OptionValues, io: Io, checks: Check[]): void {
  const path = textOption(options, 'measurements');
  const expected = [
    ...textsOption(options, 'measurement').map((text) => parseLaunchDigest(text, '--measurement')),
    ...(path === undefined
      ? []
      : readLaunchMeasurements(utf8FromBytes(readSmall(io, path, path), path)).map(
          ({ measurement }) => measurement,
        )),
  ];
  if (expected.length === 0) return;
  const found = bytesToHex(report.measurement);
  if (!expected.some((digest) => equalBytes(digest, report.measurement))) {
    throw mismatchError('REPORT_MEASUREMENT', 'the guest has another launch digest than those expected', {
      facts: [
        ['found', found],
        ...expected.slice(0, 4).map((digest) => ['expected', bytesToHex(digest)] as const),
        ...(expected.length > 4 ? [['expected', `and ${expected.length - 4} more`] as const] : []),
      ],
      mend: `find out which guest it is: cvm snp search --expected ${found} with the files that were meant`,
    });
  }
  checks.push({ name: 'measurement', value: found });
}

function checkNumbers(report: AttestationReport, options: OptionValues, checks: Check[]): void {
  const number = (name: string, flag: string, bits: number): bigint | undefined => {
    const text = textOption(options, name);
    return text === undefined ? undefined : parseIntegerLiteral(text, flag, bits);
  };
  const policy = number('policy', '--policy', 64);
  if (policy !== undefined) {
    if (policy !== report.policy) throw differs('--policy', hexValue(policy), hexValue(report.policy));
    checks.push({ name: 'policy', value: hexValue(policy) });
  }
  const svn = number('guestSvn', '--guest-svn', 32);
  if (svn !== undefined) {
    if (BigInt(report.guestSvn) < svn) throw differs('--guest-svn', `${svn} or more`, `${report.guestSvn}`);
    checks.push({ name: 'guest-svn', value: `${report.guestSvn}` });
  }
  const vmpl = number('vmpl', '--vmpl', 32);
  if (vmpl !== undefined) {
    if (BigInt(report.vmpl) !== vmpl) throw differs('--vmpl', `${vmpl}`, `${report.vmpl}`);
    checks.push({ name: 'vmpl', value: `${report.vmpl}` });
  }
}

function differs(flag: string, expected: string, found: string): Error {
  return mismatchError('REPORT_DIFFERS', `the report has another value than ${flag}`, {
    facts: [
      ['expected', expected],
      ['found', found],
    ],
    mend: 'this is not the guest that was meant, or it was launched another way',
  });
}
