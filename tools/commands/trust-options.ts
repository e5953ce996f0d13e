/** What the commands that judge certificates share: whose word counts, and how reasoning is shown. */
import { showText, utf8Bytes } from '../bytes/text.ts';
import { usageError } from '../errors.ts';
import { isNetworkName, type Trust } from '../nns/networks.ts';
import { readRootKey } from '../nns/root-key.ts';
import type { Stage } from '../nns/stages.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { NETWORK_OPTION, networkOption, readSmallFile } from './guestos-options.ts';
import { textOption } from './options.ts';

/** `--network` or `--root-key`; neither has a default of its own, as one excludes the other. */
export const TRUST_OPTIONS: readonly OptionSpec[] = [
  { flags: NETWORK_OPTION.flags, description: `${NETWORK_OPTION.description} (default: mainnet)` },
  {
    flags: '--root-key <key>',
    description:
      'for inspection: a root key as hex, or a file with it (DER, PEM or hex); no rule accepts the result',
  },
];

/** @throws CvmError usage OPTION_CONFLICT | NETWORK_UNKNOWN, format ROOT_KEY_TEXT | KEY_LENGTH | KEY_PREFIX */
export function trustOption(options: OptionValues, io: Io): Trust {
  const rootKey = textOption(options, 'rootKey');
  if (rootKey === undefined) return { network: networkOption(options) };
  const network = textOption(options, 'network');
  if (network !== undefined) {
    throw usageError('OPTION_CONFLICT', '--network and --root-key exclude each other', {
      facts: [
        ['--network', network],
        ['--root-key', rootKey],
      ],
      mend: 'name the network, or give a key to look with',
    });
  }
  return { network: 'custom', rootKey: rootKeyOption(rootKey, io) };
}

/** A network's name, or a key as in {@link TRUST_OPTIONS}. */
export function trustOf(text: string, io: Io): Trust {
  return isNetworkName(text) ? { network: text } : { network: 'custom', rootKey: rootKeyOption(text, io) };
}

function rootKeyOption(text: string, io: Io): Uint8Array {
  const isHex = /^[0-9a-fA-F]{100,}$/.test(text);
  return readRootKey(isHex ? utf8Bytes(text) : readSmallFile(io, text, 'the root key'));
}

/** The steps of a decision in three columns. Only a step that was taken and held is `ok`. */
export function showStages(stages: readonly Stage[]): string {
  const width = Math.max(0, ...stages.map(({ name }) => name.length));
  const rows = stages.map(({ name, ok, detail }) => {
    const word = ok === null ? 'not proven' : ok ? 'ok' : 'failed';
    return `${word.padEnd('not proven'.length)}  ${name.padEnd(width)}  ${showText(detail)}\n`;
  });
  return rows.join('');
}
