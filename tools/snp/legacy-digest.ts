import { createHash } from 'node:crypto';
import { digestSource } from '../bytes/digest.ts';
import { asSource, chunks, sourceFromBytes, type ByteSource } from '../bytes/source.ts';
import { CvmError, usageError } from '../errors.ts';
import { checkVcpus } from './launch-digest.ts';
import { cmdlineHash, initrdFileHash, kernelFileHash, writeKernelHashTable } from './kernel-hashes.ts';
import { parseOvmf, requireHashTableBase, requireResetEip } from './ovmf.ts';
import { BSP_RESET_EIP, buildVmsa, type FpuState, type VmmType } from './vmsa.ts';

export interface SevLaunchInput {
  readonly firmware: ByteSource | Uint8Array;
  readonly kernel?: ByteSource | Uint8Array;
  readonly initrd?: ByteSource | Uint8Array;
  readonly append?: string;
}

export interface SevEsLaunchInput extends SevLaunchInput {
  readonly vcpus: number;
  readonly vcpuSig: number;
  readonly vmmType: VmmType;
  /** `zero` for guests of the old initialisation: see {@link FpuState}. */
  readonly fpu?: FpuState;
  readonly rdx?: bigint;
}

/**
 * GCTX.LD of a plain SEV guest: SHA-256 over the firmware and, with a kernel, the 176-byte hashes table. 32 bytes. The
 * `measurement` blob that the PSP hands out is an HMAC over this, not this.
 * @throws CvmError usage KERNEL_MISSING; format OVMF_NO_HASH_TABLE and those of parseOvmf, with a kernel only
 */
export function sevLaunchDigest(input: SevLaunchInput): Uint8Array {
  return digestOf(input, []);
}

/**
 * GCTX.LD of a SEV-ES guest: as SEV, then the VMSA page of each vCPU (SEV_FEATURES 0). 32 bytes. The pages carry the
 * FPU reset values, which KVM sets for guests made by KVM_SEV_INIT2 alone, unless `fpu` says otherwise.
 * @throws CvmError usage VCPU_COUNT; format OVMF_NO_RESET_BLOCK and as {@link sevLaunchDigest}
 */
export function sevEsLaunchDigest(input: SevEsLaunchInput): Uint8Array {
  return digestOf(input, vmsasOf(input));
}

function vmsasOf(input: SevEsLaunchInput): Uint8Array[] {
  checkVcpus(input.vcpus);
  const resetEip = requireResetEip(parseOvmf(input.firmware), input.vcpus);
  const page = (eip: number): Uint8Array => buildVmsa({ ...input, eip, guestFeatures: 0n });
  const [bsp, ap] = [page(BSP_RESET_EIP), page(resetEip)];
  return Array.from({ length: input.vcpus }, (_, vcpu) => (vcpu === 0 ? bsp : ap));
}

/** Firmware without a table is measured like any other, firmware with a broken one is not. */
function checkPlainFirmware(firmware: ByteSource): void {
  try {
    parseOvmf(firmware);
  } catch (error) {
    if (!(error instanceof CvmError) || error.code !== 'OVMF_NO_FOOTER') throw error;
  }
}

/** One thing hashed, and the digest after it. */
export interface LegacyStep {
  readonly what: 'firmware' | 'hashes' | 'vmsa';
  readonly name: string;
  readonly bytes: number;
  readonly contentSha256: Uint8Array;
  readonly digest: Uint8Array;
}

/**
 * {@link sevLaunchDigest}, or with vCPUs {@link sevEsLaunchDigest}, step by step.
 * @throws as the two
 */
export function explainLegacyLaunch(input: SevLaunchInput | SevEsLaunchInput): LegacyStep[] {
  const steps: LegacyStep[] = [];
  const note = (what: LegacyStep['what'], name: string, content: ByteSource, digest: Uint8Array): void =>
    void steps.push({
      what,
      name,
      bytes: content.sizeBytes,
      contentSha256: digestSource('sha256', content),
      digest,
    });
  digestOf(input, 'vcpus' in input ? vmsasOf(input) : [], note);
  return steps;
}

function digestOf(
  input: SevLaunchInput,
  vmsas: readonly Uint8Array[],
  note?: (what: LegacyStep['what'], name: string, content: ByteSource, digest: Uint8Array) => void,
): Uint8Array {
  const state = createHash('sha256');
  const add = (what: LegacyStep['what'], name: string, content: ByteSource): void => {
    for (const chunk of chunks(content)) state.update(chunk);
    note?.(what, name, content, new Uint8Array(state.copy().digest()));
  };
  const firmware = asSource(input.firmware);
  if (input.kernel === undefined) checkPlainFirmware(firmware);
  add('firmware', 'firmware', firmware);
  if (input.kernel !== undefined) {
    requireHashTableBase(parseOvmf(input.firmware));
    add(
      'hashes',
      'kernel hashes',
      sourceFromBytes(
        writeKernelHashTable({
          kernel: kernelFileHash(asSource(input.kernel)),
          initrd: initrdFileHash(input.initrd === undefined ? undefined : asSource(input.initrd)),
          cmdline: cmdlineHash(input.append),
        }),
      ),
    );
  } else if (input.initrd !== undefined || (input.append ?? '') !== '') {
    throw usageError('KERNEL_MISSING', 'an initrd or a command line was given without a kernel', {
      mend: 'give the kernel too: firmware gets all three hashes or none',
    });
  }
  for (const [vcpu, vmsa] of vmsas.entries()) add('vmsa', `VMSA ${vcpu}`, sourceFromBytes(vmsa));
  return new Uint8Array(state.digest());
}
