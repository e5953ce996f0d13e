import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bootArg,
  commandLines,
  fillBootArgs,
  parseBootArgs,
  rootHashesOf,
  slotOf,
  teeCommandLines,
} from '../../../tools/guestos/boot-args.ts';
import { expectCvmError } from '../../support/errors.ts';

const valueOf = (line: string): string => bootArg(parseBootArgs(`${line}\n`), 'NAME');
const HASH = 'ab'.repeat(32);

describe('boot_args as the host reads it', () => {
  test.each([
    ['NAME="a b  c"', 'a b  c'],
    ["NAME='a b'", 'a b'],
    ['NAME=bare', 'bare'],
    ['NAME=', ''],
    ['NAME=""', ''],
    ['NAME="a"  # why', 'a'],
    ['NAME=bare # why', 'bare'],
    ['NAME="a # b"', 'a # b'],
    ["NAME='a $b `c` \\n'", 'a $b `c` \\n'],
    ['NAME="say \\"x\\" \\\\ \\$y \\`z\\`"', 'say "x" \\ $y `z`'],
    ['  NAME="indented"', 'indented'],
    ['NAME="root=/dev/x quiet="', 'root=/dev/x quiet='],
    ['NAME=root=/dev/x,a:b%c@d!', 'root=/dev/x,a:b%c@d!'],
    ['NAME="  edges kept  "', '  edges kept  '],
    ['NAME="ünïcode"', 'ünïcode'],
  ])('%s', (line, value) => {
    expect(valueOf(line)).toBe(value);
  });

  test('the last line of a name wins', () => {
    expect(valueOf('NAME=first\nNAME="second"\nOTHER=x')).toBe('second');
  });

  test('comments, blank lines and other shell lines are skipped', () => {
    expect([...parseBootArgs('# NAME=x\n\n  \nif true; then\nA=1\n').keys()]).toEqual(['A']);
  });

  test('no newline at the end', () => {
    expect(bootArg(parseBootArgs('NAME="x"'), 'NAME')).toBe('x');
  });

  test.each([
    ['a newline escape, which a shell keeps as two characters', 'NAME="a\\nb"'],
    ['a tab escape', 'NAME="a\\tb"'],
    ['an escaped letter', 'NAME="a\\b"'],
    ['a variable in double quotes', 'NAME="a $b"'],
    ['a command in double quotes', 'NAME="a `b`"'],
    ['a variable in a bare value', 'NAME=$b'],
    ['a quote inside a bare value', 'NAME=a"b c"'],
    ['a backslash in a bare value', 'NAME=a\\ b'],
    ['a command separator', 'NAME=a;rm'],
    ['a glob', 'NAME=*'],
    ['text right after the quote', 'NAME="a"b'],
    ['a second word', 'NAME=a b'],
    ['a # inside a bare value', 'NAME=a#b'],
    ['a carriage return', 'NAME="a"\r'],
    ['a double quote that is not closed', 'NAME="a'],
    ['a double quote closed by an escape only', 'NAME="a\\"'],
    ['a backslash at the end', 'NAME="a\\'],
    ['a single quote that is not closed', "NAME='a"],
    ['a NUL byte', 'NAME="a\0b"'],
  ])('refuses %s', (_, line) => {
    const error = expectCvmError(() => valueOf(line), 'BOOT_ARGS_AMBIGUOUS', 'format');
    expect(error.facts).toContainEqual(['line', 1]);
  });

  test('a doubtful line of another name does not matter', () => {
    expect(bootArg(parseBootArgs('OTHER="$x"\nNAME=y'), 'NAME')).toBe('y');
  });

  test('a doubtful line does not matter when a later one of the name is clear', () => {
    expect(valueOf('NAME="$x"\nNAME=y')).toBe('y');
  });

  test('a missing name is named', () => {
    expectCvmError(() => bootArg(parseBootArgs('A=1'), 'NAME'), 'BOOT_ARGS_MISSING', 'format');
  });

  test('what is quoted without special characters is read back to the character', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60, unit: 'binary' }), (text) => {
        fc.pre(!/["$`\\\n\0]/.test(text));
        expect(valueOf(`NAME="${text}"`)).toBe(text);
      }),
    );
  });

  test('no text makes it fail in another way', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('N', 'A', '=', '"', "'", '\\', ' ', '#', '$', '\n', '\t', 'x') }),
        (text) => {
          for (const [name, arg] of parseBootArgs(text)) {
            if (arg.doubt === undefined) expect(bootArg(parseBootArgs(text), name)).toBe(arg.value);
            else expectCvmError(() => bootArg(parseBootArgs(text), name), 'BOOT_ARGS_AMBIGUOUS');
          }
        },
      ),
    );
  });
});

const BOTH = 'BOOT_ARGS_TEE_A="x dfinity.system=A"\nBOOT_ARGS_TEE_B="x dfinity.system=B"\n';

describe('command lines of SEV guests', () => {
  test('slot A, then slot B', () => {
    expect(teeCommandLines(parseBootArgs(BOTH))).toEqual([
      { slot: 'A', cmdline: 'x dfinity.system=A' },
      { slot: 'B', cmdline: 'x dfinity.system=B' },
    ]);
  });

  test.each([
    ['neither', ''],
    ['only A', BOTH.split('\n')[0] as string],
    ['an empty B', `${BOTH}BOOT_ARGS_TEE_B=""`],
    ['a blank A', `${BOTH}BOOT_ARGS_TEE_A=" "`],
  ])('refuses %s instead of measuring an empty line', (_, text) => {
    expectCvmError(() => teeCommandLines(parseBootArgs(text)), 'BOOT_ARGS_TEE_MISSING', 'format');
  });

  test('says when the release is from before SEV', () => {
    const old = parseBootArgs('BOOT_ARGS_A="x"\nBOOT_ARGS_B="y"');
    expect(expectCvmError(() => teeCommandLines(old), 'BOOT_ARGS_TEE_MISSING').nearest).toContain(
      'before SEV',
    );
  });

  test('all there are, by name', () => {
    expect([...commandLines(parseBootArgs(`BOOT_ARGS_B=y\n${BOTH}OTHER=1`)).keys()]).toEqual([
      'BOOT_ARGS_TEE_A',
      'BOOT_ARGS_B',
      'BOOT_ARGS_TEE_B',
    ]);
  });

  test('words of a command line', () => {
    expect(rootHashesOf(`a root_hash=${HASH} x.root_hash=1 root_hash=`)).toEqual([HASH, '']);
    expect(slotOf('a dfinity.system=B b')).toBe('B');
    expect(slotOf('a xdfinity.system=B')).toBeUndefined();
  });
});

describe('the template', () => {
  const template = BOTH.replaceAll('x ', 'x root_hash=ROOT_HASH ');

  test('each ROOT_HASH becomes the hash, and nothing else changes', () => {
    expect(fillBootArgs(template, HASH)).toBe(template.replaceAll('ROOT_HASH', HASH));
  });

  test.each([
    ['without ROOT_HASH', BOTH],
    ['with ROOT_HASH in one line of two', template.replace('root_hash=ROOT_HASH', '')],
    ['that names the hash twice', template.replace('x ', 'x root_hash=ROOT_HASH ')],
    ['with a fixed hash in another line', `${template}BOOT_ARGS_A="root_hash=00"`],
    ['with ROOT_HASH in a comment alone', `# ROOT_HASH\n${BOTH}`],
  ])('refuses one %s', (_, text) => {
    expectCvmError(() => fillBootArgs(text, HASH), 'BOOT_ARGS_TEMPLATE', 'format');
  });

  test('refuses one without SEV command lines', () => {
    expectCvmError(() => fillBootArgs('BOOT_ARGS_A="root_hash=ROOT_HASH"', HASH), 'BOOT_ARGS_TEE_MISSING');
  });
});
