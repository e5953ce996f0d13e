import { hexToBytes } from '../bytes/hex.ts';
import { showText, utf8FromBytes } from '../bytes/text.ts';
import { mismatchError, usageError } from '../errors.ts';
import { requireMovable } from '../igvm/edit.ts';
import {
  idBlockHeader,
  readPublicKeyPem,
  readSignature,
  requirePolicy,
  withKeyErrors,
  type IdBlockParts,
} from '../igvm/id-block.ts';
import { checkKvm } from '../igvm/kvm-check.ts';
import { platformMask } from '../igvm/measured-file.ts';
import { measureIgvm } from '../igvm/measure.ts';
import type { IgvmFile, SnpIdBlock } from '../igvm/model.ts';
import { writeIgvm } from '../igvm/writer.ts';
import { readSigningKey, signP384 } from '../snp/id-block-sign.ts';
import { SNP_ID_BYTES, writeIdBlock, type IdBlock } from '../snp/id-block.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { requireDistinctOutputs, resolvePath, writeFileWhole } from './files.ts';
import { openIgvm, readSmallFile } from './igvm-files.ts';
import { compatOption, MEASURE_OPTIONS, peerExitCode, platformOption } from './igvm-options.ts';
import { inFile } from './in-file.ts';
import { flagOption, parseDecimal, textOption } from './options.ts';

const KEY_LIMIT_BYTES = 64 * 1024;

export const command: Command = {
  summary: 'sign an IGVM file: put an SEV-SNP ID block into it',
  description:
    'Measures the file and appends an ID block with its digest and policy, signed by the ID key and, where there is one, ' +
    'an author key. Signatures are deterministic (RFC 6979). Where keys must not come near the build, sign in two steps: ' +
    'write what is to be signed with --id-block-output, sign it elsewhere with SHA-384, and pass --id-signature and ' +
    '--id-public-key. Flags, output and exit codes are those of igvmmeasure sign; unlike it, a file of version 2 stays ' +
    'one, and a signed file is refused unless --replace (see --compat).',
  arguments: [{ name: '<file>', description: 'IGVM file' }],
  options: [
    ...MEASURE_OPTIONS,
    { flags: '--output <path>', description: 'signed file to write' },
    { flags: '--id-key <pem>', description: 'private P-384 key that signs the ID block' },
    { flags: '--author-key <pem>', description: 'private P-384 key that signs the ID key' },
    {
      flags: '--id-signature <path>',
      description: 'instead of --id-key: a signature of the ID block, 96 bytes or DER',
    },
    { flags: '--id-public-key <pem>', description: 'the key of --id-signature' },
    { flags: '--author-signature <path>', description: 'instead of --author-key: a signature of the ID key' },
    { flags: '--author-public-key <pem>', description: 'the key of --author-signature' },
    { flags: '--id-block-output <path>', description: 'write the 96 bytes that the ID key signs' },
    { flags: '--id-key-output <path>', description: 'write the 1028 bytes that the author key signs' },
    { flags: '--family-id <hex>', description: '16 bytes; zeros when absent' },
    { flags: '--image-id <hex>', description: '16 bytes; zeros when absent' },
    { flags: '--guest-svn <n>', description: "the guest's security version", defaultValue: '0' },
    { flags: '-q, --quiet', description: 'do not say that the file was written' },
    { flags: '--replace', description: 'take the ID blocks out that the file has for SEV-SNP' },
  ],
  exitCode: peerExitCode,

  async run([path = ''], options, io) {
    const [output, blockOutput, keyOutput] = ['output', 'idBlockOutput', 'idKeyOutput'].map((name) =>
      textOption(options, name),
    );
    requireDistinctOutputs(io, output, blockOutput, keyOutput);
    if (output === undefined && blockOutput === undefined && keyOutput === undefined)
      throw usage('nothing is to be written', 'give --output, --id-block-output or --id-key-output');
    if (platformOption(options) !== 'sev-snp')
      throw usage('signing is for SEV-SNP alone', 'leave --platform out');
    requireConsistent(options);
    const file = openIgvm(io, path);
    const mask = inFile(path, () => platformMask(file, 'SEV_SNP'));
    const block = inFile(path, () => idBlockOf(file, mask, options));
    const idSide = sideOf(io, options, 'id');
    const writes: (readonly [string, Uint8Array])[] = [];
    if (blockOutput !== undefined) writes.push([blockOutput, writeIdBlock(block)]);
    if (keyOutput !== undefined) {
      if (idSide === undefined)
        throw usage('--id-key-output needs the ID key', 'give --id-public-key or --id-key');
      writes.push([keyOutput, idSide.publicKey]);
    }
    if (output !== undefined) {
      if (idSide === undefined)
        throw usage('a signed file needs an ID key', 'give --id-key, or --id-signature');
      const author = sideOf(io, options, 'author');
      const parts: IdBlockParts = {
        block,
        idKey: idSide.publicKey,
        idSignature: idSide.signature(writeIdBlock(block)),
        author:
          author === undefined
            ? undefined
            : { key: author.publicKey, signature: author.signature(idSide.publicKey) },
      };
      writes.push([output, inFile(path, () => withIdBlock(file, idBlockHeader(mask, parts), options))]);
    }
    for (const [name, bytes] of writes) await writeFileWhole(resolvePath(io, name), [bytes]);
    if (output !== undefined && !flagOption(options, 'quiet'))
      io.out(`Successfully created signed file: ${showText(output)}\n`);
    return 0;
  },
};

/** Every option stands with those it needs, and not with those it excludes. */
function requireConsistent(options: OptionValues): void {
  for (const side of ['id', 'author']) {
    const given = (name: string): boolean => textOption(options, `${side}${name}`) !== undefined;
    if (given('Key') && (given('Signature') || given('PublicKey')))
      throw usage(
        `--${side}-key stands with --${side}-signature or --${side}-public-key`,
        'leave one of them out',
      );
    if (given('Signature') && !given('PublicKey'))
      throw usage(`--${side}-signature stands without --${side}-public-key`, `give --${side}-public-key`);
    if (textOption(options, 'output') !== undefined && given('PublicKey') && !given('Signature'))
      throw usage(`--${side}-public-key stands without --${side}-signature`, `give --${side}-signature`);
  }
}

function idBlockOf(file: IgvmFile, mask: number, options: OptionValues): IdBlock {
  const compat = compatOption(options);
  const { digest } = measureIgvm(file, {
    platform: 'sev-snp',
    nativeZero: flagOption(options, 'nativeZero'),
    compat,
  });
  if (flagOption(options, 'checkKvm')) checkKvm(file, mask, compat);
  const id = (name: string): Uint8Array => {
    const text = textOption(options, name);
    return text === undefined
      ? new Uint8Array(SNP_ID_BYTES)
      : hexToBytes(text, `--${name.replace('Id', '-id')}`, SNP_ID_BYTES);
  };
  return {
    launchDigest: digest,
    familyId: id('familyId'),
    imageId: id('imageId'),
    guestSvn: parseDecimal(textOption(options, 'guestSvn') ?? '0', '--guest-svn', 0, 0xffff_ffff),
    policy: requirePolicy(file, mask),
  };
}

/** A public key (1028 bytes), and what it makes of a message: R and S, big-endian, 48 bytes each. */
interface Side {
  readonly publicKey: Uint8Array;
  signature(message: Uint8Array): Uint8Array;
}

/** A key that signs, or one with a signature that was made elsewhere; undefined when neither was given. */
function sideOf(io: Pick<Io, 'cwd'>, options: OptionValues, side: 'id' | 'author'): Side | undefined {
  const pem = (path: string): string => utf8FromBytes(readSmallFile(io, path, KEY_LIMIT_BYTES), path);
  const keyPath = textOption(options, `${side}Key`);
  if (keyPath !== undefined) {
    const key = withKeyErrors(keyPath, 'no private key in PEM, or an encrypted one', () =>
      readSigningKey(Buffer.from(pem(keyPath)), keyPath),
    );
    return { publicKey: key.publicKey, signature: (message) => signP384(key, message) };
  }
  const publicPath = textOption(options, `${side}PublicKey`);
  if (publicPath === undefined) return undefined;
  const publicKey = readPublicKeyPem(pem(publicPath), publicPath);
  return {
    publicKey,
    signature() {
      const path = textOption(options, `${side}Signature`) ?? '';
      return readSignature(readSmallFile(io, path, KEY_LIMIT_BYTES), path);
    },
  };
}

function withIdBlock(file: IgvmFile, header: SnpIdBlock, options: OptionValues): Uint8Array {
  requireMovable(file);
  const isCompat = compatOption(options) !== undefined;
  const isOld = (other: IgvmFile['headers'][number]): boolean =>
    other.kind === 'snp-id-block' && (other.mask & header.mask) !== 0;
  const isReplaced = flagOption(options, 'replace');
  if (file.headers.some(isOld) && !isReplaced && !isCompat) {
    throw mismatchError('IGVM_SIGNED', 'the file holds an ID block already', {
      mend: 'pass --replace to sign it anew',
    });
  }
  const headers = [...file.headers.filter((other) => !(isReplaced && isOld(other))), header];
  return writeIgvm({ ...file, version: isCompat ? 1 : file.version, headers });
}

function usage(message: string, mend: string): Error {
  return usageError('IGVM_SIGN_USAGE', message, { mend });
}
