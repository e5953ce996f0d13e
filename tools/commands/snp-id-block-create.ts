import { usageError, type CvmError } from '../errors.ts';
import { readSigningKey, signIdBlock } from '../snp/id-block-sign.ts';
import { idBlockText, verifyIdAuth, writeIdAuth, writeIdBlock } from '../snp/id-block.ts';
import type { Command } from './command.ts';
import { textOption } from './options.ts';
import { BLOCK_OPTIONS, blockOptions, FILE_OPTIONS, writeIdFiles } from './snp-id-block-options.ts';
import { readSmall } from './snp-options.ts';

const PEER = 'snp-create-id-block';

export const command: Command = {
  summary: 'sign an ID block: which launch digest a guest of yours must have',
  description:
    'Prints what snp-create-id-block 0.0.13 prints: ID block and ID authentication in base64, as QEMU takes them, and the digests ' +
    'of both keys. Signatures are those of RFC 6979: the same keys and values make the same bytes. Where keys must not meet this ' +
    'machine, cvm snp id-block prepare and assemble do it in two steps. Ends with 2 when the call is wrong, with 1 when it cannot be done.',
  options: [
    ...BLOCK_OPTIONS,
    { flags: '--idkey <file>', description: 'private ID key: P-384, PEM' },
    { flags: '--authorkey <file>', description: 'private author key: P-384, PEM' },
    ...FILE_OPTIONS,
    { flags: '--compat <tool>', description: `${PEER}: take the first 48 bytes of a longer measurement` },
    { flags: '--json', description: 'print errors as one JSON object' },
  ],
  exitCode: (error: CvmError) => (error.kind === 'usage' && !error.code.startsWith('FILE_') ? 2 : 1),

  async run(_args, options, io) {
    const compat = textOption(options, 'compat');
    if (compat !== undefined && compat !== PEER) {
      throw usageError('COMPAT_UNKNOWN', '--compat names no tool that this command stands in for', {
        facts: [
          ['found', compat],
          ['known', PEER],
        ],
      });
    }
    const [idKeyPath, authorKeyPath] = [textOption(options, 'idkey'), textOption(options, 'authorkey')];
    if (idKeyPath === undefined || authorKeyPath === undefined) {
      throw usageError('ID_BLOCK_KEYS', 'missing key files for id block', {
        mend: 'give --idkey and --authorkey, or sign elsewhere: cvm snp id-block prepare',
      });
    }
    const block = blockOptions(options, compat !== undefined);
    const idKey = readSigningKey(readSmall(io, idKeyPath, 'the ID key'), idKeyPath);
    const authorKey = readSigningKey(readSmall(io, authorKeyPath, 'the author key'), authorKeyPath);
    const auth = signIdBlock(block, idKey, authorKey);
    const [blockBytes, authBytes] = [writeIdBlock(block), writeIdAuth(auth)];
    // Another implementation than the one that signed.
    verifyIdAuth(blockBytes, auth);
    await writeIdFiles(options, io, [
      ['idBlockFile', blockBytes],
      ['idAuthFile', authBytes],
    ]);
    io.out(idBlockText(blockBytes, authBytes));
    return 0;
  },
};
