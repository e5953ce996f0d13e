import { concatBytes } from '../bytes/compare.ts';
import { digestBytes, digestSource } from '../bytes/digest.ts';
import { guidToBytes } from '../bytes/guid.ts';
import { hexToBytes } from '../bytes/hex.ts';
import { writeU16, writeU32 } from '../bytes/little-endian.ts';
import { sliceSource, type ByteSource } from '../bytes/source.ts';
import { rawToBytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { utf16Bytes } from './kernel-events.ts';
import { measuredEvent, type MeasuredEvent, type PredictedEvent } from './register.ts';
import type { TdvfSection } from './tdvf.ts';

/** How many events edk2 logs into RTMR0: up to stable202502, and from stable202505 on. */
export type EventLayout = 13 | 17;

/** TCG event types of the firmware's register. */
const EV_SEPARATOR = 0x4;
const EV_PLATFORM_CONFIG_FLAGS = 0xa;
const EV_EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001;
const EV_EFI_VARIABLE_BOOT = 0x8000_0002;
const EV_EFI_HANDOFF_TABLES = 0x8000_0009;
const EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000a;
const EV_EFI_HANDOFF_TABLES2 = 0x8000_000b;

const GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
const IMAGE_SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';

/** The firmware volume of edk2's OvmfPkg and its boot applications. */
const BOOT_VOLUME = '7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1';
const UI_APP = '462caa21-7614-4503-836e-8ab6f4662331';
const BOOT_MENU_APP = 'eec25bdc-67f2-4d95-b1d5-f81b2039d11d';

const ACTIVE_APPLICATION = 0x101;
const ACTIVE_HIDDEN_APPLICATION = 0x109;

/** QEMU's filtered SMBIOS tables of a 2 GiB guest, as captured there: no other size has them. */
const SMBIOS_SHA384 =
  'fb66919801f1dfc9c4c273b6a739380790cb0fd3cb706a42f6ac050510ebc8618e7fba53a1564522f5c6f0dc9e1f41a6';
export const SMBIOS_MEMORY_BYTES = 2 ** 31;

/** Digests of the three ACPI blobs, in the order in which the firmware logs them. */
export interface AcpiDigests {
  readonly loader: Uint8Array;
  readonly rsdp: Uint8Array;
  readonly tables: Uint8Array;
}

export interface FirmwareInput {
  readonly layout: EventLayout;
  /** See `tdHob`. */
  readonly tdHob: Uint8Array;
  readonly cfvDigest: Uint8Array;
  /** undefined when they cannot be predicted. */
  readonly acpi: AcpiDigests | undefined;
  readonly memoryBytes: number;
}

/**
 * SHA-384 of the variable store in the firmware: what it logs before it reads a variable.
 * @throws CvmError format TDVF_NO_CFV
 */
export function cfvDigest(firmware: ByteSource, sections: readonly TdvfSection[]): Uint8Array {
  const found = sections.filter(({ type }) => type === 'CFV');
  const [cfv] = found;
  if (cfv !== undefined && found.length === 1) {
    return digestSource('sha384', sliceSource(firmware, cfv.dataOffset, cfv.rawBytes));
  }
  throw formatError('TDVF_NO_CFV', 'the firmware does not have exactly one CFV section', {
    facts: [['CFV sections', found.length]],
    mend: 'use an unmodified TDX firmware',
  });
}

/** The variable store of every dstack image: no keys enrolled, no Secure Boot. Debian's OVMF_VARS_4M.fd. */
export const EMPTY_CFV_SHA384 =
  '344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790';

/**
 * The events of RTMR0, in the order of the log. Source: edk2 OvmfPkg/Library/TdxHelperLib, MdeModulePkg/Bds; layouts as
 * observed on guests of dstack.
 */
export function firmwareEvents(input: FirmwareInput): PredictedEvent[] {
  const { layout } = input;
  const bootZero = measuredEvent('boot_order', EV_EFI_VARIABLE_BOOT, new Uint8Array(2), 'BootOrder 0000');
  return [
    measuredEvent('td_hob', EV_EFI_HANDOFF_TABLES2, input.tdHob, `TD HOB list, ${input.tdHob.length} bytes`),
    {
      name: 'cfv_image',
      type: EV_EFI_PLATFORM_FIRMWARE_BLOB2,
      digest: input.cfvDigest,
      input: 'CFV section of the firmware',
    },
    ...(layout === 17 ? fwCfgEvents() : []),
    variable('efi:SecureBoot', GLOBAL_VARIABLE, 'SecureBoot'),
    variable('efi:PK', GLOBAL_VARIABLE, 'PK'),
    variable('efi:KEK', GLOBAL_VARIABLE, 'KEK'),
    variable('efi:db', IMAGE_SECURITY_DATABASE, 'db'),
    variable('efi:dbx', IMAGE_SECURITY_DATABASE, 'dbx'),
    measuredEvent('separator', EV_SEPARATOR, new Uint8Array(4), '4 zero bytes'),
    ...acpiEvents(input.acpi),
    ...(layout === 13
      ? [bootZero, bootOption('Boot0000', ACTIVE_HIDDEN_APPLICATION, 'UiApp', UI_APP)]
      : [
          smbiosEvent(input.memoryBytes),
          measuredEvent('boot_order', EV_EFI_VARIABLE_BOOT, Uint8Array.of(0, 0, 1, 0), 'BootOrder 0000 0001'),
          bootOption('Boot0000', ACTIVE_HIDDEN_APPLICATION, 'BootManagerMenuApp', BOOT_MENU_APP),
          bootOption('Boot0001', ACTIVE_APPLICATION, 'EFI Firmware Setup', UI_APP),
        ]),
  ];
}

/** What the newer firmware reads of QEMU's configuration, and logs. */
function fwCfgEvents(): MeasuredEvent[] {
  const order = '/rom@genroms/linuxboot_dma.bin';
  return [
    measuredEvent('fw_cfg:BootMenu', EV_PLATFORM_CONFIG_FLAGS, new Uint8Array(2), 'BootMenu 0000'),
    measuredEvent(
      'fw_cfg:bootorder',
      EV_PLATFORM_CONFIG_FLAGS,
      rawToBytes(`${order}\0`),
      `"${order}" and NUL`,
    ),
  ];
}

function acpiEvents(acpi: AcpiDigests | undefined): PredictedEvent[] {
  const event = (name: string, digest: Uint8Array | undefined, input: string): PredictedEvent =>
    digest === undefined
      ? { name, type: EV_PLATFORM_CONFIG_FLAGS, digest, input: `${input}: cannot be generated for this VM` }
      : { name, type: EV_PLATFORM_CONFIG_FLAGS, digest, input };
  return [
    event('acpi_loader', acpi?.loader, 'etc/table-loader'),
    event('acpi_rsdp', acpi?.rsdp, 'etc/acpi/rsdp'),
    event('acpi_tables', acpi?.tables, 'etc/acpi/tables'),
  ];
}

function smbiosEvent(memoryBytes: number): PredictedEvent {
  const common = { name: 'smbios', type: EV_EFI_HANDOFF_TABLES } as const;
  if (memoryBytes === SMBIOS_MEMORY_BYTES) {
    return {
      ...common,
      digest: hexToBytes(SMBIOS_SHA384),
      input: 'SMBIOS tables as captured on a 2 GiB guest',
    };
  }
  return { ...common, digest: undefined, input: 'SMBIOS tables: known for 2 GiB alone' };
}

/** UEFI_VARIABLE_DATA of a variable that is empty: GUID, u64 units of the name, u64 0, name in UTF-16. */
function variable(label: string, vendor: string, name: string): MeasuredEvent {
  const lengths = new Uint8Array(16);
  writeU32(lengths, 0, name.length);
  const data = concatBytes(guidToBytes(vendor), lengths, utf16Bytes(name));
  return measuredEvent(label, EV_EFI_VARIABLE_DRIVER_CONFIG, data, `variable ${name}, empty`);
}

/** EFI_LOAD_OPTION: u32 attributes, u16 length of the path, text in UTF-16 with its end, device path. */
function bootOption(label: string, attributes: number, description: string, file: string): MeasuredEvent {
  const node = (type: number, guid: string): Uint8Array =>
    concatBytes(Uint8Array.of(4, type, 0x14, 0), guidToBytes(guid));
  const path = concatBytes(node(7, BOOT_VOLUME), node(6, file), Uint8Array.of(0x7f, 0xff, 4, 0));
  const head = new Uint8Array(6);
  writeU32(head, 0, attributes);
  writeU16(head, 4, path.length);
  const data = concatBytes(head, utf16Bytes(description), new Uint8Array(2), path);
  return measuredEvent(label, EV_EFI_VARIABLE_BOOT, data, `load option "${description}"`);
}

/** Digests of blobs at hand. */
export function acpiDigests(blobs: {
  readonly loader: Uint8Array;
  readonly rsdp: Uint8Array;
  readonly tables: Uint8Array;
}): AcpiDigests {
  return {
    loader: digestBytes('sha384', blobs.loader),
    rsdp: digestBytes('sha384', blobs.rsdp),
    tables: digestBytes('sha384', blobs.tables),
  };
}
