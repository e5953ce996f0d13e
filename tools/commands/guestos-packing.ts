/** What the commands that pack validated partitions share: their options, and what is checked with them. */
import type { PackingInput } from '../guestos/packing.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { requireDistinctOutputs, resolvePath, type OpenFile } from './files.ts';
import {
  CHIP_ID_OPTION,
  chipIdsOption,
  NETWORK_OPTION,
  networkOption,
  optionalFile,
  PLAN_OPTIONS,
  planOption,
} from './guestos-options.ts';
import { openImage } from './image-files.ts';
import { requiredText, textOption } from './options.ts';

export const PACKING_OPTIONS: readonly OptionSpec[] = [
  { flags: '--boot <image>', description: 'boot partition (.tzst or raw ext4)', required: true },
  {
    flags: '--root <image>',
    description: 'root partition (.tzst or raw, with its hash tree)',
    required: true,
  },
  NETWORK_OPTION,
  {
    flags: '--request <file>',
    description: "request of the boot partition's proposal; mainnet demands it",
  },
  ...PLAN_OPTIONS,
  CHIP_ID_OPTION,
  { flags: '--verdict-output <file>', description: 'what was checked, as JSON' },
];

export type PackingChecks = Omit<PackingInput, 'boot' | 'root'>;

/** Everything but the partitions. */
export function packingChecks(options: OptionValues, io: Io): PackingChecks {
  requireDistinctOutputs(io, requiredText(options, 'output'), textOption(options, 'verdictOutput'));
  return {
    ...planOption(options),
    network: networkOption(options),
    request: optionalFile(io, options, 'request', 'the request'),
    chipIds: chipIdsOption(options),
  };
}

/** Opens what is to be packed, for as long as `step` takes. */
export async function withPartitions<T>(
  options: OptionValues,
  io: Io,
  step: (boot: OpenFile, root: OpenFile) => Promise<T>,
): Promise<T> {
  const boot = await openImage(resolvePath(io, requiredText(options, 'boot')), 'boot.img');
  try {
    const root = await openImage(resolvePath(io, requiredText(options, 'root')), 'root.img');
    try {
      return await step(boot, root);
    } finally {
      root.close();
    }
  } finally {
    boot.close();
  }
}
