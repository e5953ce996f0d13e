import { bytesToHex } from '../bytes/hex.ts';
import { slotOf } from './boot-args.ts';
import type { LaunchMeasurement } from './measurements.ts';

/** With which CPU model a base can start from which slots, as far as a proposal blesses it. */
export interface OverlapRow {
  readonly vcpuType: string;
  /** Slots with at least one blessed measurement, in the order of the measurements. */
  readonly covered: readonly string[];
  /** Slots that were measured and have none. */
  readonly missing: readonly string[];
}

export interface Overlap {
  readonly computed: number;
  readonly blessed: number;
  readonly matched: number;
  readonly rows: readonly OverlapRow[];
}

const UNKNOWN = 'unknown';

/**
 * What a proposal covers of a base. A partial overlap is enough for the build and may be too little for a node: it opens its
 * disk only if what *it* measures is blessed.
 */
export function overlapOf(
  computed: readonly LaunchMeasurement[],
  blessed: readonly { readonly measurement: Uint8Array }[],
): Overlap {
  const digests = new Set(blessed.map(({ measurement }) => bytesToHex(measurement)));
  const types = new Map<string, Map<string, boolean>>();
  let matched = 0;
  for (const { measurement, kernelCmdline, vcpuType } of computed) {
    const slots = types.get(vcpuType ?? UNKNOWN) ?? new Map<string, boolean>();
    types.set(vcpuType ?? UNKNOWN, slots);
    const slot = (kernelCmdline === null ? undefined : slotOf(kernelCmdline)) ?? UNKNOWN;
    const isBlessed = digests.has(bytesToHex(measurement));
    if (isBlessed) matched++;
    slots.set(slot, isBlessed || slots.get(slot) === true);
  }
  const rows = [...types].map(([vcpuType, slots]): OverlapRow => {
    const names = (wanted: boolean): string[] =>
      [...slots].filter(([, isCovered]) => isCovered === wanted).map(([slot]) => slot);
    return { vcpuType, covered: names(true), missing: names(false) };
  });
  return { computed: computed.length, blessed: digests.size, matched, rows };
}

/** A line for the whole, and one for each CPU model. */
export function describeOverlap({ computed, blessed, matched, rows }: Overlap): string[] {
  const width = Math.max(0, ...rows.map(({ vcpuType }) => vcpuType.length));
  return [
    `${matched} of ${computed} launch measurements of the base are among the ${blessed} blessed`,
    ...rows.map(({ vcpuType, covered, missing }) => {
      const name = vcpuType.padEnd(width);
      if (covered.length === 0) return `${name}  not covered: such a node would not open its disk`;
      const rest =
        missing.length === 0 ? '' : `; not ${slots(missing)}: from there it would not open its disk`;
      return `${name}  ${slots(covered)}${rest}`;
    }),
  ];
}

function slots(names: readonly string[]): string {
  return `slot${names.length === 1 ? '' : 's'} ${names.join(', ')}`;
}
