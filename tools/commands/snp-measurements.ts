import type { ByteSource } from '../bytes/source.ts';
import { prepareSnpLaunch } from '../snp/launch-digest.ts';
import { sevEsLaunchDigest, sevLaunchDigest } from '../snp/legacy-digest.ts';
import { parseOvmf, requireResetEip } from '../snp/ovmf.ts';
import { svsmEntryGpa, svsmLaunchDigest, type SvsmLaunchInput } from '../snp/svsm-digest.ts';
import { BSP_RESET_EIP, buildSvsmVmsa, buildVmsa } from '../snp/vmsa.ts';
import type { Io } from './command.ts';
import { openFile, resolvePath, writeFileWhole, type OpenFile } from './files.ts';
import type { Cpu, SnpCall } from './snp-call.ts';

/** A digest and what of the call it was computed for. */
export interface Measurement {
  readonly digest: Uint8Array;
  readonly vcpus: number;
  readonly cpu: Cpu;
  readonly append: string | undefined;
}

/** The files of a call, open while `use` runs. */
export async function withFiles<T>(
  io: Pick<Io, 'cwd'>,
  use: (open: (path: string) => ByteSource) => T | Promise<T>,
): Promise<T> {
  const opened: OpenFile[] = [];
  try {
    return await use((path) => {
      const file = openFile(resolvePath(io, path));
      opened.push(file);
      return file;
    });
  } finally {
    for (const file of opened) file.close();
  }
}

/** Everything a call asks for: CPU types, within them vCPU counts, within them command lines. */
export async function measureCall(call: SnpCall, io: Io): Promise<Measurement[]> {
  return await withFiles(io, async (open) => {
    if (call.compat) return await measureAsPeer(call, open, io);
    const measurements = measureStrictly(call, open);
    if (call.dumpVmsa) await dumpVmsas(call, open, io);
    return measurements;
  });
}

/** What firmware gets hashes of. */
export function openKernel(
  call: SnpCall,
  open: (path: string) => ByteSource,
): { readonly kernel?: ByteSource; readonly initrd?: ByteSource } {
  return {
    ...(call.kernel === undefined ? {} : { kernel: open(call.kernel) }),
    ...(call.initrd === undefined ? {} : { initrd: open(call.initrd) }),
  };
}

export function svsmInput(
  call: SnpCall,
  open: (path: string) => ByteSource,
): Omit<SvsmLaunchInput, 'vcpus' | 'vcpuSig'> {
  return {
    firmware: open(call.ovmf),
    svsm: open(call.svsm ?? ''),
    varsSizeBytes: call.varsFile === undefined ? call.varsSize : open(call.varsFile).sizeBytes,
  };
}

function measureStrictly(call: SnpCall, open: (path: string) => ByteSource): Measurement[] {
  const { vmmType, guestFeatures, vmsa } = call;
  const [first] = eachGuest(call);
  switch (call.mode) {
    case 'snp:ovmf-hash': {
      const { firmwareDigest } = prepareSnpLaunch({ firmware: open(call.ovmf) });
      return first === undefined ? [] : [{ ...first, digest: firmwareDigest }];
    }
    case 'snp': {
      const ovmfHash = call.ovmfHash === undefined ? {} : { ovmfHash: call.ovmfHash };
      const launch = prepareSnpLaunch({ firmware: open(call.ovmf), ...openKernel(call, open), ...ovmfHash });
      return call.cpus.flatMap((cpu) => {
        const columns = call.appends.map((append) => {
          const text = append === undefined ? {} : { append };
          const configuration = { ...vmsa, ...text, vcpuSig: Number(cpu.sig), guestFeatures, vmmType };
          return { append, digests: launch.predictCounts(configuration, call.vcpus) };
        });
        return call.vcpus.flatMap((vcpus, row) =>
          columns.map(({ append, digests }) => ({ digest: digests[row] as Uint8Array, vcpus, cpu, append })),
        );
      });
    }
    case 'sev': {
      const files = { firmware: open(call.ovmf), ...openKernel(call, open) };
      return call.appends.map((append) => ({
        digest: sevLaunchDigest({ ...files, ...(append === undefined ? {} : { append }) }),
        vcpus: call.vcpus[0] ?? 1,
        cpu: call.cpus[0] as Cpu,
        append,
      }));
    }
    case 'seves': {
      const files = { firmware: open(call.ovmf), ...openKernel(call, open) };
      return eachGuest(call).map((guest) => {
        const append = guest.append === undefined ? {} : { append: guest.append };
        const { vcpus, cpu } = guest;
        const input = { ...files, ...append, ...vmsa, vcpus, vcpuSig: Number(cpu.sig), vmmType };
        return { ...guest, digest: sevEsLaunchDigest(input) };
      });
    }
    case 'snp:svsm': {
      const input = svsmInput(call, open);
      return eachGuest(call).map((guest) => ({
        ...guest,
        digest: svsmLaunchDigest({ ...input, vcpus: guest.vcpus, vcpuSig: Number(guest.cpu.sig) }),
      }));
    }
  }
}

function eachGuest({ cpus, vcpus, appends }: SnpCall): Omit<Measurement, 'digest'>[] {
  return cpus.flatMap((cpu) =>
    vcpus.flatMap((count) => appends.map((append) => ({ vcpus: count, cpu, append }))),
  );
}

async function measureAsPeer(
  call: SnpCall,
  open: (path: string) => ByteSource,
  io: Io,
): Promise<Measurement[]> {
  const guest = eachGuest(call)[0] as Omit<Measurement, 'digest'>;
  const svsm =
    call.mode === 'snp:svsm'
      ? {
          svsm: open(call.svsm ?? ''),
          varsSizeBytes: call.varsFile === undefined ? call.varsSize : open(call.varsFile).sizeBytes,
        }
      : {};
  const { peerLaunchDigest } = await import('../snp/peer-digest.ts');
  const takesKernel = call.mode !== 'snp:svsm';
  const { digest, vmsa } = peerLaunchDigest({
    mode: call.mode,
    firmware: open(call.ovmf),
    ...(takesKernel ? openKernel(call, open) : {}),
    ...(guest.append === undefined ? {} : { append: guest.append }),
    ...(call.ovmfHash === undefined ? {} : { ovmfHash: call.ovmfHash }),
    ...svsm,
    ...call.vmsa,
    vcpus: guest.vcpus,
    vcpuSig: guest.cpu.sig,
    guestFeatures: call.guestFeatures,
    vmmType: call.vmmType,
  });
  if (call.dumpVmsa && vmsa !== undefined) await writeVmsas(guest.vcpus, vmsa, io);
  return [{ ...guest, digest }];
}

async function dumpVmsas(call: SnpCall, open: (path: string) => ByteSource, io: Io): Promise<void> {
  const [guest] = eachGuest(call);
  if (guest === undefined) return;
  const vcpuSig = Number(guest.cpu.sig);
  if (call.mode === 'snp:svsm') {
    const entry = svsmEntryGpa(svsmInput(call, open));
    await writeVmsas(guest.vcpus, () => buildSvsmVmsa(entry, vcpuSig), io);
    return;
  }
  const resetEip = requireResetEip(parseOvmf(open(call.ovmf)), guest.vcpus);
  const guestFeatures = call.mode === 'seves' ? 0n : call.guestFeatures;
  const page = (vcpu: number): Uint8Array =>
    buildVmsa({
      ...call.vmsa,
      vmmType: call.vmmType,
      vcpuSig,
      guestFeatures,
      eip: vcpu === 0 ? BSP_RESET_EIP : resetEip,
    });
  await writeVmsas(guest.vcpus, page, io);
}

async function writeVmsas(vcpus: number, page: (vcpu: number) => Uint8Array, io: Io): Promise<void> {
  for (let vcpu = 0; vcpu < vcpus; vcpu++)
    await writeFileWhole(resolvePath(io, `vmsa${vcpu}.bin`), [page(vcpu)]);
}
