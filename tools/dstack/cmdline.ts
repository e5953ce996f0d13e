import { hexToBytes } from '../bytes/hex.ts';
import { formatError, usageError } from '../errors.ts';

/** What dstack's image build starts every kernel with. Source: Dstack-TEE/dstack os/image/kernel-cmdline.sh. */
export const DSTACK_CMDLINE =
  'console=ttyS0 init=/init panic=1 net.ifnames=0 biosdevname=0 mce=off oops=panic pci=noearly pci=nommconf ' +
  'random.trust_cpu=y random.trust_bootloader=n tsc=reliable no-kvmclock';

const HASH_TOKEN = 'dstack.rootfs_hash=';
const SIZE_TOKEN = 'dstack.rootfs_size=';

/**
 * The command line that binds a root file system: the base, one blank, and two tokens.
 * @param rootfsHash dm-verity root hash, 64 hex digits
 * @param rootfsSizeBytes where the data ends and the hash tree begins
 * @throws CvmError usage CMDLINE_BASE when the base has the tokens already; format HEX_*
 */
export function bindRootfs(base: string, rootfsHash: string, rootfsSizeBytes: number): string {
  if (tokens(base).some((token) => token.startsWith(HASH_TOKEN) || token.startsWith(SIZE_TOKEN))) {
    throw usageError('CMDLINE_BASE', 'the command line names a root file system already', {
      facts: [['found', base.slice(0, 400)]],
      mend: 'give it without dstack.rootfs_hash and dstack.rootfs_size, which are added from the options',
    });
  }
  hexToBytes(rootfsHash, 'the rootfs hash', 32);
  return `${base} ${HASH_TOKEN}${rootfsHash.toLowerCase()} ${SIZE_TOKEN}${rootfsSizeBytes}`;
}

/**
 * The root hash that a command line binds.
 * @param where names the document in errors
 * @returns 32 bytes
 * @throws CvmError format CMDLINE_NO_ROOTFS | CMDLINE_TWO_ROOTFS | CMDLINE_ROOTFS_HEX | CMDLINE_ROOTFS_LENGTH
 */
export function rootfsHash(cmdline: string, where: string): Uint8Array {
  const found = tokens(cmdline).filter((token) => token.startsWith(HASH_TOKEN));
  const [token] = found;
  if (token === undefined) {
    throw formatError('CMDLINE_NO_ROOTFS', `dstack.rootfs_hash is required in ${where}`, {
      facts: [['command line', cmdline.slice(0, 400)]],
      mend: 'without it the measurement says nothing about the root file system',
    });
  }
  if (found.length > 1) {
    // Init scripts and verifiers differ in which of two tokens they take.
    throw formatError('CMDLINE_TWO_ROOTFS', `dstack.rootfs_hash stands ${found.length} times in ${where}`, {
      facts: [['command line', cmdline.slice(0, 400)]],
    });
  }
  const hex = token.slice(HASH_TOKEN.length);
  if (hex.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(hex)) {
    throw formatError('CMDLINE_ROOTFS_HEX', `dstack.rootfs_hash in ${where} must be valid hex`, {
      facts: [['found', hex.slice(0, 200)]],
    });
  }
  if (hex.length !== 64) {
    throw formatError('CMDLINE_ROOTFS_LENGTH', `dstack.rootfs_hash in ${where} must be 32 bytes`, {
      facts: [['found', `${hex.length / 2} bytes`]],
    });
  }
  return hexToBytes(hex);
}

/** Kernels split at blanks, tabs and line feeds. */
function tokens(cmdline: string): string[] {
  return cmdline.split(/[\s]+/).filter((token) => token !== '');
}
