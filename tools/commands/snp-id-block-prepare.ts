import { bytesToHex } from '../bytes/hex.ts';
import { usageError } from '../errors.ts';
import { writeIdBlock } from '../snp/id-block.ts';
import { publicKeyPoint, snpKeyDigest, writeSnpPublicKey } from '../snp/p384.ts';
import type { Command } from './command.ts';
import { textOption } from './options.ts';
import {
  BLOCK_OPTIONS,
  blockOptions,
  MEASUREMENTS_OPTION,
  onlyMeasurement,
  writeIdFiles,
} from './snp-id-block-options.ts';
import { OUT_FILE_OPTION, readSmall, writeText } from './snp-options.ts';

export const command: Command = {
  summary: 'write what the ID key and the author key have to sign',
  description:
    'First of two steps without private keys: writes the ID block (96 bytes, for the ID key) and the ID public key in SNP form (1028 bytes, ' +
    'for the author key). Sign each where its key is, for example with openssl dgst -sha384 -sign KEY -out SIGNATURE FILE, and go on with ' +
    'cvm snp id-block assemble. Prints ID_KEY_DIGEST, as reports will have it.',
  options: [
    ...BLOCK_OPTIONS,
    MEASUREMENTS_OPTION,
    { flags: '--id-block-file <file>', description: 'write the 96 bytes of the ID block there' },
    { flags: '--idkey-public <file>', description: 'public ID key: P-384, PEM' },
    { flags: '--idkey-file <file>', description: 'write the 1028 bytes of the public ID key there' },
    { ...OUT_FILE_OPTION, description: "where the ID key's digest goes, instead of to standard output" },
    { flags: '--json', description: 'print errors as one JSON object' },
  ],

  async run(_args, options, io) {
    const keyPath = textOption(options, 'idkeyPublic');
    const [blockFile, keyFile] = [textOption(options, 'idBlockFile'), textOption(options, 'idkeyFile')];
    if (
      (blockFile === undefined && keyFile === undefined) ||
      (keyPath === undefined) !== (keyFile === undefined)
    ) {
      throw usageError('OPTION_MISSING', 'there is nothing to write', {
        mend: 'give --id-block-file, or --idkey-public together with --idkey-file, or all three',
      });
    }
    // The key alone may be prepared before there is a measurement.
    const measurements = textOption(options, 'measurements');
    if (measurements !== undefined && textOption(options, 'measurement') !== undefined) {
      throw usageError('ID_BLOCK_MEASUREMENTS', '--measurement and --measurements exclude each other', {
        mend: 'give one of the two',
      });
    }
    const given =
      measurements === undefined ? options : { ...options, measurement: onlyMeasurement(io, measurements) };
    const block = blockFile === undefined ? undefined : writeIdBlock(blockOptions(given));
    const key =
      keyPath === undefined
        ? undefined
        : writeSnpPublicKey(publicKeyPoint(readSmall(io, keyPath, 'the ID key'), keyPath));
    await writeIdFiles({ ...options, form: 'binary' }, io, [
      ...(block === undefined ? [] : [['idBlockFile', block] as const]),
      ...(key === undefined ? [] : [['idkeyFile', key] as const]),
    ]);
    if (key !== undefined) await writeText(options, io, `${bytesToHex(snpKeyDigest(key))}\n`);
    return 0;
  },
};
