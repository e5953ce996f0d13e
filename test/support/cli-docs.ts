import type { Command, CommandEntry } from '../../tools/commands/command.ts';
import { EXIT_CODES, type ErrorKind } from '../../tools/errors.ts';

const MEANINGS: Readonly<Record<ErrorKind, string>> = {
  bug: 'our bug: a state that the code itself should have made impossible',
  usage: 'the call is wrong: an unknown flag, a missing file, a value out of its range',
  format: 'the bytes are malformed',
  trust: 'the bytes are well formed and must not be believed',
  mismatch: 'two values that have to agree do not',
  network: 'the network failed (only commands that download or publish)',
};

const HEAD = `# cvm

Made from the commands themselves; a test compares. To write it anew:
\`CVM_UPDATE_DOCS=1 node_modules/.bin/vitest run test/unit/cli/docs.test.ts\`

\`cvm <noun> <verb> …\`. Relative paths start at the folder the command was called in, also under \`bazel run\`. Every
command has \`--help\`. An output file appears whole or not at all.

## Exit codes
`;

const PEERS = `
A command that stands in for another tool uses that tool's exit codes: \`snp measure\` ends with 0, 1 or 2 as
sev-snp-measure does; the \`vmgs\` commands with vmgstool's 0 to 7, and with 64 for a wrong call. With \`--json\` an error is one object on standard output that carries the house's code, kind and
exit code.

## Commands
`;

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

/** The reference of all commands, as Markdown. */
export async function cliDocs(table: readonly CommandEntry[]): Promise<string> {
  let text = `${HEAD}\n| code | meaning |\n| --- | --- |\n| 0 | good |\n`;
  for (const [kind, code] of Object.entries(EXIT_CODES))
    text += `| ${code} | ${MEANINGS[kind as ErrorKind]} |\n`;
  text += PEERS;
  for (const entry of table) text += `\n${commandDocs(entry, (await entry.load()).command)}`;
  return text;
}

function commandDocs({ noun, verb, summary }: CommandEntry, command: Command): string {
  const words = (command.arguments ?? []).map(({ name }) => ` ${name}`).join('');
  let text = `### cvm ${noun} ${verb}\n\n\`cvm ${noun} ${verb}${words}\`: ${summary}.\n`;
  if (command.description !== undefined) text += `\n${cell(command.description)}\n`;
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
    text += '\n| argument | meaning |\n| --- | --- |\n';
    for (const [name, meaning] of rows) text += `| \`${name.replaceAll('|', '\\|')}\` | ${cell(meaning)} |\n`;
  }
  return text;
}
