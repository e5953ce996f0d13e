import type { ByteSource } from '../bytes/source.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { encodeCbor } from '../cbor/encode.ts';
import type { CborValue } from '../cbor/value.ts';
import { formatError } from '../errors.ts';
import { cmdlineEvent, initrdEvent, kernelDigest } from '../tdx/kernel-events.ts';
import { mrtd } from '../tdx/mrtd.ts';
import { REGISTER_BYTES } from '../tdx/register.ts';
import { HIGH_MEMORY_SPLIT_BYTES, tdHobWitness } from '../tdx/td-hob.ts';
import { parseTdvf } from '../tdx/tdvf.ts';
import { CborFields } from './cbor-fields.ts';
import { OVMF_VARIANTS, type OvmfVariant } from './ovmf-variant.ts';

/** What a verifier needs to compute TDX registers without the files: measurement.tdx.cbor, version 3. */
export interface TdxMaterial {
  /** The events of RTMR2. */
  readonly cmdlineSha384: Uint8Array;
  readonly initrdSha384: Uint8Array;
  /** The first event of RTMR1, for memory of 2816 MiB and above, or exactly 2 GiB. */
  readonly kernelAuthenticode: Uint8Array;
  readonly variant: OvmfVariant;
  readonly mrtdSinglePass: Uint8Array;
  readonly mrtdTwoPass: Uint8Array;
  /** See `tdHobWitness`. */
  readonly tdHob: Uint8Array;
}

const MATERIAL_VERSION = 3n;
const NAME = 'measurement.tdx.cbor';

/** @throws CvmError format TDVF_*, PE_*, KERNEL_*, INITRD_TOO_LARGE */
export function tdxMaterial(parts: {
  readonly firmware: ByteSource;
  readonly kernel: ByteSource;
  readonly initrd: ByteSource;
  readonly cmdline: string;
  readonly variant: OvmfVariant;
  readonly patchesHeader: boolean;
}): TdxMaterial {
  const sections = parseTdvf(parts.firmware);
  return {
    cmdlineSha384: cmdlineEvent(parts.cmdline).digest,
    initrdSha384: initrdEvent(parts.initrd).digest,
    kernelAuthenticode: kernelDigest({
      kernel: parts.kernel,
      initrdBytes: parts.initrd.sizeBytes,
      memoryBytes: HIGH_MEMORY_SPLIT_BYTES,
      patchesHeader: parts.patchesHeader,
    }),
    variant: parts.variant,
    mrtdSinglePass: mrtd(parts.firmware, sections, 'single-pass'),
    mrtdTwoPass: mrtd(parts.firmware, sections, 'two-pass'),
    tdHob: tdHobWitness(sections),
  };
}

/** measurement.tdx.cbor: maps with keys in this order. */
export function encodeTdxMaterial(material: TdxMaterial): Uint8Array {
  const map = (entries: readonly (readonly [string, CborValue])[]): CborValue => new Map(entries);
  return encodeCbor(
    map([
      ['version', MATERIAL_VERSION],
      [
        'image',
        map([
          ['cmdline_sha384', material.cmdlineSha384],
          ['kernel_authenticode', material.kernelAuthenticode],
          ['initrd_sha384', material.initrdSha384],
        ]),
      ],
      [
        'tdvf',
        map([
          ['ovmf', material.variant],
          [
            'mrtd',
            map([
              ['single_pass', material.mrtdSinglePass],
              ['two_pass', material.mrtdTwoPass],
            ]),
          ],
          ['td_hob', material.tdHob],
        ]),
      ],
    ]),
  );
}

/** @throws CvmError format MATERIAL_FIELD | MATERIAL_VERSION | MATERIAL_VARIANT, those of decodeCbor */
export function decodeTdxMaterial(bytes: Uint8Array): TdxMaterial {
  const fields = CborFields.of(decodeCbor(bytes, NAME), NAME);
  fields.requireVersion(MATERIAL_VERSION);
  const image = fields.map('image');
  const tdvf = fields.map('tdvf');
  const measured = tdvf.map('mrtd');
  const name = tdvf.text('ovmf');
  const variant = OVMF_VARIANTS.find((known) => known === name);
  if (variant === undefined) {
    throw formatError('MATERIAL_VARIANT', `${NAME} names a firmware variant that is not known`, {
      facts: [
        ['found', name],
        ['known', OVMF_VARIANTS.join(', ')],
      ],
    });
  }
  return {
    cmdlineSha384: image.bytes('cmdline_sha384', REGISTER_BYTES),
    kernelAuthenticode: image.bytes('kernel_authenticode', REGISTER_BYTES),
    initrdSha384: image.bytes('initrd_sha384', REGISTER_BYTES),
    variant,
    mrtdSinglePass: measured.bytes('single_pass', REGISTER_BYTES),
    mrtdTwoPass: measured.bytes('two_pass', REGISTER_BYTES),
    tdHob: tdvf.bytes('td_hob'),
  };
}
