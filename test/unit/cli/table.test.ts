import { expect, test } from 'vitest';
import { BUILD_COMMANDS } from '../../../tools/commands/build-table.ts';
import { COMMANDS } from '../../../tools/commands/table.ts';

test('every command loads, has a summary that is no sentence, and options that say what they mean', async () => {
  for (const entry of COMMANDS) {
    const name = `${entry.noun} ${entry.verb}`;
    expect(entry.summary, name).not.toMatch(/\.$|^[A-Z]/);
    const { command } = await entry.load();
    for (const { flags, description } of command.options ?? []) {
      expect(flags, name).toMatch(/^(-[a-z], )?--[a-z][a-z0-9-]*( <[^>]+>)?$/);
      expect(description, `${name} ${flags}`).not.toBe('');
    }
  }
});

test('nouns and verbs stand in order, each once', () => {
  const names = COMMANDS.map(({ noun, verb }) => `${noun} ${verb}`);
  expect(names).toEqual([...new Set(names)].sort());
  for (const entry of BUILD_COMMANDS) expect(COMMANDS).toContain(entry);
});
