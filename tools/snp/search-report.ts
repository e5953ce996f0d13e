import { DEFAULT_GUEST_FEATURES, guestFeatureNames } from './guest-features.ts';
import { HOST_SIGNATURES, QEMU64_SIGNATURE } from './search-space.ts';
import type { SearchMatch } from './search.ts';
import { vcpuSignatureModel } from './vcpu-types.ts';

/**
 * What a match says, one finding a line, for people: the vCPUs, the files, then whatever is out of the ordinary. Names are the
 * caller's and not escaped here.
 */
export function describeMatch({ configuration, firmware, kernel, initrd }: SearchMatch): string[] {
  const { append, vcpus, vcpuSig, guestFeatures, vmmType, fpu, rdx } = configuration;
  const lines = [
    `${vcpus} vCPU${vcpus === 1 ? '' : 's'} of ${describeSignature(vcpuSig)}`,
    `firmware ${firmware.name}`,
  ];
  if (kernel === undefined) {
    lines.push('no kernel is measured: kernel, initrd and command line are free (kernel-hashes=off)');
  } else {
    lines.push(`kernel ${kernel.name}`, `initrd ${initrd?.name ?? 'none'}`);
    lines.push(`command line ${JSON.stringify(append ?? '')}`);
  }
  if (vmmType !== 'QEMU') lines.push(`VMM ${vmmType}`);
  if (guestFeatures !== DEFAULT_GUEST_FEATURES)
    lines.push(`guest features ${hex(guestFeatures)} (${guestFeatureNames(guestFeatures).join(', ')})`);
  if (fpu === 'zero')
    lines.push('FPU registers zero in the VMSA: the host kernel is older than KVM_SEV_INIT2 (Linux 6.10)');
  if (rdx !== undefined) lines.push(`RDX ${hex(rdx)} in the VMSA: an older ${vmmType}`);
  return lines;
}

/** A QEMU model and its signature, or the processor that has it. */
export function describeSignature(sig: number): string {
  const model = vcpuSignatureModel(sig);
  const host = HOST_SIGNATURES.get(sig);
  if (model !== undefined) return `type ${model.names[0] ?? ''} (signature ${hex(sig)})`;
  if (host !== undefined) return `signature ${hex(sig)} (${host}, as with -cpu host)`;
  return `signature ${hex(sig)}${sig === QEMU64_SIGNATURE ? ' (qemu64: no -cpu was given)' : ''}`;
}

/** The words of the command that gives the digest, from `cvm` on; file names as the caller named them. */
export function measureWords({ configuration, firmware, kernel, initrd }: SearchMatch): string[] {
  const { append, vcpus, vcpuSig, guestFeatures, vmmType, fpu, rdx } = configuration;
  const type = vcpuSignatureModel(vcpuSig)?.names[0];
  const words = ['cvm', 'snp', 'measure', '--mode', 'snp', '--ovmf', firmware.name, '--vcpus', `${vcpus}`];
  if (type === undefined) words.push('--vcpu-sig', hex(vcpuSig));
  else words.push('--vcpu-type', type);
  if (vmmType !== 'QEMU') words.push('--vmm-type', vmmType);
  if (kernel !== undefined) {
    words.push('--kernel', kernel.name);
    if (initrd !== undefined) words.push('--initrd', initrd.name);
    if (append !== undefined && append !== '') words.push('--append', append);
  }
  if (guestFeatures !== DEFAULT_GUEST_FEATURES) words.push('--guest-features', hex(guestFeatures));
  if (fpu !== undefined) words.push('--vmsa-fpu', fpu);
  if (rdx !== undefined) words.push('--vmsa-rdx', hex(rdx));
  return words;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
