/** docs/cli.md: the commands as their own table tells them, in a frame that people write. */
import type { Command, CommandEntry } from '../../tools/commands/command.ts';
import { EXIT_CODES, type ErrorKind } from '../../tools/errors.ts';
import { fillFrame, paragraph, table, textCell } from './markdown.ts';

const MEANINGS: Readonly<Record<ErrorKind, string>> = {
  bug: 'our bug: a state that the code itself should have made impossible',
  usage: 'the call is wrong: an unknown flag, a missing file, a value out of its range',
  format: 'the bytes are malformed',
  trust: 'the bytes are well formed and must not be believed',
  mismatch: 'two values that have to agree do not',
  network: 'the network failed (only the commands that download or publish)',
};

/** Who has exit codes of its own. Every command whose `exitCode` is set belongs to one of these. */
export const PEERS: readonly { peer: string; commands: RegExp; codes: string }[] = [
  {
    peer: 'sev-snp-measure',
    commands: /^snp measure$/,
    codes: '0 good, 1 the files cannot be measured, 2 the call is wrong',
  },
  {
    peer: 'snp-create-id-block',
    commands: /^snp id-block create$/,
    codes: '0 good, 1 any other error, 2 the call is wrong',
  },
  {
    peer: 'igvmmeasure',
    commands: /^igvm (measure|sign)$/,
    codes: '0 good, 1 any other error, 2 the call is wrong',
  },
  {
    peer: 'vmgstool',
    commands: /^vmgs /,
    codes:
      '0 good, 1 any other error, 3 the store is empty, 4 no such file id, 5 version 1, 64 the call is wrong; `query-encryption` answers with 0 GspKey, 2 not encrypted, 6 GspById, 7 an unknown scheme',
  },
];

/**
 * The reference of all commands, as Markdown.
 * @param frame what people write; comments such as `<!-- commands -->` say where the rest goes
 */
export async function cliDocs(entries: readonly CommandEntry[], frame: string): Promise<string> {
  const commands: { name: string; entry: CommandEntry; command: Command }[] = [];
  for (const entry of entries)
    commands.push({ name: nameOf(entry), entry, command: (await entry.load()).command });
  for (const { name, command } of commands) {
    const peers = PEERS.filter((peer) => peer.commands.test(name));
    if (command.exitCode !== undefined && peers.length !== 1)
      throw new Error(`${name} has exit codes of its own: say in PEERS whose they are`);
  }
  return fillFrame(frame, {
    'exit codes': table(
      ['code', 'meaning'],
      [
        ['0', 'good'],
        ...Object.entries(EXIT_CODES).map(([kind, code]) => [String(code), MEANINGS[kind as ErrorKind]]),
      ],
    ),
    peers: table(
      ['command', 'stands in for', 'codes'],
      PEERS.map(({ peer, commands: mine, codes }) => [
        namesOf(commands.map(({ name }) => name).filter((name) => mine.test(name))),
        peer,
        codes,
      ]),
    ),
    overview: table(
      ['command', 'what it does'],
      commands.map(({ name, entry }) => [`[${name}](#${anchor(`cvm ${name}`)})`, textCell(entry.summary)]),
    ),
    commands: commands.map(({ entry, command }) => commandDocs(entry, command)).join('\n'),
  });
}

const nameOf = ({ noun, verb }: CommandEntry): string => `${noun} ${verb}`;

/** What the reference calls several commands: their noun and one `…` when they are many. */
function namesOf(names: readonly string[]): string {
  if (names.length <= 3) return names.map((name) => `\`${name}\``).join(', ');
  return `\`${names[0]?.split(' ')[0] ?? ''} …\` (all ${names.length})`;
}

/** The id that Markdown viewers give a heading of lower-case words. */
const anchor = (heading: string): string => heading.replaceAll(' ', '-');

function commandDocs({ noun, verb, summary }: CommandEntry, command: Command): string {
  const words = (command.arguments ?? []).map(({ name }) => ` ${name}`).join('');
  let text = `### cvm ${noun} ${verb}\n\n\`cvm ${noun} ${verb}${words}\`: ${summary}.\n`;
  if (command.description !== undefined) text += `\n${paragraph(command.description)}\n`;
  const rows = [
    ...(command.arguments ?? []).map(({ name, description }) => [name, description] as const),
    ...(command.options ?? []).map(({ flags, description, required, repeatable, defaultValue }) => {
      const notes = [
        ...(required === true ? ['required'] : []),
        ...(repeatable === true ? ['may be repeated'] : []),
        ...(defaultValue === undefined || defaultValue === '' ? [] : [`default ${defaultValue}`]),
      ];
      return [flags, notes.length === 0 ? description : `${description} (${notes.join(', ')})`] as const;
    }),
  ];
  if (rows.length > 0) {
    const cells = rows.map(([name, meaning]) => [`\`${name.replaceAll('|', '\\|')}\``, textCell(meaning)]);
    text += `\n${table(['argument', 'meaning'], cells)}`;
  }
  return text;
}
