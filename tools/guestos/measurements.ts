import * as v from 'valibot';
import { formatError } from '../errors.ts';
import { LAUNCH_DIGEST_BYTES } from '../snp/gctx.ts';

/** A SEV-SNP launch digest and what it was computed for. */
export interface LaunchMeasurement {
  /** 48 bytes. */
  readonly measurement: Uint8Array;
  /** The exact command line; null where the file does not say. */
  readonly kernelCmdline: string | null;
  /** The QEMU CPU model; null where the file does not say (older releases). */
  readonly vcpuType: string | null;
}

/** Entry as it stands in launch-measurements.json and in governance's payloads. */
export interface MeasurementJson {
  readonly measurement: number[];
  readonly metadata?: { readonly kernel_cmdline?: string; readonly vcpu_type?: string };
}

const byte = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255));

const fileSchema = v.strictObject({
  guest_launch_measurements: v.pipe(
    v.array(
      v.strictObject({
        measurement: v.pipe(v.array(byte), v.length(LAUNCH_DIGEST_BYTES)),
        metadata: v.nullish(
          v.strictObject({ kernel_cmdline: v.nullish(v.string()), vcpu_type: v.nullish(v.string()) }),
        ),
      }),
    ),
    v.minLength(1),
  ),
});

export function measurementJson(entry: LaunchMeasurement): MeasurementJson {
  const metadata = {
    ...(entry.kernelCmdline === null ? {} : { kernel_cmdline: entry.kernelCmdline }),
    ...(entry.vcpuType === null ? {} : { vcpu_type: entry.vcpuType }),
  };
  return {
    measurement: [...entry.measurement],
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
  };
}

/** `launch-measurements.json`: one line of compact JSON and a newline, bytes as decimals, order kept. */
export function writeLaunchMeasurements(entries: readonly LaunchMeasurement[]): string {
  return `${JSON.stringify({ guest_launch_measurements: entries.map(measurementJson) })}\n`;
}

/**
 * Reads `launch-measurements.json`. `vcpu_type` is optional, as older releases lack it; nothing else may differ from
 * what {@link writeLaunchMeasurements} writes but white space.
 * @throws CvmError format MEASUREMENTS_JSON
 */
export function readLaunchMeasurements(text: string): LaunchMeasurement[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed('it is not JSON', cause);
  }
  const parsed = v.safeParse(fileSchema, value, { abortEarly: true });
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw malformed(`${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`, undefined);
  }
  return parsed.output.guest_launch_measurements.map(({ measurement, metadata }) => ({
    measurement: Uint8Array.from(measurement),
    kernelCmdline: metadata?.kernel_cmdline ?? null,
    vcpuType: metadata?.vcpu_type ?? null,
  }));
}

function malformed(why: string, cause: unknown): Error {
  return formatError('MEASUREMENTS_JSON', 'the launch measurements are malformed', {
    facts: [['why', why]],
    mend: 'make the file with cvm guestos measure',
    cause,
  });
}
