import { EXTENDED_FILE_TABLE_ID, fileName, FILE_TABLE_ID } from '../vmgs/file-ids.ts';
import { VMGS_BLOCK_BYTES } from '../vmgs/layout.ts';
import { isEncryptedFile, isEncryptedStore } from '../vmgs/store.ts';
import type { Command } from './command.ts';
import { withStore } from './vmgs-file.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  KEY_OPTIONS,
  print,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'list the files of a VMGS store',
  description:
    'Lists file ids, names, sizes, places, and what is encrypted. Without a key that is what the file table shows. Never ' +
    `writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...KEY_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  run: async (args, options, io) =>
    withStore(io, args, options, async (store) => {
      const files = store.files.flatMap((entry, id) =>
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
                isTable: id === FILE_TABLE_ID || id === EXTENDED_FILE_TABLE_ID,
              },
            ],
      );
      const rows = [
        ['id', 'name', 'bytes', 'block', 'blocks', 'encrypted'],
        ...files.map((file) => [
          `${file.id}`,
          file.name ?? '-',
          `${file.sizeBytes}`,
          `${file.firstBlock}`,
          `${file.blocks}`,
          file.encrypted ? 'yes' : 'no',
        ]),
      ];
      const text = rows
        .map(([id = '', name = '', bytes = '', block = '', blocks = '', encrypted = '']) =>
          [
            id.padStart(2),
            name.padEnd(20),
            bytes.padStart(11),
            block.padStart(10),
            blocks.padStart(9),
            encrypted,
          ].join('  '),
        )
        .join('\n');
      const json = {
        storeBytes: store.geometry.storeBytes,
        sequence: store.header.sequence,
        encrypted: isEncryptedStore(store),
        unlocked: store.unlocked !== undefined,
        files,
      };
      await print(io, options, json, `${text}\n`);
      return 0;
    }),
};
