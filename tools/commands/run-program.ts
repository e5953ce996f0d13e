/**
 * Programs of the user's machine: the one place that starts any. Only `coconut build` does, as a recipe asks for cargo,
 * make and objcopy; nothing that a build action runs may import this, and a test of the bundles looks.
 */
import { spawn } from 'node:child_process';
import { showText } from '../bytes/text.ts';
import { usageError, type Fact } from '../errors.ts';
import type { Io } from './command.ts';
import { addRunningProgram } from './pending-files.ts';

export interface Program {
  readonly argv: readonly string[];
  /** On top of the caller's environment. */
  readonly env: Readonly<Record<string, string>>;
  /** How errors show the command. */
  readonly shown: string;
}

export interface RunOptions {
  /** Show the output as it comes. */
  readonly verbose: boolean;
  /** Keep standard output for the caller, instead of showing it. */
  readonly wantsOutput?: boolean;
}

/** What is shown of the output of a program that failed. */
const TAIL_BYTES = 256 << 10;

/** What a caller may want of standard output: cargo's messages are some megabytes. */
const OUTPUT_BYTES_MAX = 256 << 20;

/**
 * Runs a program in the caller's folder, without standard input, and waits for it. A signal that ends this process ends it.
 * @returns standard output, when it is wanted
 * @throws CvmError usage PROGRAM_NOT_FOUND | PROGRAM_FAILED | PROGRAM_OUTPUT; its output went to standard error before
 */
export async function runProgram(program: Program, options: RunOptions, io: Io): Promise<string> {
  const [file = '', ...args] = program.argv;
  const facts: Fact[] = [['command', program.shown]];
  const tail = new Tail();
  const output: Buffer[] = [];
  let outputBytes = 0;
  const child = spawn(file, args, {
    cwd: io.cwd,
    env: { ...io.env, ...program.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const show = (chunk: Buffer): void => {
    if (options.verbose) io.err(showLines(chunk.toString('utf8')));
    else tail.add(chunk);
  };
  child.stderr.on('data', show);
  child.stdout.on('data', (chunk: Buffer) => {
    if (options.wantsOutput !== true) {
      show(chunk);
      return;
    }
    outputBytes += chunk.length;
    if (outputBytes <= OUTPUT_BYTES_MAX) output.push(chunk);
  });
  const settle = addRunningProgram(() => child.kill());
  const ended = await new Promise<{ code: number | null; signal: string | null } | { error: unknown }>(
    (resolve) => {
      child.on('error', (error) => resolve({ error }));
      child.on('close', (code, signal) => resolve({ code, signal }));
    },
  );
  settle();
  if ('error' in ended) {
    throw usageError('PROGRAM_NOT_FOUND', 'a program of the recipe cannot be started', {
      facts: [
        ...facts,
        ['system error', ended.error instanceof Error ? ended.error.message : String(ended.error)],
      ],
      mend: `install ${file}, or give built parts with --components`,
      cause: ended.error,
    });
  }
  if (ended.code !== 0) {
    io.err(tail.text());
    throw usageError('PROGRAM_FAILED', 'a program of the recipe failed; its output stands above', {
      facts: [
        ...facts,
        ended.code === null ? ['ended by', ended.signal ?? 'a signal'] : ['exit code', ended.code],
      ],
      mend: 'run the command by itself in this folder',
    });
  }
  if (outputBytes > OUTPUT_BYTES_MAX) {
    throw usageError('PROGRAM_OUTPUT', 'a program printed more than is taken', {
      facts: [...facts, ['limit', `${OUTPUT_BYTES_MAX} bytes`]],
    });
  }
  return Buffer.concat(output).toString('utf8');
}

/** The end of a long output. */
class Tail {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #dropped = 0;

  add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes - (this.#chunks[0]?.length ?? 0) >= TAIL_BYTES) {
      const gone = this.#chunks.shift()?.length ?? 0;
      this.#bytes -= gone;
      this.#dropped += gone;
    }
  }

  text(): string {
    const text = showLines(Buffer.concat(this.#chunks).toString('utf8'));
    const head = this.#dropped === 0 ? '' : `(${this.#dropped} bytes before)\n`;
    return text === '' ? '' : `${head}${text}${text.endsWith('\n') ? '' : '\n'}`;
  }
}

/** Output of a program with its lines and tabs, and without what a terminal would obey. */
function showLines(text: string): string {
  return text
    .split('\n')
    .map((line) => line.replace(/\r$/, '').split('\t').map(showText).join('\t'))
    .join('\n');
}
