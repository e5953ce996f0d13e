import { bytesToHex } from '../bytes/hex.ts';
import { jsonText, showText } from '../bytes/text.ts';
import type { TdxRegisters } from '../dstack/measurement-cache.ts';
import { DEFAULT_VARIANT } from '../dstack/ovmf-variant.ts';
import { tdxGuest } from '../dstack/tdx-guest.ts';
import { verifyBundle } from '../dstack/verify.ts';
import { usageError } from '../errors.ts';
import type { TdxMeasurement } from '../tdx/image.ts';
import { eventJson } from '../tdx/register.ts';
import { choiceOption, openBundle } from './bundle-files.ts';
import type { Command, OptionValues } from './command.ts';
import { requireDistinctOutputs, resolvePath, writeFileWhole } from './files.ts';
import { cachedRegisters } from './measurement-cache.ts';
import { flagOption, requiredText, textOption } from './options.ts';
import {
  ACPI_OPTIONS,
  acpiOption,
  bundleTdxImage,
  initrdAhead,
  requireSameImage,
  VARIANT_OPTION,
  variantOf,
  withImageName,
} from './tdx-inputs.ts';
import { SHAPE_OPTIONS, vmConfigOrShape } from './vm-options.ts';

const COMPATS = ['dstack-mr'] as const;

export const command: Command = {
  summary: 'compute the TDX registers of a bundle in a VM, event by event',
  description:
    'Verifies the bundle and prints MRTD and RTMR0 to RTMR2 as a quote of the guest will state them. RTMR3 depends on what ' +
    'runs in the guest: tdx verify replays it from an event log. What cannot be predicted is null, and a note says why.',
  options: [
    { flags: '--bundle <bundle>', description: 'folder or archive of an image', required: true },
    {
      flags: '--vm-config <file>',
      description: 'the VmConfig (JSON) of the VM, instead of the options for its shape',
    },
    { flags: '--cpus <n>', description: 'vCPUs' },
    { flags: '--memory <size>', description: 'bytes, or with K, M, G, T' },
    ...SHAPE_OPTIONS,
    ...ACPI_OPTIONS,
    VARIANT_OPTION,
    {
      flags: '--compat <program>',
      description: 'dstack-mr: assume its constant variable store, whatever the firmware has',
    },
    {
      flags: '--cache <dir>',
      description: 'folder of computed registers, shared between processes; not for --explain',
    },
    { flags: '--output <file>', description: 'gets the registers as JSON instead of standard output' },
    { flags: '--explain <file>', description: 'gets every event, its digest and what went into it, as JSON' },
    {
      flags: '--json',
      description: 'print one JSON object, with events unless they come from a cache; also for errors',
    },
  ],
  async run(_args, options, io) {
    const output = textOption(options, 'output');
    const explain = textOption(options, 'explain');
    requireDistinctOutputs(io, output, explain);
    const cache = cacheOption(options);
    const compat = textOption(options, 'compat');
    if (compat !== undefined) choiceOption(compat, COMPATS, '--compat');
    const assumesEmptyCfv = compat !== undefined;
    const acpi = acpiOption(options, io);
    const stated = vmConfigOrShape(options, io);
    const bundle = await openBundle(resolvePath(io, requiredText(options, 'bundle')));
    const { contents } = bundle;
    const initrd = initrdAhead(contents);
    try {
      const { metadata, osImageHash } = verifyBundle(contents, {
        role: 'verifier',
        computesMaterials: false,
      });
      requireSameImage(stated, osImageHash);
      const config = withImageName(options, stated, contents);
      const { variant, source } = variantOf(options, config, metadata);
      const guest = {
        ...tdxGuest(config, variant ?? DEFAULT_VARIANT, metadata.kernelHeaderNormalized, acpi),
        assumesEmptyCfv,
      };
      let measured: TdxMeasurement | undefined;
      const measure = (): TdxMeasurement =>
        (measured ??= bundleTdxImage(contents, metadata, initrd).measure(guest));
      let registers: ShownRegisters;
      let fromCache = false;
      if (cache === undefined) {
        registers = measure();
      } else {
        const folder = resolvePath(io, cache);
        ({ registers, fromCache } = await cachedRegisters(folder, { ...config, osImageHash }, () =>
          whole(measure()),
        ));
      }
      const document = {
        ok: true,
        osImageHash,
        variant,
        variantSource: source ?? '--ovmf-variant',
        ...(cache === undefined ? {} : { fromCache }),
        registers: registersJson(registers),
        notes: measured?.notes ?? [],
      };
      if (explain !== undefined) {
        const text = jsonText({ ...document, events: eventsJson(measure()) }, 2);
        await writeFileWhole(resolvePath(io, explain), [Buffer.from(`${text}\n`)]);
      }
      if (output !== undefined) {
        const text = jsonText(registersJson(registers), 2);
        await writeFileWhole(resolvePath(io, output), [Buffer.from(`${text}\n`)]);
      }
      if (flagOption(options, 'json')) {
        io.out(
          `${jsonText({ ...document, ...(measured === undefined ? {} : { events: eventsJson(measured) }) })}\n`,
        );
      } else if (output === undefined) {
        for (const [name, value] of Object.entries(registersJson(registers))) {
          io.out(`${name.toUpperCase().padEnd(5)}  ${value ?? 'cannot be precomputed'}\n`);
        }
      }
      if (!flagOption(options, 'json'))
        for (const note of document.notes) io.err(`note: ${showText(note)}\n`);
    } finally {
      await initrd?.thread.stop();
      bundle.close();
    }
    return 0;
  },
};

/** A cached entry is found by the VmConfig alone, so nothing else may have changed what was computed. */
function cacheOption(options: OptionValues): string | undefined {
  const cache = textOption(options, 'cache');
  if (cache === undefined) return undefined;
  const others = ['acpiTables', 'acpiDigests', 'ovmfVariant', 'compat', 'explain'].filter(
    (name) => options[name] !== undefined,
  );
  if (others.length === 0) return cache;
  throw usageError('OPTION_CACHE', 'these options are no part of the key of the cache', {
    facts: [['options', others.join(', ')]],
    mend: 'leave out --cache',
  });
}

/** @throws CvmError usage CACHE_UNKNOWN_REGISTER */
function whole(measured: TdxMeasurement): TdxRegisters {
  const { mrtd, rtmr0, rtmr1, rtmr2, notes } = measured;
  if (rtmr0 !== undefined) return { mrtd, rtmr0, rtmr1, rtmr2 };
  throw usageError('CACHE_UNKNOWN_REGISTER', 'a register that cannot be precomputed cannot be kept', {
    facts: notes.map((note, i) => [`note ${i}`, note] as const),
    mend: 'leave out --cache for this VM',
  });
}

/** RTMR0 may be unknown. */
type ShownRegisters = Pick<TdxMeasurement, 'mrtd' | 'rtmr0' | 'rtmr1' | 'rtmr2'>;

function registersJson(
  registers: ShownRegisters,
): Record<'mrtd' | 'rtmr0' | 'rtmr1' | 'rtmr2', string | null> {
  const hex = (value: Uint8Array | undefined): string | null =>
    value === undefined ? null : bytesToHex(value);
  const { mrtd, rtmr0, rtmr1, rtmr2 } = registers;
  return { mrtd: hex(mrtd), rtmr0: hex(rtmr0), rtmr1: hex(rtmr1), rtmr2: hex(rtmr2) };
}

function eventsJson(measured: TdxMeasurement): unknown {
  const { rtmr0, rtmr1, rtmr2 } = measured.events;
  return { rtmr0: rtmr0.map(eventJson), rtmr1: rtmr1.map(eventJson), rtmr2: rtmr2.map(eventJson) };
}
