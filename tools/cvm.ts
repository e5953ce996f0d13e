/**
 * From argv to a command to an exit code: the only file that knows `process`. What it offers is the table it is
 * given, so that the whole tool, the part that build actions run, and the development tool share one front.
 */
import { writeSync } from 'node:fs';
import type { Command as CommanderCommand } from 'commander';
import type { Command, CommandEntry, Io, OptionValues } from './commands/command.ts';
import { plainCall } from './commands/plain-words.ts';
import { onPendingFiles, removePendingFiles } from './commands/pending-files.ts';
import { CvmError, EXIT_CODES, usageError } from './errors.ts';
import { nearestWord } from './nearest.ts';
import { asCvmError, errorJson, showError } from './show-error.ts';
import { VERSION } from './version.ts';

/** Runs the command that argv names and ends the process with its exit code. */
export async function main(name: string, summary: string, table: readonly CommandEntry[]): Promise<void> {
  const argv = process.argv.slice(2);
  onPendingFiles(watchSignals);
  let code: number;
  let exitCodeOf = (error: CvmError): number => error.exitCode;
  const onCommand = (command: Command): void => {
    if (command.exitCode !== undefined) exitCodeOf = command.exitCode.bind(command);
  };
  try {
    code = await dispatch(name, summary, table, argv, onCommand);
  } catch (thrown) {
    const error = asCvmError(thrown);
    if (argv.includes('--json')) writeOut(errorJson(error));
    code = exitCodeOf(error);
    writeError(showError(error, code));
    if (error.kind === 'bug' && error.cause instanceof Error) writeError(`${error.cause.stack ?? ''}\n`);
  }
  // Streams may still hold bytes; idle sockets must not keep the process alive.
  await Promise.all([drained(outStream), drained(errStream)]);
  process.exit(code);
}

/**
 * The streams of Node.js, which take longer to load than many commands to run: made only for a pipe that does not wait
 * for its reader.
 */
let outStream: NodeJS.WriteStream | undefined;
let errStream: NodeJS.WriteStream | undefined;

const drained = (stream: NodeJS.WriteStream | undefined): Promise<void> | undefined =>
  stream && new Promise((resolve) => stream.write('', () => resolve()));

/** A reader that went away (`cvm … | head`) is no failure of ours. */
function endWithoutReader(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') {
    removePendingFiles();
    process.exit(0);
  }
  writeError(showError(outputError(error)));
  process.exit(EXIT_CODES.usage);
}

function outputError(cause: unknown): CvmError {
  return usageError('OUTPUT_WRITE', 'standard output cannot be written', {
    facts: [['system error', cause instanceof Error ? cause.message : String(cause)]],
    mend: 'make room where it goes, or name a file with --output',
    cause,
  });
}

/** Writes what the descriptor takes. @returns the rest, when it would have to wait */
function writeNow(descriptor: 1 | 2, bytes: Uint8Array): Uint8Array | undefined {
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EAGAIN') return bytes.subarray(done);
      throw cause;
    }
  }
  return undefined;
}

const bytesOf = (content: string | Uint8Array): Uint8Array =>
  typeof content === 'string' ? Buffer.from(content, 'utf8') : content;

/** @throws CvmError usage OUTPUT_WRITE */
function writeOut(content: string | Uint8Array): void {
  let rest: Uint8Array | undefined = bytesOf(content);
  if (outStream === undefined) {
    try {
      rest = writeNow(1, rest);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EPIPE') endWithoutReader(cause as NodeJS.ErrnoException);
      throw outputError(cause);
    }
  }
  if (rest === undefined) return;
  outStream ??= process.stdout.on('error', endWithoutReader);
  outStream.write(rest);
}

/** Where standard error cannot be written, nobody is left to tell; the exit code still says what happened. */
function writeError(text: string): void {
  let rest: Uint8Array | undefined = bytesOf(text);
  if (errStream === undefined) {
    try {
      rest = writeNow(2, rest);
    } catch {
      return;
    }
  }
  if (rest === undefined) return;
  errStream ??= process.stderr.on('error', () => undefined);
  errStream.write(rest);
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/**
 * Signals end the process at once, as the system does it, except while a file is half written: then that file goes
 * first. A handler would otherwise have to wait for whatever is being computed.
 */
function watchSignals(pending: number): void {
  for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) {
    process.removeListener(signal, endOnSignal);
    if (pending > 0) process.on(signal, endOnSignal);
  }
}

function endOnSignal(signal: NodeJS.Signals): void {
  removePendingFiles();
  // The number that shells give a process which the signal ended.
  process.exit(128 + SIGNALS[signal as keyof typeof SIGNALS]);
}

async function dispatch(
  name: string,
  summary: string,
  table: readonly CommandEntry[],
  argv: readonly string[],
  onCommand: (command: Command) => void,
): Promise<number> {
  const [noun, verb] = argv;
  if (argv.length === 1 && (noun === '--version' || noun === '-V')) {
    writeOut(`${name} ${VERSION}\n`);
    return 0;
  }
  const former = table.find(
    (candidate) => candidate.noun === noun && candidate.formerly?.words.includes(verb?.toLowerCase() ?? ''),
  );
  const entry = former ?? table.find((candidate) => wordsOf(candidate).every((word, i) => word === argv[i]));
  if (entry !== undefined) {
    const { command } = await entry.load();
    onCommand(command);
    const words = former === undefined ? argv.slice(wordsOf(entry).length) : todaysWords(former, argv);
    const full = command.expandWords?.(words) ?? words;
    const call = plainCall(command, full);
    if (call !== undefined) return await command.run(call.args, call.options, processIo());
    const { Command: Commander } = await import('commander');
    return await runCommand(new Commander(`${name} ${entry.noun} ${entry.verb}`), command, full);
  }
  // The exit codes of a noun's commands are those of its mistakes too.
  const sibling = table.find((candidate) => candidate.noun === noun);
  if (sibling !== undefined) onCommand((await sibling.load()).command);
  refuseUnknown(name, table, noun, verb, argv[2]);
  const { Command: Commander } = await import('commander');
  const program = overview(new Commander(name), summary, table);
  return await parse(program, argv, () => Promise.resolve(0));
}

/** The words after the verb of a call as it was written once, in today's. */
function todaysWords({ noun, verb, formerly }: CommandEntry, argv: readonly string[]): string[] {
  writeError(`warning: ${argv[1] ?? ''} is a former name: write ${noun} ${verb}\n`);
  return argv.slice(2).map((word) => formerly?.flags[word.toLowerCase()] ?? word);
}

/** The words that call a command: its noun and its verb, which may be two. */
const wordsOf = ({ noun, verb }: CommandEntry): string[] => [noun, ...verb.split(' ')];

/** A word that names no command: says which is near. Options and a lone noun are for help to answer. */
function refuseUnknown(
  name: string,
  table: readonly CommandEntry[],
  noun: string | undefined,
  verb: string | undefined,
  second: string | undefined,
): void {
  if (noun === undefined || noun.startsWith('-') || noun === 'help') return;
  const verbs = table.filter((entry) => entry.noun === noun).map((entry) => entry.verb);
  if (verbs.length === 0) {
    const nouns = [...new Set(table.map((entry) => entry.noun))];
    throw unknownWord(`'${name}' has no noun '${noun}'`, ['nouns', nouns], noun, `${name} --help`);
  }
  if (verb === undefined) {
    throw usageError('COMMAND_MISSING', `'${name} ${noun}' needs a verb`, {
      facts: [['verbs', verbs.join(', ')]],
      mend: `run ${name} ${noun} --help`,
    });
  }
  if (verb.startsWith('-')) return;
  // `marker` of `marker write` is no verb yet; the nearest is sought among the pairs.
  const isFirstOfTwo = verbs.some((known) => known.startsWith(`${verb} `));
  if (isFirstOfTwo && second === undefined) {
    throw usageError('COMMAND_MISSING', `'${name} ${noun} ${verb}' is the first word of a verb`, {
      facts: [['verbs', verbs.filter((known) => known.startsWith(`${verb} `)).join(', ')]],
      mend: `run ${name} ${noun} --help`,
    });
  }
  if (isFirstOfTwo && second?.startsWith('-') === true) return;
  const typed = isFirstOfTwo ? `${verb} ${second ?? ''}` : verb;
  throw unknownWord(
    `'${name} ${noun}' has no verb '${typed}'`,
    ['verbs', verbs],
    typed,
    `${name} ${noun} --help`,
  );
}

function unknownWord(
  message: string,
  [what, known]: readonly [string, readonly string[]],
  word: string,
  help: string,
): CvmError {
  const nearest = nearestWord(word, known);
  return usageError('COMMAND_UNKNOWN', message, {
    facts: [[what, known.join(', ')]],
    ...(nearest === undefined ? {} : { nearest }),
    mend: `run ${help}`,
  });
}

/** The tree of nouns and verbs, for help and for suggestions when a word is wrong. */
function overview(
  program: CommanderCommand,
  summary: string,
  table: readonly CommandEntry[],
): CommanderCommand {
  program.description(summary).version(`${program.name()} ${VERSION}`);
  const nouns = new Map<string, CommanderCommand>();
  for (const { noun, verb, summary: verbSummary } of table) {
    let group = nouns.get(noun);
    if (group === undefined) {
      group = program.command(noun);
      nouns.set(noun, group);
    }
    const [first = '', second] = verb.split(' ');
    if (second === undefined) group.command(first).description(verbSummary);
    else subgroup(group, first).command(second).description(verbSummary);
  }
  for (const [noun, group] of nouns) {
    const verbs = table.filter((entry) => entry.noun === noun).map((entry) => entry.verb);
    group.description(verbs.join(', '));
  }
  return program;
}

function subgroup(group: CommanderCommand, name: string): CommanderCommand {
  return group.commands.find((command) => command.name() === name) ?? group.command(name);
}

async function runCommand(
  program: CommanderCommand,
  command: Command,
  words: readonly string[],
): Promise<number> {
  program.description(command.description ?? command.summary);
  for (const { name, description } of command.arguments ?? []) program.argument(name, description);
  for (const option of command.options ?? []) {
    const made = program.createOption(option.flags, option.description);
    if (option.required === true) made.makeOptionMandatory();
    if (option.defaultValue !== undefined) made.default(option.defaultValue);
    program.addOption(made);
    // A switch says the same thing twice.
    if (!option.flags.includes('<')) continue;
    const given = { once: false };
    made.argParser((value: string, previous: unknown) => {
      if (option.repeatable === true)
        return [...(Array.isArray(previous) ? (previous as string[]) : []), value];
      if (given.once) {
        throw usageError(
          'OPTION_REPEATED',
          `${/--[a-z0-9-]+/.exec(option.flags)?.[0] ?? option.flags} is given twice`,
          {
            facts: [
              ['first', String(previous)],
              ['second', value],
            ],
          },
        );
      }
      given.once = true;
      return value;
    });
  }
  return await parse(program, words, async () =>
    command.run(program.args, program.opts<OptionValues>(), processIo()),
  );
}

async function parse(
  program: CommanderCommand,
  words: readonly string[],
  act: () => Promise<number>,
): Promise<number> {
  const everyCommand = (command: CommanderCommand): CommanderCommand[] => [
    command,
    ...command.commands.flatMap(everyCommand),
  ];
  for (const command of everyCommand(program)) {
    command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut });
    command.showSuggestionAfterError(true).allowExcessArguments(false);
  }
  if (words.length === 0 && program.commands.length > 0) {
    writeOut(program.helpInformation());
    return 2;
  }
  // Help and version end the parsing without an action.
  const call = { wanted: false };
  if (program.commands.length === 0) {
    program.action(() => {
      call.wanted = true;
    });
  }
  try {
    await program.parseAsync([...words], { from: 'user' });
  } catch (thrown) {
    if (thrown instanceof CvmError) throw thrown;
    const { code, message, exitCode } = thrown as { code?: string; message?: string; exitCode?: number };
    if (code === undefined || !code.startsWith('commander.')) throw thrown;
    if (exitCode === 0) return 0;
    if (code === 'commander.help') {
      writeOut(program.helpInformation());
      return 2;
    }
    const [text, suggestion] = (message ?? '').replace(/^error: /, '').split('\n');
    throw usageError('USAGE', text ?? 'the command line is wrong', {
      ...(suggestion === undefined
        ? {}
        : { nearest: suggestion.replace(/^\(Did you mean (one of )?|\?\)$/g, '') }),
      mend: `run ${program.name()} --help`,
    });
  }
  return call.wanted ? await act() : 0;
}

/** `bazel run` starts its programs in the runfiles; a person means the folder they stand in. */
function workingFolder(): string {
  try {
    return process.env['BUILD_WORKING_DIRECTORY'] ?? process.cwd();
  } catch (cause) {
    throw usageError('FOLDER_GONE', 'the folder that the command was called in does not exist any more', {
      mend: 'change into a folder that exists, and call it again',
      cause,
    });
  }
}

function processIo(): Io {
  return {
    out: writeOut,
    err: writeError,
    get cwd() {
      return workingFolder();
    },
    env: process.env,
    get isTerminal() {
      return process.stderr.isTTY;
    },
  };
}
