import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { command as bashCommand } from '../../tools/commands/completion-bash.ts';
import { command as zshCommand } from '../../tools/commands/completion-zsh.ts';
import { COMMANDS } from '../../tools/commands/table.ts';
import { runCommand, scratchFolder } from '../support/run-command.ts';
import { findOracle, ORACLE_ENV, oracleTest } from './oracle.ts';

const bash = findOracle('bash');
const zsh = findOracle('zsh');
const folder = scratchFolder();
const scripts = { bash: join(folder, 'cvm.bash'), zsh: join(folder, 'cvm.zsh') };

beforeAll(async () => {
  writeFileSync(scripts.bash, (await runCommand(bashCommand, folder, [], {})).out);
  writeFileSync(scripts.zsh, (await runCommand(zshCommand, folder, [], {})).out);
});

function run(program: string | undefined, words: readonly string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync(program ?? '', words, {
    encoding: 'utf8',
    env: { ...ORACLE_ENV, HOME: folder, TERM: 'dumb' },
    cwd: folder,
    input,
  });
  expect(status, stderr).toBe(0);
  expect(stderr).toBe('');
  return stdout;
}

/** What bash offers for the last of these words, which it cut as it cuts a line. */
function offeredByBash(...words: string[]): string[] {
  const ask = `
    source "$1"; shift
    COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _cvm 2>/dev/null
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return run(bash, ['--norc', '-c', ask, 'bash', scripts.bash, ...words])
    .split('\n')
    .filter((line) => line !== '');
}

const nouns = [...new Set(COMMANDS.map(({ noun }) => noun))];

describe('bash', () => {
  const bashTest = oracleTest({ bash });

  bashTest('reads the script', () => {
    expect(run(bash, ['-n', scripts.bash])).toBe('');
  });

  bashTest('offers every noun, and every verb of each', () => {
    expect(offeredByBash('cvm', '')).toEqual([...nouns, '--help', '--version']);
    for (const noun of nouns) {
      const verbs = COMMANDS.filter((entry) => entry.noun === noun).map(({ verb }) => verb.split(' ')[0]);
      expect(offeredByBash('cvm', noun, ''), noun).toEqual([...new Set(verbs)]);
    }
  });

  bashTest('offers the second word of a verb, then the flags of the whole', () => {
    expect(offeredByBash('cvm', 'vmgs', 'marker', '')).toEqual(['check', 'show', 'write']);
    expect(offeredByBash('cvm', 'vmgs', 'marker', 'w')).toEqual(['write']);
    expect(offeredByBash('cvm', 'vmgs', 'marker', 'write', '--rea')).toEqual(['--reason']);
  });

  bashTest('offers every flag of every command', async () => {
    // One process for all: a line a command.
    const lines: string[] = [];
    const expected: string[] = [];
    for (const entry of COMMANDS) {
      const { command } = await entry.load();
      const flags = (command.options ?? []).flatMap((option) =>
        option.flags.split(/,? /).filter((word) => word.startsWith('-')),
      );
      lines.push(
        `COMP_WORDS=(cvm ${entry.noun} ${entry.verb} -); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _cvm; echo "\${COMPREPLY[*]}"`,
      );
      expected.push([...flags, '--help'].join(' '));
    }
    // compopt says that it is called outside a completion.
    const text = run(bash, [
      '--norc',
      '-c',
      `source "$1"; exec 2>/dev/null\n${lines.join('\n')}`,
      'bash',
      scripts.bash,
    ]);
    expect(text.trimEnd().split('\n')).toEqual(expected);
  });

  bashTest('offers the values of an option that takes no others, however bash cut the word', () => {
    const modes = ['sev', 'seves', 'snp', 'snp:ovmf-hash', 'snp:svsm'];
    expect(offeredByBash('cvm', 'snp', 'measure', '--mode', '')).toEqual(modes);
    expect(offeredByBash('cvm', 'snp', 'measure', '--mode', '=')).toEqual(modes);
    expect(offeredByBash('cvm', 'snp', 'measure', '--mode', '=', 'se')).toEqual(['sev', 'seves']);
    // Readline replaces what follows the colon.
    expect(offeredByBash('cvm', 'snp', 'measure', '--mode', 'snp', ':', 'sv')).toEqual(['svsm']);
  });

  bashTest('leaves files to readline, and offers nothing where nobody knows', () => {
    expect(offeredByBash('cvm', 'snp', 'measure', '--ovmf', '')).toEqual([]);
    expect(offeredByBash('cvm', 'ext4', 'list', '')).toEqual([]);
    expect(offeredByBash('cvm', 'snp', 'measure', '--vcpus', '-')).toEqual([]);
    expect(offeredByBash('cvm', 'nonsense', '')).toEqual([]);
    expect(offeredByBash('cvm', 'ext4', 'nonsense', '-')).toEqual([]);
  });
});

describe('zsh', () => {
  const zshTest = oracleTest({ zsh });

  zshTest('reads the script', () => {
    expect(run(zsh, ['-f', '-n', scripts.zsh])).toBe('');
  });

  zshTest('completes at a terminal', () => {
    // A zsh of its own behind a pseudo terminal; what Tab makes of a line is then shown by its own echo.
    const lines = [
      'cvm ext4 ext',
      'cvm vmgs marker wr',
      'cvm snp measure --ovm',
      'cvm snp measure --mode snp:s',
      'cvm vmgs uefi-nvram remove-b',
    ];
    const ask = `
      zmodload zsh/zpty
      zpty child zsh -f -i
      zpty -w child "PROMPT=; RPROMPT=; unsetopt zle_bracketed_paste; stty -echo cols 300; autoload -Uz compinit; compinit -u -D; source '$1'"
      zpty -w child 'show() { print -r -- "<$BUFFER>"; BUFFER=; zle accept-line }; zle -N show; bindkey "^T" show'
      zpty -w child 'print READY'
      zpty -r child text '*READY*'
      for line in ${lines.map((line) => `'${line}'`).join(' ')}; do
        zpty -w -n child "$line"$'\\t\\x14'
        zpty -r child text '*>*'
        print -r -- "$text"
      done
      zpty -d child`;
    const shown = [...run(zsh, ['-f', '-c', ask, 'zsh', scripts.zsh]).matchAll(/<([^>\n]*)>/g)].map(
      ([, line]) => line?.trim(),
    );
    expect(shown).toEqual([
      'cvm ext4 extract',
      'cvm vmgs marker write',
      'cvm snp measure --ovmf=',
      'cvm snp measure --mode snp:svsm',
      'cvm vmgs uefi-nvram remove-boot-entries',
    ]);
  });
});

test('a script names no file of the machine that made it', async () => {
  for (const command of [bashCommand, zshCommand]) {
    const { out } = await runCommand(command, folder, [], {});
    expect(out).not.toContain(folder);
    expect(out.endsWith('\n')).toBe(true);
  }
});
