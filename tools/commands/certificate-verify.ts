import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { jsonText, showText, utf8FromBytes } from '../bytes/text.ts';
import { CvmError, usageError } from '../errors.ts';
import { verifyCertificate } from '../nns/certificate.ts';
import type { VerifiedCertificate } from '../nns/certificate.ts';
import { certifiedPaths, lookup, parseLabel, showLabel } from '../nns/hash-tree.ts';
import type { LookupResult } from '../nns/hash-tree.ts';
import { rootKeyOf } from '../nns/networks.ts';
import { principalFromText, principalToText } from '../nns/principal.ts';
import { StageLog } from '../nns/stages.ts';
import { isoTime } from '../proposal/facts.ts';
import { errorObject, showError } from '../show-error.ts';
import type { Command } from './command.ts';
import { readSmallFile } from './guestos-options.ts';
import { flagOption, requiredText, textOption, textsOption } from './options.ts';
import { showStages, trustOf } from './trust-options.ts';

/** Values up to this length are shown whole; of longer ones length and sha256. JSON has them all. */
const SHOWN_BYTES = 64;

export const command: Command = {
  summary: 'verify a certificate of the Internet Computer and show what it proves',
  description:
    'Decides offline, from bytes alone, whether the holder of the root key certified this state for this canister, and tells ' +
    'every step of the reasoning up to the first that fails. No clock is asked. A path is written label/label; a label that ' +
    'is no text is 0x and hex. Exit codes: 3 the file is malformed, 4 it is not to be believed.',
  arguments: [{ name: '<certificate>', description: 'certificate, CBOR with or without tag 55799' }],
  options: [
    {
      flags: '--canister-id <id>',
      description: 'canister whose state it is to speak for',
      required: true,
    },
    {
      flags: '--root-key <key>',
      description: 'whose word counts: mainnet, dev, a key as hex, or a file with it (PEM, DER or hex)',
      defaultValue: 'mainnet',
    },
    {
      flags: '--path <path>',
      description: 'show this path alone: found, absent, unknown or error; may be repeated',
      repeatable: true,
    },
    { flags: '--json', description: 'print the decision as JSON, also when it is no' },
  ],
  run(args, options, io) {
    const [file] = args;
    if (file === undefined) {
      throw usageError('ARGUMENT_MISSING', 'no certificate was named', {
        facts: [['expected', '<certificate>']],
        mend: 'give the path of its file',
      });
    }
    const canisterId = principalFromText(requiredText(options, 'canisterId'));
    const rootKey = rootKeyOf(trustOf(textOption(options, 'rootKey') ?? 'mainnet', io));
    const asked = textsOption(options, 'path').map(parsePath);
    const certificate = readSmallFile(io, file, 'the certificate');
    const isJson = flagOption(options, 'json');
    const log = new StageLog();
    let verified: VerifiedCertificate;
    try {
      verified = verifyCertificate({ certificate, rootKey, canisterId, log });
    } catch (error) {
      if (!(error instanceof CvmError) || error.kind === 'bug') throw error;
      // Nothing that the certificate says is repeated: none of it is proven.
      const nothing = { rootHash: null, time: null, delegation: null, paths: [] };
      if (isJson) {
        io.out(`${jsonText({ ok: false, ...nothing, stages: log.stages, error: errorObject(error) }, 2)}\n`);
      } else {
        io.out(showStages(log.stages));
      }
      io.err(showError(error));
      return error.exitCode;
    }
    const paths = asked.length === 0 ? allPaths(verified) : asked.map((path) => askPath(verified, path));
    io.out(isJson ? decisionJson(verified, paths, log) : showDecision(verified, paths, log));
    return 0;
  },
};

/** @throws CvmError usage CERT_PATH, format HEX_INVALID */
function parsePath(text: string): Uint8Array[] {
  const plain = text.replace(/^\//, '');
  if (plain === '') return [];
  const labels = plain.split('/');
  if (labels.includes('')) {
    throw usageError('CERT_PATH', 'a path has a label of no characters', {
      facts: [['found', text]],
      mend: 'write label/label; an empty label is 0x',
    });
  }
  return labels.map(parseLabel);
}

interface PathAnswer {
  readonly labels: readonly Uint8Array[];
  readonly result: LookupResult;
}

function allPaths({ tree }: VerifiedCertificate): PathAnswer[] {
  return certifiedPaths(tree).map(({ path, value }) => ({
    labels: path,
    result: { status: 'found', value },
  }));
}

function askPath({ tree }: VerifiedCertificate, labels: readonly Uint8Array[]): PathAnswer {
  return { labels, result: lookup(labels, tree) };
}

const showPath = (labels: readonly Uint8Array[]): string => labels.map(showLabel).join('/');

function decisionJson(verified: VerifiedCertificate, paths: readonly PathAnswer[], log: StageLog): string {
  const { delegation } = verified;
  return `${jsonText(
    {
      ok: true,
      rootHash: bytesToHex(verified.rootHash),
      time: isoTime(verified.timeNs),
      delegation:
        delegation === null
          ? null
          : {
              subnetId: principalToText(delegation.subnetId),
              form: delegation.ranges.form,
              ranges: delegation.ranges.ranges.map(({ start, end }) => [
                principalToText(start),
                principalToText(end),
              ]),
            },
      paths: paths.map(({ labels, result }) => ({
        path: showPath(labels),
        status: result.status,
        ...(result.status === 'found'
          ? { bytes: result.value.length, hex: bytesToHex(result.value), text: textOf(result.value) }
          : {}),
      })),
      stages: log.stages,
    },
    2,
  )}\n`;
}

/** The value as text where it is some: valid UTF-8 that shows something. */
function textOf(value: Uint8Array): string | null {
  try {
    const text = utf8FromBytes(value);
    return /[\p{L}\p{N}\p{P}\p{S}]/u.test(text) && !/\p{Cc}/u.test(text) ? text : null;
  } catch {
    return null;
  }
}

function showDecision(verified: VerifiedCertificate, paths: readonly PathAnswer[], log: StageLog): string {
  const { delegation } = verified;
  const rows: (readonly [string, string])[] = [
    ['root hash', bytesToHex(verified.rootHash)],
    ['time', isoTime(verified.timeNs)],
    ['delegation', delegation === null ? 'none' : `subnet ${principalToText(delegation.subnetId)}`],
    ...(delegation?.ranges.ranges ?? []).map(
      ({ start, end }) =>
        [
          `  ${delegation?.ranges.form} range`,
          `${principalToText(start)} to ${principalToText(end)}`,
        ] as const,
    ),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const head = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
  return `${showStages(log.stages)}\n${head}\n${showTree(paths)}`;
}

/** Labels once, indented by depth; what was found behind the last one. */
function showTree(paths: readonly PathAnswer[]): string {
  let text = '';
  let above: readonly string[] = [];
  for (const { labels, result } of paths) {
    const names = labels.map(showLabel);
    let depth = 0;
    while (depth < names.length - 1 && names[depth] === above[depth]) depth++;
    for (; depth < names.length - 1; depth++) text += `${'  '.repeat(depth)}${names[depth] as string}\n`;
    const indent = '  '.repeat(Math.max(0, names.length - 1));
    const answer = result.status === 'found' ? showValue(result.value) : result.status;
    text += `${indent}${names.at(-1) ?? '(root)'}: ${answer}\n`;
    above = names;
  }
  return text;
}

function showValue(value: Uint8Array): string {
  if (value.length > SHOWN_BYTES) {
    return `${value.length} bytes, sha256 ${bytesToHex(digestBytes('sha256', value))} (whole with --json)`;
  }
  const text = textOf(value);
  return text === null ? `0x${bytesToHex(value)}` : `"${showText(text)}"`;
}
