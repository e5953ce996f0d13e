import { readU32 } from '../bytes/little-endian.ts';
import { CvmError, formatError, mismatchError, trustError } from '../errors.ts';
import { ALGORITHM_P384_SHA384, ID_BLOCK_VERSION, writeIdBlock, type IdBlock } from '../snp/id-block.ts';
import {
  isP384Scalar,
  isSignedBy,
  p384Key,
  P1363_BYTES,
  publicKeyPoint,
  readAnySignature,
  readSnpPublicKey,
  SNP_FIELD_BYTES,
  SNP_SIGNATURE_BYTES,
  writeSnpPublicKey,
  writeSnpSignature,
} from '../snp/p384.ts';
import { guestPolicy } from './measured-file.ts';
import type { IdBlockPublicKey, IdBlockSignature, IgvmFile, SnpIdBlock } from './model.ts';

/*
 * The header that carries AMD's ID block and what authenticates it. Blocks, keys and signatures are those of `snp/`; the
 * header has them without the reserved bytes, and an author key only where there is an author.
 */

/**
 * The policy that the ID block must name: that of the file.
 * @throws CvmError mismatch IGVM_POLICY_MISSING
 */
export function requirePolicy(file: IgvmFile, mask: number): bigint {
  const policy = guestPolicy(file, mask);
  if (policy !== undefined) return policy;
  throw mismatchError('IGVM_POLICY_MISSING', 'an ID block needs the policy of the file, which has none', {
    facts: [['mask', `0x${mask.toString(16)}`]],
    mend: 'build the file with a policy for SEV-SNP',
  });
}

/**
 * A P-384 public key in PEM.
 * @returns 1028 bytes, see {@link writeSnpPublicKey}
 * @throws CvmError format IGVM_KEY
 */
export function readPublicKeyPem(pem: string, what: string): Uint8Array {
  // A private key would be accepted as well, and then lie where public ones are expected.
  if (pem.includes('PRIVATE KEY')) throw keyError(what, 'a private key where a public one belongs');
  return withKeyErrors(what, 'no public key in PEM', () =>
    writeSnpPublicKey(publicKeyPoint(Buffer.from(pem), what)),
  );
}

/**
 * Reads a key, and says what is wrong with it as an error of IGVM files.
 * @param none what is found where there is no key
 * @throws CvmError format IGVM_KEY
 */
export function withKeyErrors<T>(what: string, none: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof CvmError) || error.code !== 'SNP_KEY_FORMAT') throw error;
    // Where the reader failed, it says why; a key that could be read is of another kind.
    const { cause } = error;
    throw keyError(what, cause === undefined ? 'a key of another kind or curve' : none, cause);
  }
}

function keyError(what: string, found: string, cause?: unknown): Error {
  return formatError('IGVM_KEY', 'a key cannot be used: P-384 in PEM is needed', {
    facts: [
      ['key', what],
      ['found', found],
    ],
    mend: 'make one with openssl ecparam -name secp384r1 -genkey -noout; openssl ec -pubout gives its public half',
    cause,
  });
}

/**
 * A detached signature: 96 bytes r and s, big-endian, or DER as openssl writes it.
 * @returns R and S as {@link P1363_BYTES}
 * @throws CvmError format IGVM_SIGNATURE_FORM
 */
export function readSignature(bytes: Uint8Array, what: string): Uint8Array {
  const wrong = (cause?: unknown): Error =>
    formatError('IGVM_SIGNATURE_FORM', 'a signature is neither 96 bytes nor DER of P-384', {
      facts: [
        ['signature', what],
        ['size', `${bytes.length} bytes`],
      ],
      mend: 'sign with openssl dgst -sha384 -sign KEY',
      cause,
    });
  // igvmmeasure's flags name no third form.
  if (bytes.length === SNP_SIGNATURE_BYTES) throw wrong();
  let signature: Uint8Array;
  try {
    signature = readAnySignature(bytes, what);
  } catch (cause) {
    throw wrong(cause);
  }
  const half = P1363_BYTES / 2;
  if (!isP384Scalar(signature.subarray(0, half)) || !isP384Scalar(signature.subarray(half))) throw wrong();
  return signature;
}

/** Keys of 1028 bytes; signatures R and S as {@link P1363_BYTES}. */
export interface IdBlockParts {
  readonly block: IdBlock;
  readonly idKey: Uint8Array;
  readonly idSignature: Uint8Array;
  /** The author's key and its signature over the ID key, where there is an author. */
  readonly author?: { readonly key: Uint8Array; readonly signature: Uint8Array } | undefined;
}

/**
 * The header of a signed block. Both signatures are checked: a wrong one would be found by the firmware of a machine far
 * away.
 * @throws CvmError trust IGVM_SIGNATURE
 */
export function idBlockHeader(mask: number, { block, idKey, idSignature, author }: IdBlockParts): SnpIdBlock {
  requireSignature(idSignature, writeIdBlock(block), idKey, 'ID block');
  if (author !== undefined) requireSignature(author.signature, idKey, author.key, 'ID key');
  const none = new Uint8Array(SNP_FIELD_BYTES);
  return {
    kind: 'snp-id-block',
    mask,
    authorKeyEnabled: author === undefined ? 0 : 1,
    ld: block.launchDigest,
    familyId: block.familyId,
    imageId: block.imageId,
    version: ID_BLOCK_VERSION,
    guestSvn: block.guestSvn,
    idKeyAlgorithm: ALGORITHM_P384_SHA384,
    authorKeyAlgorithm: ALGORITHM_P384_SHA384,
    idKeySignature: headerSignature(idSignature),
    idPublicKey: headerKey(idKey),
    authorKeySignature: author === undefined ? { r: none, s: none } : headerSignature(author.signature),
    authorPublicKey: author === undefined ? { curve: 0, qx: none, qy: none } : headerKey(author.key),
  };
}

/** @throws CvmError trust IGVM_SIGNATURE */
function requireSignature(signature: Uint8Array, message: Uint8Array, key: Uint8Array, what: string): void {
  if (isSignedBy(p384Key(readSnpPublicKey(key, what), what), message, signature)) return;
  throw trustError('IGVM_SIGNATURE', 'a signature does not belong to its message and key', {
    facts: [['signature', what]],
    mend: 'sign what --id-block-output or --id-key-output wrote for this very file, with SHA-384 and this key',
  });
}

function headerSignature(signature: Uint8Array): IdBlockSignature {
  const bytes = writeSnpSignature(signature);
  return { r: bytes.slice(0, SNP_FIELD_BYTES), s: bytes.slice(SNP_FIELD_BYTES, 2 * SNP_FIELD_BYTES) };
}

/** The curve is a u32 in front of the coordinates. */
function headerKey(key: Uint8Array): IdBlockPublicKey {
  const y = 4 + SNP_FIELD_BYTES;
  return { curve: readU32(key, 0), qx: key.slice(4, y), qy: key.slice(y, y + SNP_FIELD_BYTES) };
}
