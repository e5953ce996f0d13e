import { Command as Commander } from 'commander';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Command, OptionValues } from '../../../tools/commands/command.ts';
import { plainCall } from '../../../tools/commands/plain-words.ts';
import { COMMANDS } from '../../../tools/commands/table.ts';

/** What commander makes of a call; undefined when it refuses. */
function commanderCall(command: Command, words: readonly string[]): unknown {
  const program = new Commander('x').exitOverride().allowExcessArguments(false);
  program.configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
  for (const { name, description } of command.arguments ?? []) program.argument(name, description);
  for (const option of command.options ?? []) {
    const made = program.createOption(option.flags, option.description);
    if (option.required === true) made.makeOptionMandatory();
    if (option.defaultValue !== undefined) made.default(option.defaultValue);
    if (option.repeatable === true)
      made.argParser((value: string, previous: unknown) => [
        ...(Array.isArray(previous) ? (previous as string[]) : []),
        value,
      ]);
    program.addOption(made);
  }
  program.action(() => undefined);
  try {
    program.parse([...words], { from: 'user' });
  } catch {
    return undefined;
  }
  return { args: program.args, options: program.opts<OptionValues>() };
}

test('every call that is read plainly is read as commander reads it', async () => {
  let plain = 0;
  for (const entry of COMMANDS) {
    const { command } = await entry.load();
    const flags = (command.options ?? []).flatMap(({ flags: text }) =>
      text.split(/, | </).filter((word) => word.startsWith('-')),
    );
    const word = fc.oneof(
      fc.constantFrom(
        'a',
        'b=c',
        '',
        '-',
        '--',
        '-x',
        '--unknown',
        '--help',
        '-1',
        ...flags,
        ...flags.map((flag) => `${flag}=v`),
      ),
      fc.string({ maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        const call = plainCall(command, words);
        if (call === undefined) return;
        plain++;
        expect(call).toEqual(commanderCall(command, words));
      }),
      { seed: 1, numRuns: 200 },
    );
  }
  expect(plain).toBeGreaterThan(1000);
});

test('usual calls are read plainly', async () => {
  for (const entry of COMMANDS.filter(({ noun }) => noun === 'vmgs')) {
    const { command } = await entry.load();
    const args = (command.arguments ?? []).filter(({ name }) => !name.includes('...')).map(() => 'x');
    const options = (command.options ?? []).flatMap(({ flags, required }) =>
      required === true ? [/--[a-z0-9-]+/.exec(flags)?.[0] ?? '', 'v'] : [],
    );
    const isVariadic = (command.arguments ?? []).some(({ name }) => name.includes('...'));
    expect([entry.noun, entry.verb, plainCall(command, [...args, ...options]) === undefined]).toEqual([
      entry.noun,
      entry.verb,
      isVariadic,
    ]);
  }
});
