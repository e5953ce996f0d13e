import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { jsonText, showText, utf8FromBytes } from '../bytes/text.ts';
import { EVENT_LOG_LIMIT_BYTES, readEventLog, type EventLog } from '../dstack/event-log.ts';
import { DEFAULT_VARIANT, type OvmfVariant } from '../dstack/ovmf-variant.ts';
import { parseJsonObject } from '../dstack/strict-json.ts';
import { likelyCauses, REGISTER_HINTS } from '../dstack/tdx-causes.ts';
import { tdxGuest } from '../dstack/tdx-guest.ts';
import { openLite } from '../dstack/tdx-lite.ts';
import { readVmConfig, type VmConfig } from '../dstack/vm-config.ts';
import { verifyBundle } from '../dstack/verify.ts';
import { formatError, mismatchError, trustError, usageError, type Fact } from '../errors.ts';
import { compareEvents, compareRegisters, mismatchText, type EventDifference } from '../tdx/compare.ts';
import { prepareTdxImage, type TdxArtifacts, type TdxImage, type TdxMeasurement } from '../tdx/image.ts';
import { beginsLikeQuote, QUOTE_LIMIT_BYTES, readQuote, type TdxQuote } from '../tdx/quote.ts';
import { replay } from '../tdx/register.ts';
import { replayRuntime } from '../tdx/runtime-events.ts';
import { openBundle, readSmallFile } from './bundle-files.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { resolvePath } from './files.ts';
import { inFile } from './in-file.ts';
import { flagOption, requiredText, textOption } from './options.ts';
import {
  ACPI_OPTIONS,
  acpiOption,
  requireSameImage,
  tdxArtifacts,
  VARIANT_OPTION,
  variantOf,
} from './tdx-inputs.ts';
import { vmConfigOption } from './vm-options.ts';

const SIGNATURE_NOTE =
  "the quote's signature chain (PCK) is not checked: do that before you believe the quote";

export const command: Command = {
  summary: 'compare the registers of a TDX quote with those of a bundle, and explain a mismatch',
  description:
    'Verifies the bundle, computes the registers of the VM and compares them in the order and the words of dstack’s ' +
    'verifier. Of a mismatch it says which event differs first (with an event log) and tries the usual causes in turn. ' +
    'RTMR3 is replayed from the event log. The signature chain of the quote (PCK) is out of scope, and the output says so.',
  options: [
    {
      flags: '--quote <file>',
      description: 'the quote, version 4 or 5: bytes, hex, or JSON with quote, event_log and vm_config',
      required: true,
    },
    {
      flags: '--bundle <bundle>',
      description:
        'folder or archive of the image; without it, the VmConfig’s tdx_measurement is taken (lite)',
    },
    { flags: '--vm-config <file>', description: 'the VmConfig (JSON); may come with the quote' },
    { flags: '--event-log <file>', description: 'dstack’s event log (JSON); may come with the quote' },
    ...ACPI_OPTIONS,
    VARIANT_OPTION,
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],
  async run(_args, options, io) {
    const input = readInput(options, io);
    const acpi = acpiOption(options, io);
    const { quote, config, log } = input;
    const subject = await openSubject(options, io, config);
    try {
      const { image, artifacts, osImageHash, variant, kernelHeaderNormalized } = subject;
      const measured = image.measure(tdxGuest(config, variant, kernelHeaderNormalized, acpi));
      if (log !== undefined) checkLog(log, quote);
      const results = compareRegisters(measured, quote);
      const first = results.find(({ status }) => status === 'mismatch');
      if (first !== undefined) {
        const wrong = results.filter(({ status }) => status === 'mismatch').map(({ register }) => register);
        const causes = likelyCauses({ image, artifacts, quote, config, variant, kernelHeaderNormalized });
        throw mismatchError('TDX_REGISTERS', `MRs do not match: ${mismatchText(first)}`, {
          facts: [
            ...results.map(({ register, status }) => [register.toUpperCase(), status] as const),
            ...eventFacts(measured, log),
            ...wrong.map(
              (register) => [`${register.toUpperCase()} depends on`, REGISTER_HINTS[register]] as const,
            ),
            ...causes.slice(1).map(({ text }, i) => [`cause ${i + 2}`, text] as const),
            ['note', SIGNATURE_NOTE],
          ],
          nearest: causes[0]?.text ?? 'none of the usual causes explains it',
          mend: 'correct the VmConfig where a cause is named; else the guest does not run this image in this VM',
        });
      }
      const unknown = results.filter(({ status }) => status === 'unpredictable');
      if (unknown.length > 0) {
        throw trustError(
          'TDX_UNPREDICTABLE',
          `${unknown.map(({ register }) => register.toUpperCase()).join(', ')} cannot be precomputed for this VM, so it was not checked`,
          {
            facts: [
              ...results.map(({ register, status }) => [register.toUpperCase(), status] as const),
              ...eventFacts(measured, log),
              ...measured.notes.map((note) => ['note', note] as const),
              ['note', SIGNATURE_NOTE],
            ],
            mend: 'this is no sign of tampering: give the ACPI digests of a log that you trust, or use a VM that can be predicted',
          },
        );
      }
      const notes = [
        SIGNATURE_NOTE,
        ...(log === undefined ? ['RTMR3 is not checked: it takes an event log'] : []),
        ...(quote.signatureBytes === 0 ? ['the quote carries no signature'] : []),
        ...(quote.isDebug ? ['the guest is a debug TD: the host can read and change its memory'] : []),
        ...measured.notes,
      ];
      io.out(
        flagOption(options, 'json') ? json(osImageHash, variant, quote, log, notes) : text(quote, log, notes),
      );
    } finally {
      subject.close();
    }
    return 0;
  },
};

/** What the quote is compared with. */
interface Subject {
  readonly image: TdxImage;
  readonly artifacts: TdxArtifacts | undefined;
  readonly osImageHash: string;
  readonly variant: OvmfVariant;
  readonly kernelHeaderNormalized: boolean;
  close(): void;
}

/** A bundle, or without one the document that came with the VmConfig. */
async function openSubject(options: OptionValues, io: Io, config: VmConfig): Promise<Subject> {
  const path = textOption(options, 'bundle');
  if (path === undefined) {
    if (textOption(options, 'ovmfVariant') !== undefined) {
      throw usageError('OPTION_CONTRADICTION', '--ovmf-variant has no meaning without --bundle', {
        mend: 'measurement.tdx.cbor states the variant',
      });
    }
    const lite = openLite(config);
    return { ...lite, artifacts: undefined, kernelHeaderNormalized: false, close: () => undefined };
  }
  const bundle = await openBundle(resolvePath(io, path));
  try {
    const { contents } = bundle;
    const { metadata, osImageHash } = verifyBundle(contents, { role: 'verifier', computesMaterials: false });
    requireSameImage(config, osImageHash);
    const variant = variantOf(options, config, metadata).variant ?? DEFAULT_VARIANT;
    const artifacts = tdxArtifacts(contents, metadata);
    const image = prepareTdxImage(artifacts);
    const { kernelHeaderNormalized } = metadata;
    return { image, artifacts, osImageHash, variant, kernelHeaderNormalized, close: () => bundle.close() };
  } catch (error) {
    bundle.close();
    throw error;
  }
}

interface Input {
  readonly quote: TdxQuote;
  readonly config: VmConfig;
  readonly log: EventLog | undefined;
}

const DOCUMENT_LIMIT_BYTES = QUOTE_LIMIT_BYTES + EVENT_LOG_LIMIT_BYTES;

/** What is given as a file of its own beats what came with the quote. */
function readInput(options: OptionValues, io: Io): Input {
  const path = requiredText(options, 'quote');
  const document = inFile(path, () =>
    quoteDocument(readSmallFile(resolvePath(io, path), DOCUMENT_LIMIT_BYTES, 'the quote')),
  );
  const logPath = textOption(options, 'eventLog');
  const logBytes =
    logPath === undefined
      ? document.eventLog
      : readSmallFile(resolvePath(io, logPath), EVENT_LOG_LIMIT_BYTES, 'the event log');
  const config =
    vmConfigOption(options, io) ??
    inFile(path, () => (document.vmConfig === undefined ? undefined : readVmConfig(document.vmConfig)));
  if (config === undefined) {
    throw usageError('OPTION_MISSING', '--vm-config is required: the quote comes without one', {
      mend: 'give the VmConfig that the VMM persisted',
    });
  }
  return {
    quote: inFile(path, () => readQuote(document.quote)),
    config,
    log: inFile(logPath ?? path, () => (logBytes === undefined ? undefined : readEventLog(logBytes))),
  };
}

interface QuoteDocument {
  readonly quote: Uint8Array;
  readonly eventLog: Uint8Array | undefined;
  readonly vmConfig: Uint8Array | undefined;
}

/** Bytes, hex text, or the JSON that a guest answers. @throws CvmError format QUOTE_DOCUMENT, HEX_*, JSON_* */
function quoteDocument(bytes: Uint8Array): QuoteDocument {
  const first = bytes.find((byte) => byte > 0x20);
  if (beginsLikeQuote(bytes)) return { quote: bytes, eventLog: undefined, vmConfig: undefined };
  if (first !== 0x7b) {
    // A quote of another version is no hex either: let the reader of quotes say so.
    const isText = bytes.every((byte) => byte === 0x0a || byte === 0x0d || (byte >= 0x20 && byte < 0x7f));
    const quote = isText ? hexToBytes(utf8FromBytes(bytes, 'the quote').trim(), 'the quote') : bytes;
    return { quote, eventLog: undefined, vmConfig: undefined };
  }
  const object = parseJsonObject(bytes, 'the quote');
  const { quote } = object;
  if (typeof quote !== 'string') {
    throw formatError('QUOTE_DOCUMENT', 'the JSON has no quote in hex', {
      facts: [['keys', Object.keys(object).join(', ')]],
      mend: 'give what the guest answered: { "quote": hex, "event_log": … }',
    });
  }
  /** Text of JSON, or the JSON itself. */
  const part = (key: string): Uint8Array | undefined => {
    const value = object[key];
    if (value === undefined || value === null || value === '') return undefined;
    return new Uint8Array(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  };
  return { quote: hexToBytes(quote, 'the quote'), eventLog: part('event_log'), vmConfig: part('vm_config') };
}

/** A log explains a quote only if it replays to its registers. @throws CvmError mismatch EVENT_LOG_REPLAY | RUNTIME_EVENT_DIGEST */
function checkLog(log: EventLog, quote: TdxQuote): void {
  const replayed = [
    ...log.firmware.map((events) => replay(events.map(({ digest }) => digest))),
    replayRuntime(log.runtime),
  ];
  for (const [index, actual] of [quote.rtmr0, quote.rtmr1, quote.rtmr2, quote.rtmr3].entries()) {
    const found = replayed[index];
    if (found !== undefined && equalBytes(found, actual)) continue;
    throw mismatchError('EVENT_LOG_REPLAY', `Event log verification failed: RTMR${index} mismatch`, {
      facts: [
        ['replayed', found === undefined ? 'nothing' : bytesToHex(found)],
        ['quote', bytesToHex(actual)],
      ],
      mend: 'the log is of another boot or was changed: give the one that came with the quote',
    });
  }
}

function eventFacts(measured: TdxMeasurement, log: EventLog | undefined): Fact[] {
  if (log === undefined) return [['events', 'give the event log to see which event differs']];
  const { rtmr0, rtmr1, rtmr2 } = measured.events;
  return [rtmr0, rtmr1, rtmr2].flatMap((predicted, register) => {
    const differing = compareEvents(predicted, log.firmware[register as 0 | 1 | 2]).filter(
      ({ status }) => status !== 'match',
    );
    const [first, ...others] = differing;
    if (first === undefined) return [];
    const more =
      others.length === 0
        ? ''
        : `; then ${others.map(({ name, status }) => `${name} (${status})`).join(', ')}`;
    return [[`RTMR${register} first differs at`, `${shownEvent(first)}${more}`] as const];
  });
}

function shownEvent({ index, name, status, expected, actual, input }: EventDifference): string {
  const digests = [
    ...(expected === undefined ? [] : [`expected=${bytesToHex(expected)}`]),
    ...(actual === undefined ? [] : [`actual=${bytesToHex(actual)}`]),
  ];
  return [`event ${index}, ${name} (${status})`, ...digests, ...(input === undefined ? [] : [input])].join(
    ', ',
  );
}

function json(
  osImageHash: string,
  variant: string,
  quote: TdxQuote,
  log: EventLog | undefined,
  notes: readonly string[],
): string {
  const registers = Object.fromEntries(
    (['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const).map((name) => [name, bytesToHex(quote[name])]),
  );
  return `${jsonText({ ok: true, osImageHash, variant, quoteVersion: quote.version, report: quote.report, registers, rtmr3Checked: log !== undefined, signatureChecked: false, notes })}\n`;
}

function text(quote: TdxQuote, log: EventLog | undefined, notes: readonly string[]): string {
  const lines = [
    'ok: MRTD, RTMR0, RTMR1 and RTMR2 match',
    ...(log === undefined ? [] : [`RTMR3 is what ${log.runtime.length} runtime events replay to`]),
    `report data ${bytesToHex(quote.reportData)}`,
    ...notes.map((note) => `note: ${note}`),
  ];
  return `${lines.map(showText).join('\n')}\n`;
}
