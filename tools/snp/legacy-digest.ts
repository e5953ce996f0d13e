import { createHash } from 'node:crypto';
import { asSource, chunks, type ByteSource } from '../bytes/source.ts';
import { usageError } from '../errors.ts';
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
  checkVcpus(input.vcpus);
  const resetEip = requireResetEip(parseOvmf(input.firmware), input.vcpus);
  const page = (eip: number): Uint8Array => buildVmsa({ ...input, eip, guestFeatures: 0n });
  const [bsp, ap] = [page(BSP_RESET_EIP), page(resetEip)];
  return digestOf(
    input,
    Array.from({ length: input.vcpus }, (_, vcpu) => (vcpu === 0 ? bsp : ap)),
  );
}

function digestOf(input: SevLaunchInput, vmsas: readonly Uint8Array[]): Uint8Array {
  const state = createHash('sha256');
  for (const chunk of chunks(asSource(input.firmware))) state.update(chunk);
  if (input.kernel !== undefined) {
    requireHashTableBase(parseOvmf(input.firmware));
    state.update(
      writeKernelHashTable({
        kernel: kernelFileHash(asSource(input.kernel)),
        initrd: initrdFileHash(input.initrd === undefined ? undefined : asSource(input.initrd)),
        cmdline: cmdlineHash(input.append),
      }),
    );
  } else if (input.initrd !== undefined || (input.append ?? '') !== '') {
    throw usageError('KERNEL_MISSING', 'an initrd or a command line was given without a kernel', {
      mend: 'give the kernel too: firmware gets all three hashes or none',
    });
  }
  for (const vmsa of vmsas) state.update(vmsa);
  return new Uint8Array(state.digest());
}
