/** The fields of a provisioning marker, as options. */
import { readAll } from '../bytes/source.ts';
import { utf8FromBytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import {
  DEFAULT_MARKER,
  parseAkcertAttrs,
  parseProvisioner,
  parseReason,
  PROVISIONERS,
  REASONS,
  type Marker,
} from '../vmgs/marker.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { parseDecimal, textOption } from './options.ts';

export const MARKER_OPTIONS: readonly OptionSpec[] = [
  { flags: '--provisioner <name>', description: PROVISIONERS.join(', '), values: PROVISIONERS },
  { flags: '--reason <name>', description: REASONS.join(', '), values: REASONS },
  { flags: '--tpm-version <text>', description: 'version of the TPM specification' },
  { flags: '--tpm-nvram-size <bytes>', description: 'size of the vTPM blob of a new store' },
  {
    flags: '--akcert-size <bytes>',
    description: "size of the NV index of the attestation key's certificate",
  },
  { flags: '--akcert-attrs <hex>', description: 'its TPMA_NV word, such as 0x42060004' },
  { flags: '--provisioner-version <text>', description: 'which build of the provisioner: a git revision' },
  { flags: '--provisioner-version-file <path>', description: 'the same from a text file of one line' },
];

/** The sentence on what is written where a field is not given. */
export const MARKER_DEFAULTS_TEXT =
  `Fields that are not given: provisioner ${DEFAULT_MARKER.provisioner}, reason ${DEFAULT_MARKER.reason}, ` +
  `tpm_version ${DEFAULT_MARKER.tpmVersion}, tpm_nvram_size ${DEFAULT_MARKER.tpmNvramSize}, akcert_size ` +
  `${DEFAULT_MARKER.akcertSize}, akcert_attrs 0x${DEFAULT_MARKER.akcertAttrs.toString(16)}, an empty version.`;

/**
 * The fields that a call names.
 * @throws CvmError usage MARKER_VALUE | OPTION_NUMBER | OPTION_REPEATED
 */
export function markerOptions(io: Io, options: OptionValues): Partial<Marker> {
  const size = (name: string, flag: string): number | undefined => {
    const value = textOption(options, name);
    return value === undefined ? undefined : parseDecimal(value, flag, 0, 0xffff_ffff);
  };
  const convert = <T>(name: string, parse: (value: string) => T): T | undefined => {
    const value = textOption(options, name);
    return value === undefined ? undefined : parse(value);
  };
  return withoutUndefined({
    provisioner: convert('provisioner', parseProvisioner),
    reason: convert('reason', parseReason),
    tpmVersion: textOption(options, 'tpmVersion'),
    tpmNvramSize: size('tpmNvramSize', '--tpm-nvram-size'),
    akcertSize: size('akcertSize', '--akcert-size'),
    akcertAttrs: convert('akcertAttrs', parseAkcertAttrs),
    provisionerVersion: versionOption(io, options),
  });
}

function versionOption(io: Io, options: OptionValues): string | undefined {
  const text = textOption(options, 'provisionerVersion');
  const path = textOption(options, 'provisionerVersionFile');
  if (path === undefined) return text;
  if (text !== undefined) {
    throw usageError('OPTION_REPEATED', 'the version is given as text and as a file', {
      facts: [
        ['text', text],
        ['file', path],
      ],
    });
  }
  const file = openFile(resolvePath(io, path));
  try {
    return utf8FromBytes(readAll(file, 4096, path), path).replace(/\r?\n$/, '');
  } finally {
    file.close();
  }
}

type Optional<T> = { readonly [K in keyof T]: T[K] | undefined };

function withoutUndefined(fields: Optional<Marker>): Partial<Marker> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
