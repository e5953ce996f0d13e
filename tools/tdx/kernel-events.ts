import { concatBytes } from '../bytes/compare.ts';
import { digestSource } from '../bytes/digest.ts';
import type { ByteSource } from '../bytes/source.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { authenticodeSha384 } from './authenticode.ts';
import { loadKernel } from './kernel-header.ts';
import { measuredEvent, type MeasuredEvent } from './register.ts';

/** TCG event types of the kernel's registers. */
const EV_SEPARATOR = 0x4;
const EV_EVENT_TAG = 0x6;
const EV_EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003;
const EV_EFI_ACTION = 0x8000_0007;

/** UTF-16LE code units. */
export function utf16Bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'utf16le'));
}

/** What the firmware appends to the command line that QEMU hands over, before it starts the kernel's EFI stub. */
const INITRD_ARGUMENT = ' initrd=initrd';

export interface KernelInput {
  readonly kernel: ByteSource;
  /** 0 without an initrd. */
  readonly initrdBytes: number;
  readonly memoryBytes: number;
  /** Whether QEMU rewrites the setup header before the firmware sees it. */
  readonly patchesHeader: boolean;
}

/** SHA-384 Authenticode digest of the kernel as the firmware gets it. @throws CvmError of kernel and memory */
export function kernelDigest(input: KernelInput): Uint8Array {
  if (!input.patchesHeader) return authenticodeSha384(input.kernel);
  return authenticodeSha384(loadKernel(input.kernel, input.initrdBytes, input.memoryBytes).patched);
}

/** RTMR1: the kernel, and four texts that edk2 logs around its start. */
export function rtmr1Events(digest: Uint8Array, input: string): MeasuredEvent[] {
  const action = (name: string, text: string): MeasuredEvent =>
    measuredEvent(name, EV_EFI_ACTION, utf8Bytes(text), `"${text}"`);
  return [
    { name: 'kernel', type: EV_EFI_BOOT_SERVICES_APPLICATION, digest, input },
    action('calling_efi_application', 'Calling EFI Application from Boot Option'),
    measuredEvent('separator', EV_SEPARATOR, new Uint8Array(4), '4 zero bytes'),
    action('exit_boot_services', 'Exit Boot Services Invocation'),
    action('exit_boot_services_success', 'Exit Boot Services Returned with Success'),
  ];
}

/**
 * The command line's event: UTF-16 with its end, and what the firmware appends.
 * @param cmdline metadata.json's value, untouched
 */
export function cmdlineEvent(cmdline: string): MeasuredEvent {
  return loadOptionsEvent(`${cmdline}${INITRD_ARGUMENT}`);
}

/** SHA-384 over UTF-16LE text and a 16-bit zero. */
export function loadOptionsEvent(text: string): MeasuredEvent {
  return measuredEvent(
    'cmdline',
    EV_EVENT_TAG,
    concatBytes(utf16Bytes(text), new Uint8Array(2)),
    `UTF-16 "${text}" and NUL`,
  );
}

/** @param sha384 of the file, where it is known already */
export function initrdEvent(initrd: ByteSource, sha384?: Uint8Array): MeasuredEvent {
  const input = `initrd file, ${initrd.sizeBytes} bytes`;
  return { name: 'initrd', type: EV_EVENT_TAG, digest: sha384 ?? digestSource('sha384', initrd), input };
}
