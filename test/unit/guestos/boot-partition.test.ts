import { describe, expect, test } from 'vitest';
import { bytesToHex } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { utf8Bytes } from '../../../tools/bytes/text.ts';
import {
  bootFile,
  measureBootPartition,
  readBootArgs,
  readBootProposal,
  type BootTree,
} from '../../../tools/guestos/boot-partition.ts';
import { snpLaunchDigest } from '../../../tools/snp/launch-digest.ts';
import { vcpuTypeSignature } from '../../../tools/snp/vcpu-types.ts';
import { NO_XATTRS, type EntryCommon, type TreeEntry } from '../../../tools/tree/entry.ts';
import { expectCvmError } from '../../support/errors.ts';
import { firmwareS, INITRD, KERNEL } from '../../support/firmware.ts';

const COMMON: Omit<EntryCommon, 'path'> = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSec: 0,
  mtimeNsec: 0,
  xattrs: NO_XATTRS,
};
const ARGS = 'BOOT_ARGS_TEE_A="a  dfinity.system=A"\nBOOT_ARGS_TEE_B="b dfinity.system=B"\n';
const FILES: Readonly<Record<string, Uint8Array>> = {
  vmlinuz: KERNEL.subarray(0, 1000),
  'initrd.img': INITRD.subarray(0, 1000),
  'OVMF_SEV.fd': firmwareS(),
  boot_args: utf8Bytes(ARGS),
};

function tree(over: Readonly<Record<string, Uint8Array | 'dir' | undefined>> = {}): BootTree {
  const files: Readonly<Record<string, Uint8Array | 'dir' | undefined>> = { ...FILES, ...over };
  return {
    lookup(path): TreeEntry | undefined {
      const found = files[path];
      if (found === undefined) return undefined;
      if (found === 'dir') return { ...COMMON, path, type: 'dir' };
      return { ...COMMON, path, type: 'file', content: sourceFromBytes(found) };
    },
  };
}

const PLAN = { vcpus: [16, 64], vcpuTypes: ['EPYC-v4', 'EPYC-Genoa'] };

describe('measuring a boot partition', () => {
  test('CPU types, then vCPU counts, then slots', () => {
    const entries = measureBootPartition(tree(), PLAN);
    expect(entries.map(({ vcpuType, kernelCmdline }) => `${vcpuType} ${kernelCmdline?.at(-1)}`)).toEqual([
      'EPYC-v4 A',
      'EPYC-v4 B',
      'EPYC-v4 A',
      'EPYC-v4 B',
      'EPYC-Genoa A',
      'EPYC-Genoa B',
      'EPYC-Genoa A',
      'EPYC-Genoa B',
    ]);
    expect(new Set(entries.map(({ measurement }) => bytesToHex(measurement))).size).toBe(8);
  });

  test('each is the launch digest of exactly these files, vCPUs and command line', () => {
    const [, , third] = measureBootPartition(tree(), PLAN);
    expect(third?.measurement).toEqual(
      snpLaunchDigest({
        firmware: firmwareS(),
        kernel: KERNEL.subarray(0, 1000),
        initrd: INITRD.subarray(0, 1000),
        append: 'a  dfinity.system=A',
        vcpus: 64,
        vcpuSig: vcpuTypeSignature('EPYC-v4'),
        guestFeatures: 1n,
        vmmType: 'QEMU',
      }),
    );
  });

  test.each(Object.keys(FILES))('refuses a partition without /%s', (name) => {
    const error = expectCvmError(
      () => measureBootPartition(tree({ [name]: undefined }), PLAN),
      'BOOT_FILE_MISSING',
      'format',
    );
    expect(error.message).toContain(`/${name}`);
  });

  test.each(Object.keys(FILES))('refuses a partition where /%s is a folder', (name) => {
    expectCvmError(() => measureBootPartition(tree({ [name]: 'dir' }), PLAN), 'BOOT_FILE_TYPE', 'format');
  });

  test('refuses command lines that are no text', () => {
    expectCvmError(() => readBootArgs(tree({ boot_args: Uint8Array.of(0xff) })), 'TEXT_NOT_UTF8', 'format');
  });

  test('refuses a boot_args of megabytes', () => {
    expectCvmError(
      () => readBootArgs(tree({ boot_args: new Uint8Array((1 << 20) + 1) })),
      'SOURCE_TOO_LARGE',
      'format',
    );
  });

  test('refuses a release without SEV command lines', () => {
    const old = utf8Bytes('BOOT_ARGS_A=x\nBOOT_ARGS_B=y\n');
    expectCvmError(() => measureBootPartition(tree({ boot_args: old }), PLAN), 'BOOT_ARGS_TEE_MISSING');
  });

  test('refuses an unknown CPU type and an impossible vCPU count', () => {
    expectCvmError(() => measureBootPartition(tree(), { ...PLAN, vcpuTypes: ['X'] }), 'VCPU_TYPE_UNKNOWN');
    expectCvmError(() => measureBootPartition(tree(), { ...PLAN, vcpus: [0] }), 'VCPU_COUNT');
  });

  test('a proposal is there or not, and never something else', () => {
    const name = 'alternative_guestos_proposal.cbor';
    expect(readBootProposal(tree())).toBeUndefined();
    expect(readBootProposal(tree({ [name]: Uint8Array.of(1) }))).toEqual(Uint8Array.of(1));
    expectCvmError(() => readBootProposal(tree({ [name]: 'dir' })), 'BOOT_FILE_TYPE', 'format');
  });

  test('the mend of a missing firmware is a later release', () => {
    const error = expectCvmError(
      () => bootFile(tree({ 'OVMF_SEV.fd': undefined }), 'OVMF_SEV.fd'),
      'BOOT_FILE_MISSING',
    );
    expect(error.mend).toContain('later base release');
  });
});
