import { basename, dirname, join } from 'node:path';
import { identityOf } from '../bytes/digest.ts';
import { readAll } from '../bytes/source.ts';
import { showText, utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { CvmError, EXIT_CODES, mismatchError, usageError } from '../errors.ts';
import { readSums, SUMS_LIMIT_BYTES, type SumEntry } from '../release/sums.ts';
import { showError } from '../show-error.ts';
import type { Command, Io } from './command.ts';
import { openFile, resolvePath, writeFileWhole } from './files.ts';
import { flagOption, textOption } from './options.ts';

export const command: Command = {
  summary: 'write the sha256 of a file, or check those of a sum file',
  description:
    'One line that `sha256sum --check` takes: the digest, two spaces, the file name without its folder. With --check the file is ' +
    'a sum file, with one space or two before the names; every file it lists, in its own folder, is hashed. A line that is no ' +
    'entry, a file that is missing and a name that leads out of the folder are errors. Exit codes of --check: 3 the sum file ' +
    'is malformed, 5 a file is missing or another one.',
  arguments: [{ name: '<file>', description: 'the file' }],
  options: [
    { flags: '--check', description: 'the file is a SHA256SUMS: check what it lists' },
    { flags: '--output <file>', description: 'where to write the line; standard output when absent' },
  ],
  async run([path = ''], options, io) {
    const output = textOption(options, 'output');
    if (flagOption(options, 'check')) {
      if (output !== undefined) {
        throw usageError('OPTION_CONFLICT', '--check and --output exclude each other', {
          mend: 'leave one of them out',
        });
      }
      return check(resolvePath(io, path), io);
    }
    const file = openFile(resolvePath(io, path));
    const name = basename(file.path);
    try {
      if (/[\n\r\\]/.test(name)) {
        throw usageError(
          'FILE_NAME',
          'a name with a line break or a backslash has no plain line in a sum file',
          {
            facts: [['name', name]],
          },
        );
      }
      const line = `${identityOf(file).sha256}  ${name}\n`;
      if (output === undefined) io.out(line);
      else await writeFileWhole(resolvePath(io, output), [utf8Bytes(line)]);
    } finally {
      file.close();
    }
    return 0;
  },
};

function check(path: string, io: Io): number {
  const file = openFile(path);
  let entries: SumEntry[];
  try {
    entries = readSums(utf8FromBytes(readAll(file, SUMS_LIMIT_BYTES, 'the sum file'), 'the sum file'));
  } finally {
    file.close();
  }
  const wrong = entries.filter((entry) => !checkOne(dirname(path), entry, io));
  if (wrong.length === 0) return 0;
  throw mismatchError(
    'SUMS_MISMATCH',
    `${wrong.length} of ${entries.length} files are not what the sum file lists`,
    {
      facts: wrong.slice(0, 10).map(({ name, sha256 }) => [name, `listed ${sha256}`]),
      mend: 'fetch them again; if it stays so, do not use them',
    },
  );
}

function checkOne(folder: string, { name, sha256 }: SumEntry, io: Io): boolean {
  try {
    const file = openFile(join(folder, name));
    try {
      const isSame = identityOf(file).sha256 === sha256;
      io.out(`${showText(name)}: ${isSame ? 'OK' : 'FAILED'}\n`);
      return isSame;
    } finally {
      file.close();
    }
  } catch (error) {
    if (!(error instanceof CvmError) || error.exitCode !== EXIT_CODES.usage) throw error;
    io.out(`${showText(name)}: FAILED, not read\n`);
    io.err(showError(error));
    return false;
  }
}
