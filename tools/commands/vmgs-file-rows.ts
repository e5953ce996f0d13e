/** The files of a store as rows: what `list` and `dump-file-table` show. */
import { fileName, isTableId } from '../vmgs/file-ids.ts';
import { VMGS_BLOCK_BYTES } from '../vmgs/layout.ts';
import { isEncryptedFile, isEncryptedStore, type Store } from '../vmgs/store.ts';

export interface FileRow {
  readonly id: number;
  readonly name: string | null;
  readonly sizeBytes: number;
  readonly firstBlock: number;
  readonly blocks: number;
  readonly allocatedBytes: number;
  readonly encrypted: boolean;
  readonly isTable: boolean;
}

/** Ascending by id, the tables among them. */
export function fileRows(store: Store): FileRow[] {
  return store.files.flatMap((entry, id) =>
    entry === undefined
      ? []
      : [
          {
            id,
            name: fileName(id) ?? null,
            sizeBytes: entry.sizeBytes,
            firstBlock: entry.firstBlock,
            blocks: entry.blocks,
            allocatedBytes: entry.blocks * VMGS_BLOCK_BYTES,
            encrypted: isEncryptedFile(store, id),
            isTable: isTableId(id),
          },
        ],
  );
}

/** What both commands print with `--json`. */
export function storeJson(store: Store): object {
  return {
    storeBytes: store.geometry.storeBytes,
    sequence: store.header.sequence,
    encrypted: isEncryptedStore(store),
    unlocked: store.unlocked !== undefined,
    files: fileRows(store),
  };
}

/** Rows of cells in columns, numbers to the right. */
export function showRows(rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map(String));
  const isNumber = (column: number): boolean => typeof rows.at(-1)?.[column] === 'number';
  const widths =
    cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (isNumber(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ');
  return cells.map((row) => `${line(row).trimEnd()}\n`).join('');
}
