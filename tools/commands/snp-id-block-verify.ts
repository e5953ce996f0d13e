import { equalBytes } from '../bytes/compare.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { jsonText } from '../bytes/text.ts';
import { formatError, mismatchError, usageError, type Fact } from '../errors.ts';
import { ID_AUTH_BYTES, ID_BLOCK_BYTES, readIdAuth, readIdBlock, verifyIdAuth } from '../snp/id-block.ts';
import { snpKeyDigest } from '../snp/p384.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { flagOption, parseIntegerLiteral, textOption } from './options.ts';
import { binaryOrBase64 } from './snp-id-block-options.ts';
import { hexValue, OUT_FILE_OPTION, parseBytes, readSmall, writeText } from './snp-options.ts';

export const command: Command = {
  summary: 'check the signatures of an ID block, and what it says',
  description:
    'Checks both signatures as the firmware does at the end of a launch, compares what is given, and shows the block. Takes the text that ' +
    'cvm snp id-block create or snp-create-id-block printed, or the two parts as binary or base64 files. A wrong signature ends with 4, ' +
    'another value with 5.',
  arguments: [{ name: '[text]', description: 'file with the printed text' }],
  options: [
    { flags: '--id-block <file>', description: 'ID block: 96 bytes, or base64' },
    { flags: '--id-auth <file>', description: 'ID authentication: 4096 bytes, or base64' },
    { flags: '--measurement <digest>', description: 'launch digest that the block must name' },
    { flags: '--family-id <hex>', description: 'family id that it must name' },
    { flags: '--image-id <hex>', description: 'image id that it must name' },
    { flags: '--guest-svn <n>', description: 'security version that it must name' },
    { flags: '--policy <value>', description: 'guest policy that it must name' },
    { flags: '--id-key-digest <hex>', description: 'digest that the ID key must have' },
    { flags: '--author-key-digest <hex>', description: 'digest that the author key must have' },
    OUT_FILE_OPTION,
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],

  async run(args, options, io) {
    const [block, authBytes] = readParts(args[0], options, io);
    const fields = readIdBlock(block);
    const auth = readIdAuth(authBytes);
    verifyIdAuth(block, auth);
    const idKeyDigest = snpKeyDigest(auth.idKey);
    const authorKeyDigest = snpKeyDigest(auth.authorKey);
    compareBytes(options, [
      ['measurement', '--measurement', fields.launchDigest],
      ['familyId', '--family-id', fields.familyId],
      ['imageId', '--image-id', fields.imageId],
      ['idKeyDigest', '--id-key-digest', idKeyDigest],
      ['authorKeyDigest', '--author-key-digest', authorKeyDigest],
    ]);
    compareNumber(options, 'guestSvn', '--guest-svn', 32, BigInt(fields.guestSvn));
    compareNumber(options, 'policy', '--policy', 64, fields.policy);
    const shown = {
      measurement: bytesToHex(fields.launchDigest),
      familyId: bytesToHex(fields.familyId),
      imageId: bytesToHex(fields.imageId),
      guestSvn: fields.guestSvn,
      policy: hexValue(fields.policy),
      idKeyDigest: bytesToHex(idKeyDigest),
      authorKeyDigest: bytesToHex(authorKeyDigest),
    };
    const text = flagOption(options, 'json')
      ? `${jsonText({ ok: true, ...shown })}\n`
      : Object.entries(shown)
          .map(([name, value]) => `${name.padEnd(16)}${value}\n`)
          .join('');
    await writeText(options, io, text);
    return 0;
  },
};

function readParts(text: string | undefined, options: OptionValues, io: Io): [Uint8Array, Uint8Array] {
  const [blockPath, authPath] = [textOption(options, 'idBlock'), textOption(options, 'idAuth')];
  if (text !== undefined && blockPath === undefined && authPath === undefined) {
    const line = Buffer.from(readSmall(io, text, text)).toString('latin1');
    const parts = /^id-block=([A-Za-z0-9+/=]+),id-auth=([A-Za-z0-9+/=]+)\s*$/m.exec(line);
    if (parts === null) {
      throw formatError('ID_BLOCK_FORMAT', 'the file has no line id-block=…,id-auth=…', {
        facts: [['file', text]],
        mend: 'give the text that cvm snp id-block create printed, or the parts with --id-block and --id-auth',
      });
    }
    const [block = '', auth = ''] = parts.slice(1);
    return [parseBytes(block, 'id-block', ID_BLOCK_BYTES), parseBytes(auth, 'id-auth', ID_AUTH_BYTES)];
  }
  if (text !== undefined || blockPath === undefined || authPath === undefined) {
    throw usageError('OPTION_MISSING', 'an ID block is one text, or --id-block and --id-auth', {
      mend: 'give one or the other',
    });
  }
  return [
    binaryOrBase64(readSmall(io, blockPath, blockPath), ID_BLOCK_BYTES),
    binaryOrBase64(readSmall(io, authPath, authPath), ID_AUTH_BYTES),
  ];
}

function compareBytes(
  options: OptionValues,
  rows: readonly (readonly [option: string, flag: string, found: Uint8Array])[],
): void {
  for (const [option, flag, found] of rows) {
    const text = textOption(options, option);
    if (text === undefined) continue;
    const expected = parseBytes(text, flag, found.length);
    if (!equalBytes(expected, found))
      throw differs(flag, ['expected', bytesToHex(expected)], ['found', bytesToHex(found)]);
  }
}

function compareNumber(
  options: OptionValues,
  option: string,
  flag: string,
  bits: number,
  found: bigint,
): void {
  const text = textOption(options, option);
  if (text === undefined) return;
  const expected = parseIntegerLiteral(text, flag, bits);
  if (expected !== found) throw differs(flag, ['expected', hexValue(expected)], ['found', hexValue(found)]);
}

function differs(flag: string, ...facts: readonly Fact[]): Error {
  return mismatchError('ID_BLOCK_DIFFERS', `the ID block has another value than ${flag}`, {
    facts,
    mend: 'sign a block for the guest that is meant',
  });
}
