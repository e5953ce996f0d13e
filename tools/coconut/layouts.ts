import { usageError } from '../errors.ts';
import { nearestWord } from '../nearest.ts';
import { placeOf } from './fields.ts';
import type { Hypervisor, Recipe } from './recipe.ts';

/**
 * Where the builder of one SVSM commit puts things. Builder and SVSM share a private interface (parameter block, launch
 * information, addresses), which changes from month to month: an SVSM built from another commit does not start in an image
 * of this layout. So a layout has a name with a date, and names the commits it is known to fit.
 */
export interface Layout {
  readonly name: LayoutName;
  readonly generation: Generation;
  /** Commits of coconut-svsm/svsm whose own builder makes the same bytes, 40 hex digits. */
  readonly commits: readonly string[];
  /** The memory that the SVSM kernel runs in: base and largest size. */
  readonly kernelRegion: Readonly<Record<Hypervisor, MemoryRegion>>;
  /** Page of the boot processor's VMSA. KVM knows no other than 0xfffffffff000. */
  readonly vmsaGpa: Readonly<Record<Hypervisor, bigint>>;
}

export interface MemoryRegion {
  readonly base: bigint;
  readonly maxBytes: bigint;
}

export const GENERATIONS = ['stage2', 'bldr'] as const;
export type Generation = (typeof GENERATIONS)[number];

export const LAYOUT_NAMES = ['stage2-2025-05', 'bldr-2026-08'] as const;
export type LayoutName = (typeof LAYOUT_NAMES)[number];

const KVM_VMSA_GPA = 0xffff_ffff_f000n;
const MIB = 1n << 20n;
const GIB = 1n << 30n;
/** 8 TiB less 2 GiB. */
const VANADIUM_REGION: MemoryRegion = { base: 0x7ff_8000_0000n, maxBytes: 2n * GIB };

export const LAYOUTS: Readonly<Record<LayoutName, Layout>> = {
  'stage2-2025-05': {
    name: 'stage2-2025-05',
    generation: 'stage2',
    commits: ['76aede89023b93d125d36562c795a079b94a82af'],
    kernelRegion: {
      qemu: { base: 512n * GIB, maxBytes: 16n * MIB },
      'hyper-v': { base: 64n * MIB, maxBytes: 16n * MIB },
      vanadium: VANADIUM_REGION,
    },
    vmsaGpa: { qemu: KVM_VMSA_GPA, 'hyper-v': 0x4ff_f000n, vanadium: KVM_VMSA_GPA },
  },
  'bldr-2026-08': {
    name: 'bldr-2026-08',
    generation: 'bldr',
    commits: ['f4bc4bcdc2bd0a5f4c699a07f2add62b9e4b31be'],
    kernelRegion: {
      qemu: { base: 128n * MIB, maxBytes: 16n * MIB },
      'hyper-v': { base: 128n * MIB, maxBytes: 16n * MIB },
      vanadium: VANADIUM_REGION,
    },
    vmsaGpa: { qemu: KVM_VMSA_GPA, 'hyper-v': 0x8ff_f000n, vanadium: KVM_VMSA_GPA },
  },
};

/** Shorter ones could be of any commit. */
const COMMIT_DIGITS_MIN = 8;

const KNOWN = LAYOUT_NAMES.map((name) => `${name} (SVSM ${LAYOUTS[name].commits.join(', ')})`).join('; ');

/**
 * The layout of a recipe: the one that was named, or that of the SVSM commit, or that of the recipe's generation, which
 * its component `stage2` or `bldr` shows.
 *
 * @param name as given with --layout: a layout's, or a generation's for its newest layout
 * @param commit as given with --svsm-commit: 8 to 40 hex digits
 * @throws CvmError usage LAYOUT_UNKNOWN | LAYOUT_NEEDED | SVSM_COMMIT
 */
export function chooseLayout(
  recipe: Pick<Recipe, 'file' | 'kernel' | 'kernelAt'>,
  name?: string,
  commit?: string,
): Layout {
  if (name !== undefined) return namedLayout(name);
  if (commit !== undefined) return layoutOfCommit(commit);
  const present = GENERATIONS.filter((generation) => recipe.kernel.some((part) => part.name === generation));
  const [generation, second] = present;
  if (generation !== undefined && second === undefined) return layoutOfGeneration(generation);
  throw usageError(
    'LAYOUT_NEEDED',
    second === undefined
      ? 'a recipe shows no generation: its kernel has neither stage2 nor bldr'
      : 'a recipe shows two generations: its kernel has both stage2 and bldr',
    {
      facts: [
        ['recipe', recipe.file],
        ['at', placeOf(recipe.kernelAt)],
        ['components', recipe.kernel.map((part) => part.name).join(', ') || 'none'],
        ['layouts', KNOWN],
      ],
      mend: 'name the layout that fits the SVSM commit with --layout',
    },
  );
}

function layoutOfGeneration(generation: Generation): Layout {
  return generation === 'stage2' ? LAYOUTS['stage2-2025-05'] : LAYOUTS['bldr-2026-08'];
}

function namedLayout(name: string): Layout {
  const known = LAYOUT_NAMES.find((candidate) => candidate === name);
  if (known !== undefined) return LAYOUTS[known];
  const generation = GENERATIONS.find((candidate) => candidate === name);
  if (generation !== undefined) return layoutOfGeneration(generation);
  const nearest = nearestWord(name, LAYOUT_NAMES);
  throw usageError('LAYOUT_UNKNOWN', 'there is no layout of this name', {
    facts: [
      ['found', name],
      ['layouts', KNOWN],
    ],
    ...(nearest === undefined ? {} : { nearest }),
    mend: 'name the one whose commit the SVSM was built from; for other commits use the igvmbuilder of that commit',
  });
}

function layoutOfCommit(commit: string): Layout {
  if (!/^[0-9a-f]+$/.test(commit) || commit.length < COMMIT_DIGITS_MIN || commit.length > 40) {
    throw usageError('SVSM_COMMIT', '--svsm-commit is no commit', {
      facts: [['found', commit]],
      mend: `give ${COMMIT_DIGITS_MIN} to 40 lower-case hex digits: git rev-parse HEAD`,
    });
  }
  const found = LAYOUT_NAMES.find((name) => LAYOUTS[name].commits.some((known) => known.startsWith(commit)));
  if (found !== undefined) return LAYOUTS[found];
  throw usageError('LAYOUT_NEEDED', 'no layout is known to fit this SVSM commit', {
    facts: [
      ['commit', commit],
      ['layouts', KNOWN],
    ],
    mend: 'name a layout with --layout if you know that it fits: the SVSM does not start in one that does not',
  });
}
