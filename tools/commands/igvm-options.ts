import { usageError, type CvmError } from '../errors.ts';
import { IGVMMEASURE_VERSIONS, platformMask, type IgvmmeasureVersion } from '../igvm/measured-file.ts';
import { MEASURED_PLATFORMS, type MeasuredPlatform } from '../igvm/measure.ts';
import {
  ADDRESS_LIMIT,
  headersOfKind,
  nearestPlatform,
  PLATFORM_TYPES,
  type IgvmFile,
  type PlatformName,
} from '../igvm/model.ts';
import { nearestWord } from '../nearest.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import { optionFlag, parseIntegerLiteral, parseList, textOption } from './options.ts';

/** What `igvm measure` and `igvm sign` share: igvmmeasure's flags that stand before its subcommands. */
export const MEASURE_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '-p, --platform <name>',
    description: Object.keys(MEASURED_PLATFORMS).join(', '),
    defaultValue: 'sev-snp',
  },
  { flags: '-n, --native-zero', description: 'measure empty pages as pages of type zero, as Vanadium does' },
  { flags: '-c, --check-kvm', description: 'refuse a file that QEMU with KVM measures in another way' },
  { flags: '-v, --verbose', description: 'first print what is measured, run by run' },
  {
    flags: '--compat <peer>',
    description: `reproduce the defects of a peer: ${IGVMMEASURE_VERSIONS.join(', ')}`,
  },
];

/** @throws CvmError usage OPTION_CHOICE */
export function choiceOption<T extends string>(
  options: OptionValues,
  name: string,
  known: readonly T[],
): T | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  const found = known.find((candidate) => candidate === text);
  if (found !== undefined) return found;
  const nearest = nearestWord(text, known);
  throw usageError('OPTION_CHOICE', `${optionFlag(name)} is none of its values`, {
    facts: [
      ['found', text],
      ['known', known.join(', ')],
    ],
    ...(nearest === undefined ? {} : { nearest: `${nearest} is the nearest` }),
  });
}

export function compatOption(options: OptionValues): IgvmmeasureVersion | undefined {
  return choiceOption(options, 'compat', IGVMMEASURE_VERSIONS);
}

/** @throws CvmError usage OPTION_CHOICE, COMPAT_PLATFORM for a platform that igvmmeasure does not know */
export function platformOption(options: OptionValues): MeasuredPlatform {
  const known = Object.keys(MEASURED_PLATFORMS) as MeasuredPlatform[];
  const platform = choiceOption(options, 'platform', known) ?? 'sev-snp';
  const compat = compatOption(options);
  if (compat === undefined || (platform !== 'tdx' && platform !== 'vbs')) return platform;
  throw usageError('COMPAT_PLATFORM', 'igvmmeasure does not know this platform', {
    facts: [
      ['platform', platform],
      ['compat', compat],
    ],
    mend: 'leave --compat out',
  });
}

/** igvmmeasure ends with 1 whatever went wrong, and with 2 when the call is wrong. */
export function peerExitCode(error: CvmError): number {
  return error.kind === 'usage' && !error.code.startsWith('FILE_') ? 2 : 1;
}

export const PLATFORMS_OPTION: OptionSpec = {
  flags: '--platforms <names>',
  description: `platforms of the file that are meant, by commas; all when absent: ${Object.keys(PLATFORM_TYPES).join(', ')}`,
};

/**
 * The bits of the platforms that the call names.
 * @throws CvmError usage OPTION_CHOICE | OPTION_LIST; mismatch IGVM_PLATFORM_MISSING
 */
export function platformsOption(options: OptionValues, file: IgvmFile): number {
  const text = textOption(options, 'platforms');
  if (text === undefined)
    return headersOfKind(file, 'supported-platform').reduce((all, { mask }) => all | mask, 0) >>> 0;
  return parseList(text, '--platforms').reduce((all, name) => {
    if (Object.hasOwn(PLATFORM_TYPES, name)) return (all | platformMask(file, name as PlatformName)) >>> 0;
    const nearest = nearestPlatform(name);
    throw usageError('OPTION_CHOICE', '--platforms names a platform that is not known', {
      facts: [
        ['found', name],
        ['known', Object.keys(PLATFORM_TYPES).join(', ')],
      ],
      ...(nearest === undefined ? {} : { nearest: `${nearest} is the nearest` }),
    });
  }, 0);
}

/** @throws CvmError usage OPTION_NUMBER */
export function addressOption(options: OptionValues, name: string): number | undefined {
  const text = textOption(options, name);
  return text === undefined ? undefined : parseAddress(text, optionFlag(name));
}

/** An address or size below 2^52. @throws CvmError usage OPTION_NUMBER */
export function parseAddress(text: string, what: string): number {
  return Number(parseIntegerLiteral(text, what, Math.log2(ADDRESS_LIMIT)));
}
