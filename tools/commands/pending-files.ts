/** What is half written, so that a signal can take it away. */
import { rmSync } from 'node:fs';

const pendingFiles = new Set<string>();

let pendingListener: (count: number) => void = () => undefined;

/** Tells how many files are half written, whenever that changes: whoever handles signals wants to know. */
export function onPendingFiles(listener: (count: number) => void): void {
  pendingListener = listener;
}

/** A file or folder under a temporary name begins. */
export function addPendingFile(path: string): void {
  pendingFiles.add(path);
  pendingListener(pendingFiles.size);
}

/** It has its final name, or is gone. */
export function settlePendingFile(path: string): void {
  pendingFiles.delete(path);
  pendingListener(pendingFiles.size);
}

/** Removes what is half written. For signal handlers: nothing here waits. */
export function removePendingFiles(): void {
  for (const path of pendingFiles) rmSync(path, { force: true, recursive: true });
  pendingFiles.clear();
}
