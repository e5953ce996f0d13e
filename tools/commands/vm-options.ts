import { DEFAULT_VM_CONFIG, readVmConfig, type VmConfig } from '../dstack/vm-config.ts';
import { JSON_LIMIT_BYTES } from '../dstack/strict-json.ts';
import { usageError } from '../errors.ts';
import { choiceOption, readSmallFile } from './bundle-files.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { resolvePath } from './files.ts';
import { inFile } from './in-file.ts';
import { flagOption, optionFlag, parseDecimal, textOption } from './options.ts';

const SHARE_MODES = ['9p', 'vvfat', 'vhd'] as const;

/** The shape of a VM, as the VMM's own options have it. */
export const SHAPE_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--qemu-version <version>',
    description: 'of the host, X.Y.Z: decides page order, pic and ACPI tables',
  },
  { flags: '--pic <on|off>', description: 'instead of what the QEMU version means' },
  {
    flags: '--two-pass-add-pages <on|off>',
    description: 'qemu_single_pass_add_pages, which means two passes when true',
  },
  { flags: '--pci-hole64-size <size>', description: 'bytes, or with K, M, G, T', defaultValue: '0' },
  { flags: '--hugepages', description: 'memory on huge pages' },
  { flags: '--gpus <n>', description: 'passed-through GPUs', defaultValue: '0' },
  { flags: '--nvswitches <n>', description: 'passed-through NVSwitches', defaultValue: '0' },
  { flags: '--nics <n>', description: 'network interfaces', defaultValue: '1' },
  { flags: '--verity-volumes <n>', description: 'further verity volumes', defaultValue: '0' },
  { flags: '--hotplug-off', description: 'ACPI hotplug is off' },
  { flags: '--share-mode <mode>', description: '9p, vvfat or vhd', defaultValue: '9p', values: SHARE_MODES },
];

const U32_MAX = 2 ** 32 - 1;
const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * A size in bytes: decimal digits, with K, M, G or T for the powers of 1024.
 * @throws CvmError usage OPTION_SIZE
 */
export function parseSize(text: string, flag: string): number {
  const [, digits = '', unit = ''] = /^([0-9]{1,16})([KMGT]?)$/.exec(text) ?? [];
  const value = digits === '' ? Number.NaN : Number(digits) * (UNITS[unit] ?? Number.NaN);
  if (Number.isSafeInteger(value)) return value;
  throw usageError('OPTION_SIZE', `${flag} is not a size`, {
    facts: [['found', text]],
    mend: 'write bytes in decimal, or with K, M, G or T: 2G',
  });
}

/** @throws CvmError usage OPTION_MISSING | OPTION_NUMBER | OPTION_SIZE | OPTION_CHOICE | OPTION_ON_OFF */
export function shapeOptions(
  options: OptionValues,
): Pick<
  VmConfig,
  | 'cpuCount'
  | 'memorySize'
  | 'qemuSinglePassAddPages'
  | 'pic'
  | 'qemuVersion'
  | 'pciHole64Size'
  | 'hugepages'
  | 'numGpus'
  | 'numNvswitches'
  | 'numNics'
  | 'numVerityVolumes'
  | 'hotplugOff'
  | 'hostShareMode'
> {
  const count = (name: string): number =>
    parseDecimal(textOption(options, name) ?? '0', optionFlag(name), 0, U32_MAX);
  const cpus = textOption(options, 'cpus');
  const memory = textOption(options, 'memory');
  if (cpus === undefined || memory === undefined) {
    throw usageError('OPTION_MISSING', `${cpus === undefined ? '--cpus' : '--memory'} is required`, {
      mend: 'give --cpus and --memory, or the VmConfig with --vm-config where the command has that option',
    });
  }
  return {
    cpuCount: parseDecimal(cpus, '--cpus', 1, U32_MAX),
    memorySize: parseSize(memory, '--memory'),
    qemuSinglePassAddPages: onOff(options, 'twoPassAddPages'),
    pic: onOff(options, 'pic'),
    qemuVersion: textOption(options, 'qemuVersion'),
    pciHole64Size: parseSize(textOption(options, 'pciHole64Size') ?? '0', '--pci-hole64-size'),
    hugepages: flagOption(options, 'hugepages'),
    numGpus: count('gpus'),
    numNvswitches: count('nvswitches'),
    numNics: count('nics'),
    numVerityVolumes: count('verityVolumes'),
    hotplugOff: flagOption(options, 'hotplugOff'),
    hostShareMode: choiceOption(textOption(options, 'shareMode') ?? '9p', SHARE_MODES, '--share-mode'),
  };
}

function onOff(options: OptionValues, name: string): boolean | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  if (text === 'on' || text === 'off') return text === 'on';
  throw usageError('OPTION_ON_OFF', `${optionFlag(name)} is neither on nor off`, {
    facts: [['found', text]],
  });
}

/** The VmConfig that `--vm-config` names. */
export function vmConfigOption(options: OptionValues, io: Io): VmConfig | undefined {
  const path = textOption(options, 'vmConfig');
  if (path === undefined) return undefined;
  return inFile(path, () =>
    readVmConfig(readSmallFile(resolvePath(io, path), JSON_LIMIT_BYTES, 'the VmConfig')),
  );
}

/** A VmConfig from `--vm-config`, or else from the options of a shape. @throws CvmError usage OPTION_CONTRADICTION */
export function vmConfigOrShape(options: OptionValues, io: Io): VmConfig {
  const config = vmConfigOption(options, io);
  if (config === undefined) return { ...DEFAULT_VM_CONFIG, ...shapeOptions(options) };
  const given = SHAPE_FLAGS.filter((name) => {
    const value = options[name];
    return value !== undefined && value !== false && value !== SHAPE_DEFAULTS.get(name);
  });
  if (given.length === 0) return config;
  throw usageError('OPTION_CONTRADICTION', 'the VmConfig says what these options say', {
    facts: [['options', given.map(optionFlag).join(', ')]],
    mend: 'give --vm-config alone, or the options alone',
  });
}

const SHAPE_DEFAULTS: ReadonlyMap<string, string | undefined> = new Map(
  SHAPE_OPTIONS.map(({ flags, defaultValue }) => [camelName(flags), defaultValue]),
);
const SHAPE_FLAGS: readonly string[] = ['cpus', 'memory', ...SHAPE_DEFAULTS.keys()];

function camelName(flags: string): string {
  const long = /--([a-z0-9-]+)/.exec(flags)?.[1] ?? '';
  return long.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
