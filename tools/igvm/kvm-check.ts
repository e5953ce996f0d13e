import { mismatchError, type CvmError, type Fact } from '../errors.ts';
import { VMSA_GPA } from '../snp/gctx.ts';
import { vmsaRegister } from '../snp/vmsa-page.ts';
import { vmsaTest, type IgvmmeasureVersion } from './measured-file.ts';
import type { IgvmFile, IgvmHeader } from './model.ts';

/** CR0 as KVM sets it: protected mode or real mode, both with NE. */
const KVM_CR0 = [0x31n, 0x30n];

const DEBUG_SWAP = 0x20n;

/**
 * Whether QEMU with KVM measures a file as the file says: KVM knows one VMSA, measures it last, at its own address, and
 * sets CR0 itself.
 *
 * igvmmeasure looks for less, which `compat` reproduces: a file without a VMSA passes, pages behind the VMSA pass (only
 * parameters do not), and VMSAs of all platforms count. The version of 2025-05 knew no real mode and refused debug_swap.
 *
 * @param mask the bit of SEV-SNP
 * @throws CvmError mismatch IGVM_KVM_VMSA_COUNT | IGVM_KVM_VMSA_GPA | IGVM_KVM_CR0 | IGVM_KVM_DEBUG_SWAP |
 *   IGVM_KVM_ORDER
 */
export function checkKvm(file: IgvmFile, mask: number, compat?: IgvmmeasureVersion): void {
  const isVmsa = vmsaTest(file);
  let vmsas = 0;
  file.headers.forEach((header, index) => {
    if (isVmsa(header)) {
      if (compat === undefined && (header.mask & mask) === 0) return;
      if (vmsas > 0)
        throw refusal('IGVM_KVM_VMSA_COUNT', 'KVM takes a VMSA for the first processor alone', index, [
          ['VMSAs', 'more than one'],
        ]);
      checkVmsa(header.gpa, header.data, index, compat);
      vmsas++;
    } else if (vmsas > 0 && isBehind(header, mask, compat)) {
      throw refusal(
        'IGVM_KVM_ORDER',
        'KVM measures the VMSA last, and something follows it in the file',
        index,
        [['kind', header.kind]],
      );
    }
  });
  if (vmsas === 0 && compat === undefined)
    throw refusal('IGVM_KVM_VMSA_COUNT', 'KVM needs a VMSA for the first processor', file.headers.length, [
      ['VMSAs', 0],
    ]);
}

function isBehind(header: IgvmHeader, mask: number, compat: IgvmmeasureVersion | undefined): boolean {
  if (header.kind === 'parameter-insert') return (header.mask & mask) !== 0;
  return header.kind === 'page-data' && compat === undefined && (header.mask & mask) !== 0;
}

function checkVmsa(
  gpa: number,
  page: Uint8Array,
  index: number,
  compat: IgvmmeasureVersion | undefined,
): void {
  if (gpa !== VMSA_GPA) {
    throw refusal('IGVM_KVM_VMSA_GPA', 'KVM puts the VMSA at an address of its own', index, [
      ['expected', `0x${VMSA_GPA.toString(16)}`],
      ['found', `0x${gpa.toString(16)}`],
    ]);
  }
  const isOld = compat === 'igvmmeasure-2025-05';
  const cr0 = vmsaRegister(page, 'cr0');
  if (!(isOld ? KVM_CR0.slice(0, 1) : KVM_CR0).includes(cr0)) {
    throw refusal('IGVM_KVM_CR0', 'KVM overwrites CR0 of the VMSA before it measures', index, [
      ['expected', isOld ? '0x31' : '0x31 (protected mode) or 0x30 (real mode)'],
      ['found', `0x${cr0.toString(16)}`],
    ]);
  }
  if (isOld && (vmsaRegister(page, 'sev_features') & DEBUG_SWAP) !== 0n)
    throw refusal('IGVM_KVM_DEBUG_SWAP', 'sev_features of the VMSA holds debug_swap', index, [
      ['sev_features', `0x${vmsaRegister(page, 'sev_features').toString(16)}`],
    ]);
}

function refusal(code: string, message: string, index: number, facts: readonly Fact[]): CvmError {
  return mismatchError(code, message, {
    facts: [['header number', index], ...facts],
    mend: 'build the file for the hypervisor "qemu"; under KVM the report of this one would hold another digest',
  });
}
