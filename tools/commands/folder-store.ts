import { statSync } from 'node:fs';
import { join } from 'node:path';
import { chunks } from '../bytes/source.ts';
import type { ObjectState, ObjectStore, Upload } from '../update/publish.ts';
import { openFile, writeFileWhole } from './files.ts';

/** Objects as files below a folder. Each appears whole or not at all. */
export class FolderStore implements ObjectStore {
  readonly place: string;

  constructor(folder: string) {
    this.place = folder;
  }

  head(name: string): Promise<ObjectState | undefined> {
    const stat = statSync(join(this.place, name), { throwIfNoEntry: false });
    return Promise.resolve(stat === undefined ? undefined : { size: stat.size, sha256: undefined });
  }

  get(name: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const path = join(this.place, name);
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return Promise.resolve(undefined);
    return Promise.resolve(contentOf(path));
  }

  async put(
    name: string,
    upload: Upload,
    { onSent }: { readonly onSent: (bytes: number) => void },
  ): Promise<boolean> {
    await writeFileWhole(join(this.place, name), counted(upload, onSent));
    return true;
  }
}

// eslint-disable-next-line @typescript-eslint/require-await -- a file as a store gives it
async function* contentOf(path: string): AsyncGenerator<Uint8Array> {
  const file = openFile(path);
  try {
    yield* chunks(file);
  } finally {
    file.close();
  }
}

function* counted(upload: Upload, onSent: (bytes: number) => void): Generator<Uint8Array> {
  let bytes = 0;
  for (const chunk of upload.chunks()) {
    bytes += chunk.length;
    onSent(bytes);
    yield chunk;
  }
}
