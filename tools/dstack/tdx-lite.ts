import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { formatError, mismatchError, usageError } from '../errors.ts';
import { EMPTY_CFV_SHA384 } from '../tdx/firmware-events.ts';
import { tdxImageOf, type TdxImage } from '../tdx/image.ts';
import type { MeasuredEvent } from '../tdx/register.ts';
import { HIGH_MEMORY_SPLIT_BYTES, LOW_MEMORY_BYTES, readTdHobWitness } from '../tdx/td-hob.ts';
import { bundleDigest, readSums, SUMS_LIMIT_BYTES } from './manifest.ts';
import { BUNDLE_FILES } from './metadata.ts';
import type { OvmfVariant } from './ovmf-variant.ts';
import { decodeTdxMaterial, type TdxMaterial } from './tdx-material.ts';
import type { VmConfig } from './vm-config.ts';

/** An image that is known from its measurements alone. */
export interface LiteImage {
  readonly image: TdxImage;
  /** 64 hex digits, of the checksum file that came along. */
  readonly osImageHash: string;
  readonly variant: OvmfVariant;
}

/**
 * The image behind a VmConfig that carries its measurements: nothing is downloaded. The checksum file must be what
 * os_image_hash says, and must list the document; the memory must be of a size for which the document's kernel digest holds.
 *
 * The variable store is taken for the empty one, as dstack-mr takes it: the document does not hold it.
 *
 * @throws CvmError usage LITE_MISSING | LITE_MEMORY; format LITE_BASE64 | LITE_UNLISTED | SUMS_* | MATERIAL_* |
 *   TD_HOB_WITNESS; mismatch LITE_OS_IMAGE_HASH | LITE_MEASUREMENT_HASH | LITE_VARIANT
 */
export function openLite(config: VmConfig): LiteImage {
  if (config.tdxMeasurement === undefined) {
    throw usageError('LITE_MISSING', 'there is neither a bundle nor a tdx_measurement in the VmConfig', {
      mend: 'give the image with --bundle, or a VmConfig of attestation variant lite',
    });
  }
  const checksums = fromBase64(config.tdxMeasurement.checksumFile, 'checksum_file');
  const document = fromBase64(config.tdxMeasurement.measurement, 'measurement');
  const osImageHash = bundleDigest(checksums);
  if (config.osImageHash !== osImageHash) {
    throw mismatchError(
      'LITE_OS_IMAGE_HASH',
      `os_image_hash mismatch: expected sha256(sha256sum.txt)=${osImageHash}, actual=${config.osImageHash}`,
      { mend: 'the checksum file is of another image than the VmConfig: do not believe either' },
    );
  }
  requireListed(checksums, document);
  const material = decodeTdxMaterial(document);
  if (config.ovmfVariant !== undefined && config.ovmfVariant !== material.variant) {
    throw mismatchError(
      'LITE_VARIANT',
      `tdx measurement ovmf_variant mismatch: vm_config=${config.ovmfVariant}, measurement=${material.variant}`,
    );
  }
  requireMemory(config.memorySize);
  return { image: imageOf(material), osImageHash, variant: material.variant };
}

function requireListed(checksums: Uint8Array, document: Uint8Array): void {
  const entry = readSums(checksums).find(({ name }) => name === BUNDLE_FILES.tdxMaterial);
  if (entry === undefined) {
    throw formatError('LITE_UNLISTED', `${BUNDLE_FILES.sums} is missing ${BUNDLE_FILES.tdxMaterial}`, {
      mend: 'give the bundle: an image of this generation commits to no measurements',
    });
  }
  const found = bytesToHex(digestBytes('sha256', document));
  if (found === entry.sha256) return;
  throw mismatchError(
    'LITE_MEASUREMENT_HASH',
    `${BUNDLE_FILES.tdxMaterial} hash mismatch: ${BUNDLE_FILES.sums}=${entry.sha256}, actual=${found}`,
  );
}

function requireMemory(memoryBytes: number): void {
  if (memoryBytes === LOW_MEMORY_BYTES || memoryBytes >= HIGH_MEMORY_SPLIT_BYTES) return;
  throw usageError('LITE_MEMORY', 'the kernel digest of the document does not hold for this memory size', {
    facts: [['memory_size', memoryBytes]],
    mend: 'give the bundle with --bundle; without it, memory is exactly 2 GiB or at least 2816 MiB',
  });
}

function imageOf(material: TdxMaterial): TdxImage {
  const event = (name: string, digest: Uint8Array): MeasuredEvent => ({
    name,
    type: 0x6,
    digest,
    input: BUNDLE_FILES.tdxMaterial,
  });
  return tdxImageOf({
    sections: readTdHobWitness(material.tdHob),
    cfvDigest: hexToBytes(EMPTY_CFV_SHA384),
    mrtd: (order) => (order === 'two-pass' ? material.mrtdTwoPass : material.mrtdSinglePass),
    kernelDigest(patchesHeader, memoryBytes) {
      requireMemory(memoryBytes);
      if (patchesHeader) return material.kernelAuthenticode;
      throw usageError('LITE_QEMU', 'the kernel digest of the document holds for QEMU up to 10.1 alone', {
        mend: 'give the bundle with --bundle',
      });
    },
    rtmr2Events: () => [event('cmdline', material.cmdlineSha384), event('initrd', material.initrdSha384)],
  });
}

/** @throws CvmError format LITE_BASE64 */
function fromBase64(text: string, what: string): Uint8Array {
  if (
    text.length <= 2 * SUMS_LIMIT_BYTES &&
    /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)
  ) {
    return new Uint8Array(Buffer.from(text, 'base64'));
  }
  throw formatError('LITE_BASE64', `${what} of tdx_measurement is not base64`, {
    facts: [['length', `${text.length} characters`]],
  });
}
