import { bytesToHex } from '../bytes/hex.ts';
import type { ByteSource } from '../bytes/source.ts';
import { jsonText, showText } from '../bytes/text.ts';
import { mismatchError, usageError } from '../errors.ts';
import { openExt4 } from '../ext4/reader.ts';
import { teeCommandLines } from '../guestos/boot-args.ts';
import { bootFile, readBootArgs } from '../guestos/boot-partition.ts';
import { BOOT_FILES } from '../guestos/layout.ts';
import { readReport } from '../snp/attestation-report.ts';
import { kernelFileHash } from '../snp/kernel-hashes.ts';
import { prepareSnpLaunch, VCPU_LIMIT } from '../snp/launch-digest.ts';
import { describeMatch, measureWords } from '../snp/search-report.ts';
import { DEFAULT_MOST_VCPUS, likelySearchSpace, type SearchFiles } from '../snp/search-space.ts';
import {
  DEFAULT_MOST_TRIES,
  searchLaunch,
  type SearchFile,
  type SearchFirmware,
  type SearchMatch,
  type SearchResult,
} from '../snp/search.ts';
import { vcpuTypeSignature } from '../snp/vcpu-types.ts';
import { VMM_TYPES, type VmmType } from '../snp/vmsa.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { openImage } from './image-files.ts';
import {
  flagOption,
  parseDecimal,
  parseIntegerLiteral,
  parseList,
  textOption,
  textsOption,
} from './options.ts';
import { hexValue, parseCounts, parseLaunchDigest, readSmall, shellLine } from './snp-options.ts';

const MOST_TRIES_LIMIT = 10_000_000_000;

export const command: Command = {
  summary: 'find out which guest a launch digest belongs to',
  description:
    'Tries combinations of firmware, kernel, initrd, command line, vCPU count and type, guest features, VMM and the FPU state ' +
    'of old hosts, the likeliest first, until the expected digests are found. Says how many it tried, what the guest ' +
    'was, and the command that gives the digest. With --boot, the files and both command lines come from a GuestOS boot partition. ' +
    'Ends with 0 when at least one digest was found, with 5 when none was.',
  options: [
    {
      flags: '--expected <digest>',
      description: 'MEASUREMENT of a report: 96 hex digits or base64; may be repeated',
      repeatable: true,
    },
    { flags: '--report <file>', description: 'attestation report to take the digest from' },
    { flags: '--ovmf <path>', description: 'firmware; may be repeated', repeatable: true },
    { flags: '--kernel <path>', description: 'kernel; may be repeated', repeatable: true },
    { flags: '--initrd <path>', description: 'initrd; may be repeated', repeatable: true },
    { flags: '--append <text>', description: 'kernel command line; may be repeated', repeatable: true },
    {
      flags: '--boot <image>',
      description:
        'boot partition or update image to take all of these from; may be repeated, the likeliest first',
      repeatable: true,
    },
    { flags: '--vcpus <list>', description: 'likely vCPU counts, such as 1,2,4,8-64' },
    { flags: '--vcpu-type <list>', description: 'likely QEMU CPU models, comma-separated' },
    { flags: '--vcpu-sig <list>', description: 'likely CPU signatures, comma-separated' },
    { flags: '--vmm-type <list>', description: `likely VMMs, comma-separated: ${VMM_TYPES.join(', ')}` },
    { flags: '--guest-features <list>', description: 'likely SEV_FEATURES, comma-separated' },
    {
      flags: '--most-vcpus <n>',
      description: 'largest vCPU count to try',
      defaultValue: `${DEFAULT_MOST_VCPUS}`,
    },
    {
      flags: '--most-tries <n>',
      description: 'digests to compare at most',
      defaultValue: `${DEFAULT_MOST_TRIES}`,
    },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],

  async run(_args, options, io) {
    const report = textOption(options, 'report');
    const expected = [
      ...textsOption(options, 'expected').map((text) => parseLaunchDigest(text, '--expected')),
      ...(report === undefined ? [] : [readReport(readSmall(io, report, report)).measurement]),
    ];
    if (expected.length === 0) {
      throw usageError('OPTION_MISSING', '--expected or --report is required', {
        mend: 'give MEASUREMENT of the attestation report, or the report',
      });
    }
    const beliefs = readBeliefs(options);
    const mostTries = parseDecimal(
      textOption(options, 'mostTries') ?? `${DEFAULT_MOST_TRIES}`,
      '--most-tries',
      1,
      MOST_TRIES_LIMIT,
    );
    const groups = await readFiles(options, io);
    const result = searchLaunch(likelySearchSpace(groups, beliefs), expected, { mostTries });
    const missing = expected.filter(
      (digest) => !result.matches.some((match) => bytesToHex(match.expected) === bytesToHex(digest)),
    );
    if (result.matches.length === 0) throw notFound(result, missing);
    io.out(flagOption(options, 'json') ? json(result, missing) : text(result, missing));
    return 0;
  },
};

function readBeliefs(options: OptionValues): NonNullable<Parameters<typeof likelySearchSpace>[1]> {
  const list = (name: string, flag: string): string[] | undefined => {
    const value = textOption(options, name);
    return value === undefined ? undefined : parseList(value, flag);
  };
  const vcpus = textOption(options, 'vcpus');
  const vcpuTypes = list('vcpuType', '--vcpu-type');
  const vcpuSigs = list('vcpuSig', '--vcpu-sig');
  const vmmTypes = list('vmmType', '--vmm-type');
  const guestFeatures = list('guestFeatures', '--guest-features');
  vcpuTypes?.forEach(vcpuTypeSignature);
  return {
    ...(vcpus === undefined ? {} : { vcpus: parseCounts(vcpus, '--vcpus') }),
    ...(vcpuTypes === undefined ? {} : { vcpuTypes }),
    ...(vcpuSigs === undefined
      ? {}
      : { vcpuSigs: vcpuSigs.map((sig) => Number(parseIntegerLiteral(sig, '--vcpu-sig', 32))) }),
    ...(vmmTypes === undefined ? {} : { vmmTypes: vmmTypes.map(vmmType) }),
    ...(guestFeatures === undefined
      ? {}
      : { guestFeatures: guestFeatures.map((value) => parseIntegerLiteral(value, '--guest-features', 64)) }),
    mostVcpus: parseDecimal(
      textOption(options, 'mostVcpus') ?? `${DEFAULT_MOST_VCPUS}`,
      '--most-vcpus',
      1,
      VCPU_LIMIT,
    ),
  };
}

function vmmType(name: string): VmmType {
  const known = VMM_TYPES.find((type) => type === name);
  if (known !== undefined) return known;
  throw usageError('VMM_TYPE_UNKNOWN', 'the VMM type is not known', {
    facts: [
      ['found', name],
      ['known', VMM_TYPES.join(', ')],
    ],
  });
}

/** The files of the call as one group, then one group a boot partition. */
async function readFiles(options: OptionValues, io: Io): Promise<SearchFiles[]> {
  const groups: SearchFiles[] = [];
  const named = <T>(name: string, read: (path: string, file: ByteSource) => T): T[] =>
    textsOption(options, name).map((path) => {
      const file = openFile(resolvePath(io, path));
      try {
        return read(path, file);
      } finally {
        file.close();
      }
    });
  const files: SearchFiles = {
    firmwares: named('ovmf', searchFirmware),
    kernels: named('kernel', searchFile),
    initrds: named('initrd', searchFile),
    cmdlines: textsOption(options, 'append'),
  };
  if (files.firmwares.length + files.kernels.length + files.initrds.length + files.cmdlines.length > 0)
    groups.push(files);
  for (const path of textsOption(options, 'boot')) groups.push(await bootFiles(path, io));
  if (!groups.some(({ firmwares }) => firmwares.length > 0)) {
    throw usageError('OPTION_MISSING', '--ovmf or --boot is required', {
      mend: 'give the firmware that the guest started with',
    });
  }
  return groups;
}

async function bootFiles(path: string, io: Io): Promise<SearchFiles> {
  const image = await openImage(resolvePath(io, path), 'boot.img');
  try {
    const tree = openExt4(image);
    const inside = (name: string): string => `${path}:/${name}`;
    const { firmware, kernel, initrd } = BOOT_FILES;
    return {
      firmwares: [searchFirmware(inside(firmware), bootFile(tree, firmware))],
      kernels: [searchFile(inside(kernel), bootFile(tree, kernel))],
      initrds: [searchFile(inside(initrd), bootFile(tree, initrd))],
      cmdlines: teeCommandLines(readBootArgs(tree)).map(({ cmdline }) => cmdline),
    };
  } finally {
    image.close();
  }
}

function searchFirmware(name: string, file: ByteSource): SearchFirmware {
  const { ovmf, firmwareDigest } = prepareSnpLaunch({ firmware: file });
  return { name, ovmf, firmwareDigest };
}

function searchFile(name: string, file: ByteSource): SearchFile {
  return { name, sha256: kernelFileHash(file) };
}

function notFound(result: SearchResult, missing: readonly Uint8Array[]): Error {
  return mismatchError('SNP_SEARCH_NOT_FOUND', 'no combination has the expected launch digest', {
    facts: [
      ...missing.slice(0, 4).map((digest) => ['expected', bytesToHex(digest)] as const),
      ['digests tried', result.tried],
      ['everything tried', result.complete ? 'yes' : 'no: --most-tries ended the search'],
      ...result.refused.map(
        ({ firmware, error }) => [`no kernel with ${firmware.name}`, error.message] as const,
      ),
    ],
    mend: result.complete
      ? 'firmware, kernel, initrd or command line are none of those given: give those of other releases too'
      : 'raise --most-tries, or name what is known with --vcpus, --vcpu-type and the like',
  });
}

function text(result: SearchResult, missing: readonly Uint8Array[]): string {
  const lines = result.matches.flatMap((match) => [
    `found ${bytesToHex(match.expected)} (try ${match.tried})`,
    ...describeMatch(match).map((line) => `  ${showText(line)}`),
    `  ${showText(shellLine(measureWords(match)))}`,
  ]);
  for (const digest of missing) lines.push(`not found ${bytesToHex(digest)}`);
  return `${lines.join('\n')}\n${result.tried} digests tried${result.complete ? '' : ' (stopped by --most-tries)'}\n`;
}

function json(result: SearchResult, missing: readonly Uint8Array[]): string {
  const match = (found: SearchMatch): unknown => ({
    measurement: bytesToHex(found.expected),
    tried: found.tried,
    surprise: found.surprise,
    firmware: found.firmware.name,
    kernel: found.kernel?.name ?? null,
    initrd: found.initrd?.name ?? null,
    cmdline: found.configuration.append ?? null,
    vcpus: found.configuration.vcpus,
    vcpuSig: hexValue(found.configuration.vcpuSig),
    guestFeatures: hexValue(found.configuration.guestFeatures),
    vmmType: found.configuration.vmmType,
    fpu: found.configuration.fpu ?? 'reset',
    rdx: found.configuration.rdx === undefined ? null : hexValue(found.configuration.rdx),
    command: measureWords(found),
  });
  return `${jsonText({
    ok: true,
    tried: result.tried,
    complete: result.complete,
    found: result.matches.map(match),
    missing: missing.map(bytesToHex),
  })}\n`;
}
