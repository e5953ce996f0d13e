import {
  ID_BLOCK_BYTES,
  idBlockText,
  readIdBlock,
  verifyIdAuth,
  writeIdAuth,
  type IdAuth,
} from '../snp/id-block.ts';
import { publicKeyPoint, readAnySignature, writeSnpPublicKey } from '../snp/p384.ts';
import type { Command } from './command.ts';
import { requiredText } from './options.ts';
import { binaryOrBase64, FILE_OPTIONS, writeIdFiles } from './snp-id-block-options.ts';
import { OUT_FILE_OPTION, readSmall, writeText } from './snp-options.ts';

export const command: Command = {
  summary: 'put an ID block and signatures that were made elsewhere together',
  description:
    'Second of two steps without private keys: takes the ID block, both public keys and both signatures (DER as openssl writes it, or R and S), ' +
    'checks the signatures as the firmware will, and prints what snp-create-id-block prints.',
  options: [
    { flags: '--id-block <file>', description: 'ID block: 96 bytes, or base64', required: true },
    { flags: '--idkey-public <file>', description: 'public ID key: P-384, PEM', required: true },
    { flags: '--authorkey-public <file>', description: 'public author key: P-384, PEM', required: true },
    { flags: '--id-block-signature <file>', description: "the ID key's, over the ID block", required: true },
    {
      flags: '--idkey-signature <file>',
      description: "the author key's, over the 1028 bytes of the ID key",
      required: true,
    },
    ...FILE_OPTIONS,
    OUT_FILE_OPTION,
    { flags: '--json', description: 'print errors as one JSON object' },
  ],

  async run(_args, options, io) {
    const file = (name: string): readonly [Uint8Array, string] => {
      const path = requiredText(options, name);
      return [readSmall(io, path, path), path];
    };
    const [blockFile] = file('idBlock');
    const block = binaryOrBase64(blockFile, ID_BLOCK_BYTES);
    readIdBlock(block);
    const auth: IdAuth = {
      idKey: writeSnpPublicKey(publicKeyPoint(...file('idkeyPublic'))),
      blockSignature: readAnySignature(...file('idBlockSignature')),
      authorKey: writeSnpPublicKey(publicKeyPoint(...file('authorkeyPublic'))),
      keySignature: readAnySignature(...file('idkeySignature')),
    };
    verifyIdAuth(block, auth);
    const bytes = writeIdAuth(auth);
    await writeIdFiles(options, io, [
      ['idBlockFile', block],
      ['idAuthFile', bytes],
    ]);
    await writeText(options, io, idBlockText(block, bytes));
    return 0;
  },
};
