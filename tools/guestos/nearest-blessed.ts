import { rootHashesOf, slotOf, words } from './boot-args.ts';
import type { LaunchMeasurement } from './measurements.ts';

export interface NearestMiss {
  readonly finding: string;
  readonly mend: string;
}

/** So many entries are compared: a proposal may hold thousands, a release holds a dozen. */
const COMPARED_ENTRIES = 64;

/** Words of a difference that are shown. */
const SHOWN_WORDS = 4;

interface Distance {
  readonly score: number;
  readonly entry: number;
  readonly blessed: LaunchMeasurement & { readonly kernelCmdline: string };
  readonly computed: LaunchMeasurement;
  readonly onlyBlessed: readonly string[];
  readonly onlyComputed: readonly string[];
  readonly sameType: boolean;
}

/**
 * When no digest matches, the metadata that a proposal records beside its digests (command line, CPU type) tells what is
 * nearest: it proves nothing and is never a reason to accept.
 */
export function nearestBlessed(
  computed: readonly LaunchMeasurement[],
  blessed: readonly LaunchMeasurement[],
): NearestMiss {
  const best = distances(computed, blessed).reduce<Distance | undefined>(
    (least, one) => (least === undefined || one.score < least.score ? one : least),
    undefined,
  );
  if (best === undefined) {
    return {
      finding: 'the proposal records no command lines, so what differs is unknown',
      mend: 'check that the proposal was made for this base release',
    };
  }
  const where = describe(best);
  const [blessedHash] = rootHashesOf(best.blessed.kernelCmdline);
  const [computedHash] = rootHashesOf(best.computed.kernelCmdline ?? '');
  if (blessedHash !== computedHash) {
    return {
      finding: `the proposal blesses another release: ${where} has root_hash=${blessedHash ?? 'nothing'}, this base root_hash=${computedHash ?? 'nothing'}`,
      mend: 'pin the base release that the node runs and the proposal was made for',
    };
  }
  if (best.score === 0) {
    return {
      finding: `${where} has the same command line and CPU type: firmware, kernel, initrd, vCPU count or guest features differ`,
      mend: 'pin the exact base release, and measure with the vCPU count that the node runs with',
    };
  }
  const differences = [
    ...(best.sameType
      ? []
      : [`CPU type ${best.blessed.vcpuType ?? 'unknown'}, not ${best.computed.vcpuType ?? 'unknown'}`]),
    ...(best.onlyBlessed.length + best.onlyComputed.length === 0
      ? []
      : [`command line with ${list(best.onlyBlessed)}, not ${list(best.onlyComputed)}`]),
  ];
  if (differences.length === 0) {
    return {
      finding: `${where} has the same words in another order or with other blanks`,
      mend: 'measure the exact text of boot_args: nothing in it may be normalised',
    };
  }
  return {
    finding: `${where}, if this were: ${differences.join('; ')}`,
    mend: best.sameType
      ? 'pin the base release whose boot_args the proposal was made for'
      : 'measure that CPU type too, or pin the base release that the proposal was made for',
  };
}

function distances(
  computed: readonly LaunchMeasurement[],
  blessed: readonly LaunchMeasurement[],
): Distance[] {
  const own = computed
    .slice(0, COMPARED_ENTRIES)
    .map((entry) => ({ entry, words: new Set(words(entry.kernelCmdline ?? '')) }));
  return blessed.slice(0, COMPARED_ENTRIES).flatMap((candidate, index) => {
    const { kernelCmdline } = candidate;
    if (kernelCmdline === null) return [];
    const theirs = new Set(words(kernelCmdline));
    return own.map(({ entry, words: ours }): Distance => {
      const onlyBlessed = [...theirs].filter((word) => !ours.has(word));
      const onlyComputed = [...ours].filter((word) => !theirs.has(word));
      const sameType = candidate.vcpuType === null || candidate.vcpuType === entry.vcpuType;
      // Words in another order, or other blanks, change the digest too.
      const sameText = kernelCmdline === entry.kernelCmdline;
      return {
        score: onlyBlessed.length + onlyComputed.length + (sameType ? 0 : 1) + (sameText ? 0 : 0.5),
        entry: index + 1,
        blessed: { ...candidate, kernelCmdline },
        computed: entry,
        onlyBlessed,
        onlyComputed,
        sameType,
      };
    });
  });
}

function describe({ entry, blessed }: Distance): string {
  return `blessed entry ${entry} (${blessed.vcpuType ?? 'unknown CPU'}, slot ${slotOf(blessed.kernelCmdline) ?? 'unknown'})`;
}

function list(differing: readonly string[]): string {
  if (differing.length === 0) return 'nothing';
  const shown = differing.slice(0, SHOWN_WORDS).map((word) => `"${word.slice(0, 100)}"`);
  return `${shown.join(' ')}${differing.length > SHOWN_WORDS ? ` and ${differing.length - SHOWN_WORDS} more` : ''}`;
}
