import { bytesToHex } from '../bytes/hex.ts';
import type { IgvmMeasurement } from './measure.ts';
import { runContentSha384, type MeasuredRun } from './measured-runs.ts';

/** A measurement as JSON: what a rule writes and `--json` prints. */
export function measurementJson(
  measurement: IgvmMeasurement,
  more: Readonly<Record<string, unknown>> = {},
): object {
  const { platform, algorithm, digest, policy, vmsaCount, claimed, runs } = measurement;
  return {
    platform,
    algorithm,
    digest: bytesToHex(digest),
    ...more,
    ...(policy === undefined ? {} : { policy: hex(policy) }),
    vmsaCount,
    claimed: claimed.map((value) => bytesToHex(value)),
    runs: runs.map((run) => {
      const content = runContentSha384(run);
      return {
        type: run.type,
        gpa: hex(run.gpa),
        size: hex(run.sizeBytes),
        headers: [run.firstHeader, run.lastHeader],
        ...(content === undefined ? {} : { contentSha384: bytesToHex(content) }),
        ...(run.digest === undefined ? {} : { digestAfter: bytesToHex(run.digest) }),
      };
    }),
  };
}

/** A measurement step by step, for people: one block a run, in the order of measurement. */
export function explainMeasurement(measurement: IgvmMeasurement): string {
  const { platform, algorithm, digest, policy, runs } = measurement;
  const lines = [`platform  ${platform}`, `algorithm ${algorithm}`];
  if (policy !== undefined) lines.push(`policy    ${hex(policy)} (not measured)`);
  lines.push('');
  for (const run of runs) {
    const content = runContentSha384(run);
    lines.push(`${hex(run.gpa)}..${hex(run.gpa + run.sizeBytes - 1)}  ${run.type}  ${headers(run)}`);
    if (content !== undefined) lines.push(`  contents ${bytesToHex(content)}`);
    if (run.digest !== undefined) lines.push(`  digest   ${bytesToHex(run.digest)}`);
  }
  lines.push('', `launch digest ${bytesToHex(digest)}`, '');
  return lines.join('\n');
}

/** The lines that `igvmmeasure --verbose` prints before the digest. */
export function verboseLines(measurement: IgvmMeasurement): string {
  return measurement.runs
    .filter((run) => run.sizeBytes > 0)
    .map((run) => `gpa ${hex(run.gpa)} len ${hex(run.sizeBytes)} (${run.type} page)\n`)
    .join('');
}

function headers({ firstHeader, lastHeader }: MeasuredRun): string {
  return firstHeader === lastHeader ? `header ${firstHeader}` : `headers ${firstHeader} to ${lastHeader}`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
