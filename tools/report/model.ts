import type { RawText } from '../bytes/text.ts';
import type { ReleaseVerdict, VerifiedRoot } from '../guestos/packing.ts';
import type { Slot } from '../guestos/boot-args.ts';
import type { Refusal, Verdict } from '../guestos/validate.ts';
import type { NetworkName } from '../nns/networks.ts';
import type { Stage } from '../nns/stages.ts';
import type { ProposalFacts } from '../proposal/facts.ts';
import type { TreeDifference } from './tree-difference.ts';

/** All that a page says. Hashes are lower-case hex; texts are as they were found, and not yet escaped. */
export interface Report {
  /** Of the image in its workspace, `//package:update-img.tar.zst`; null outside Bazel. */
  readonly label: string | null;
  readonly network: NetworkName;
  /** Whether there is no boot partition yet, and the base's own is what is described. */
  readonly isBeforeVote: boolean;
  readonly outcome: Outcome;
  /** VERSION.TXT of the image, without its line feed; null before the vote. */
  readonly version: string | null;
  /** What the update image is, byte for byte; null when there is none. */
  readonly image: FileFact | null;
  /** Null when the root partition does not even fit its own hash tree. */
  readonly root: VerifiedRoot | null;
  readonly certification: Certification | null;
  readonly boot: BootReport;
  readonly base: BaseReport | null;
  readonly lock: LockReport | null;
  readonly tree: TreeDifference;
  /** Chips that were demanded, hex. */
  readonly chipIds: readonly string[];
}

export type Outcome =
  /** An executed proposal blesses it. */
  | { readonly kind: 'blessed'; readonly verdict: Verdict }
  /** A release of its own: its command lines name its root partition, and nobody voted. */
  | { readonly kind: 'release'; readonly verdict: ReleaseVerdict }
  /** There is no proposal yet, and so no image. */
  | { readonly kind: 'not-voted' }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export interface FileFact {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** The certificate on the boot partition, as far as it was believed. */
export interface Certification {
  /** DER of the key that everything hangs on. */
  readonly rootKey: string;
  readonly certificate: FileFact;
  readonly request: FileFact | null;
  /** Every step of the verification, to the first that failed. */
  readonly stages: readonly Stage[];
  /** Null when a step failed: then nothing in the certificate is shown. */
  readonly facts: ProposalFacts | null;
}

export interface BootReport {
  /** What stands in `/version.txt`; null when it is no line of text. */
  readonly version: string | null;
  readonly components: readonly Component[];
  readonly commandLines: readonly CommandLine[];
  readonly plan: { readonly vcpus: readonly number[]; readonly vcpuTypes: readonly string[] };
  readonly launches: readonly Launch[];
  /** The first launch, step by step. */
  readonly steps: readonly LaunchStepReport[];
  /** Blessed digests that were not computed here. */
  readonly otherBlessed: readonly OtherBlessed[];
}

export interface Component {
  readonly role: 'firmware' | 'kernel' | 'initrd';
  /** The name that is looked up, and where its links lead. */
  readonly name: string;
  readonly path: RawText;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Null without a base. */
  readonly sameAsBase: boolean | null;
}

export interface CommandLine {
  readonly slot: Slot;
  readonly name: string;
  readonly text: string;
  /** Of the text and one NUL, as it is measured. */
  readonly sha256: string;
  readonly sameAsBase: boolean | null;
}

export interface Launch {
  readonly measurement: string;
  readonly vcpuType: string;
  readonly vcpus: number;
  readonly slot: Slot;
  /** Null when there is no proposal that was believed. */
  readonly blessed: boolean | null;
}

export interface LaunchStepReport {
  readonly name: string;
  readonly pageType: string;
  readonly gpa: string;
  readonly pages: number;
  /** SHA-384; null where no content is measured. */
  readonly content: string | null;
}

export interface OtherBlessed {
  readonly measurement: string;
  readonly vcpuType: string | null;
  readonly slot: string | null;
  readonly hasCommandLine: boolean;
}

export interface BaseReport {
  readonly file: FileFact;
  readonly version: string | null;
}

export interface LockReport {
  readonly name: string;
  readonly text: string;
  readonly checks: readonly LockCheck[];
}

/** One value of the lock, against what was computed from the bytes at hand. */
export interface LockCheck {
  readonly name: string;
  readonly pinned: string;
  /** Null when there is nothing to compare with: a target of this workspace pins no bytes. */
  readonly found: string | null;
}
