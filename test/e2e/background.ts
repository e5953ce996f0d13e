import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface Background {
  /** The first line of its output. */
  readonly firstLine: string;
  stop(): Promise<void>;
}

/** Starts a program that says where it listens in its first line. */
export async function background(command: string, words: readonly string[]): Promise<Background> {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const reader = createInterface(child.stdout);
  const [firstLine] = (await Promise.race([
    once(reader, 'line'),
    once(child, 'exit').then(() => {
      throw new Error(`${command} ended before it said where it listens`);
    }),
  ])) as [string];
  return {
    firstLine,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill();
      await ended;
    },
  };
}
