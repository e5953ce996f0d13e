import { readU16, readU32, readU8, writeU16, writeU32, writeU8 } from '../bytes/little-endian.ts';
import { sliceSource, sourceFromBytes, sparseSource, type ByteSource } from '../bytes/source.ts';
import { formatError } from '../errors.ts';
import { checkMemorySize, lowMemoryBytes } from './td-hob.ts';

/** What of a kernel QEMU looks at before it starts it. */
const HEADER_BYTES = 0x1000;

/** Room that QEMU's q35 keeps for ACPI tables below the top of low memory. */
const ACPI_DATA_BYTES = 0x28000;

/** Setup header fields, as Documentation/arch/x86/boot.rst names them. */
const FIELD = {
  cmdlineMagic: 0x20,
  cmdlineOffset: 0x22,
  version: 0x206,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  heapEndPtr: 0x224,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  xloadFlags: 0x236,
} as const;

const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const XLF_ABOVE_4G_LIKE = 0x40;
const QEMU_LOADER = 0xb0;
const DEFAULT_INITRD_MAX = 0x37ff_ffff;

export interface KernelLoad {
  /** Where the initrd goes; undefined without one. */
  readonly initrdAddress: number | undefined;
  /** The kernel file as the firmware gets to see it. */
  readonly patched: ByteSource;
}

/**
 * The kernel with the setup header that QEMU (up to 10.1) writes into it: loader type, heap, command line address, and
 * address and size of the initrd. Firmware hashes this and not the file. The initrd lies at the top of low memory, so the
 * digest depends on the memory size; not so at exactly 2 GiB and from 2816 MiB on.
 *
 * Source: QEMU hw/i386/x86-common.c, x86_load_linux, as dstack-mr models it.
 *
 * @param memoryBytes what QEMU gets with -m
 * @throws CvmError format KERNEL_TOO_SHORT | KERNEL_PROTOCOL | INITRD_TOO_LARGE; usage MEMORY_SIZE
 */
export function loadKernel(kernel: ByteSource, initrdBytes: number, memoryBytes: number): KernelLoad {
  checkMemorySize(memoryBytes);
  if (kernel.sizeBytes < HEADER_BYTES) {
    throw formatError('KERNEL_TOO_SHORT', 'the kernel image is too short', {
      facts: [
        ['size', `${kernel.sizeBytes} bytes`],
        ['least', `${HEADER_BYTES} bytes`],
      ],
      mend: 'give a bzImage',
    });
  }
  const header = kernel.read(0, HEADER_BYTES).slice();
  const protocol = readU16(header, FIELD.version);
  const isHigh = protocol >= 0x200 && (readU8(header, FIELD.loadFlags) & LOADED_HIGH) !== 0;
  const realAddress = isHigh ? 0x1_0000 : 0x9_0000;
  const cmdlineAddress = isHigh ? 0x2_0000 : 0x9_a000;
  const initrdLimit = initrdMax(header, protocol);

  if (protocol >= 0x200) writeU8(header, FIELD.typeOfLoader, QEMU_LOADER);
  if (protocol >= 0x201) {
    writeU8(header, FIELD.loadFlags, readU8(header, FIELD.loadFlags) | CAN_USE_HEAP);
    writeU32(header, FIELD.heapEndPtr, cmdlineAddress - realAddress - 0x200);
  }
  if (protocol >= 0x202) {
    writeU32(header, FIELD.cmdLinePtr, cmdlineAddress);
  } else {
    writeU16(header, FIELD.cmdlineMagic, 0xa33f);
    writeU16(header, FIELD.cmdlineOffset, cmdlineAddress - realAddress);
  }
  let initrdAddress: number | undefined;
  if (initrdBytes > 0) {
    initrdAddress = placeInitrd(protocol, initrdLimit, initrdBytes, memoryBytes);
    writeU32(header, FIELD.ramdiskImage, initrdAddress);
    writeU32(header, FIELD.ramdiskSize, initrdBytes);
  }
  const rest = sliceSource(kernel, HEADER_BYTES, kernel.sizeBytes - HEADER_BYTES);
  const patched = sparseSource(kernel.sizeBytes, [
    { offset: 0, source: sourceFromBytes(header) },
    { offset: HEADER_BYTES, source: rest },
  ]);
  return { initrdAddress, patched };
}

function initrdMax(header: Uint8Array, protocol: number): number {
  if (protocol >= 0x20c) {
    return (readU16(header, FIELD.xloadFlags) & XLF_ABOVE_4G_LIKE) !== 0 ? 0xffff_ffff : DEFAULT_INITRD_MAX;
  }
  const stated = protocol >= 0x203 ? readU32(header, FIELD.initrdAddrMax) : 0;
  return stated === 0 ? DEFAULT_INITRD_MAX : stated;
}

function placeInitrd(protocol: number, limit: number, initrdBytes: number, memoryBytes: number): number {
  if (protocol < 0x200) {
    throw formatError('KERNEL_PROTOCOL', 'the kernel is too old to take an initrd', {
      facts: [['boot protocol', `0x${protocol.toString(16)}`]],
      mend: 'give a bzImage of boot protocol 2.00 or newer',
    });
  }
  const room = lowMemoryBytes(memoryBytes) - ACPI_DATA_BYTES;
  const max = limit >= room ? room - 1 : limit;
  if (initrdBytes < max) return ((max - initrdBytes) & ~0xfff) >>> 0;
  throw formatError('INITRD_TOO_LARGE', 'initrd is too large', {
    facts: [
      ['initrd', `${initrdBytes} bytes`],
      ['room', `${Math.max(max, 0)} bytes`],
      ['memory', `${memoryBytes} bytes`],
    ],
    mend: 'give the guest more memory, or a smaller initrd',
  });
}
