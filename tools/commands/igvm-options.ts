import { usageError, type CvmError } from '../errors.ts';
import { IGVMMEASURE_VERSIONS, type IgvmmeasureVersion } from '../igvm/measured-file.ts';
import { MEASURED_PLATFORMS, type MeasuredPlatform } from '../igvm/measure.ts';
import { nearestWord } from '../nearest.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import { textOption } from './options.ts';

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
  throw usageError('OPTION_CHOICE', `--${name} is none of its values`, {
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
