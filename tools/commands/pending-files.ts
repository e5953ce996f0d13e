/** What is half written, and which programs run, so that a signal can take both away. */
import { rmSync } from 'node:fs';

const pendingFiles = new Set<string>();
const runningPrograms = new Set<() => void>();

let pendingListener: (count: number) => void = () => undefined;

/** Tells how many files are half written and programs run, whenever that changes: whoever handles signals wants to know. */
export function onPendingFiles(listener: (count: number) => void): void {
  pendingListener = listener;
}

/** A file or folder under a temporary name begins. */
export function addPendingFile(path: string): void {
  pendingFiles.add(path);
  tell();
}

/** It has its final name, or is gone. */
export function settlePendingFile(path: string): void {
  pendingFiles.delete(path);
  tell();
}

/**
 * A program, or a thread that makes files, begins that nobody would wait for when this process ends.
 * @param end ends it; must not wait for longer than one file takes
 * @returns to be called once it has ended
 */
export function addRunningProgram(end: () => void): () => void {
  runningPrograms.add(end);
  tell();
  return () => {
    runningPrograms.delete(end);
    tell();
  };
}

function tell(): void {
  pendingListener(pendingFiles.size + runningPrograms.size);
}

/** Ends what runs and removes what is half written. For signal handlers. */
export function removePendingFiles(): void {
  for (const end of runningPrograms) end();
  runningPrograms.clear();
  for (const path of pendingFiles) rmSync(path, { force: true, recursive: true });
  pendingFiles.clear();
}
