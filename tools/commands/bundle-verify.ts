import { hexToBytes } from '../bytes/hex.ts';
import { jsonText, showText } from '../bytes/text.ts';
import { BUNDLE_ROLES, verifyBundle, type BundleReport } from '../dstack/verify.ts';
import { CvmError, usageError } from '../errors.ts';
import { choiceOption, openBundle } from './bundle-files.ts';
import type { Command } from './command.ts';
import { resolvePath } from './files.ts';
import { flagOption, textOption } from './options.ts';

export const command: Command = {
  summary: 'check a dstack image bundle against its digest',
  description:
    'Checks manifest, digest, files, metadata, and the measurement documents, which are computed again. Stricter than ' +
    'sha256sum -c: a line that another reader might skip is an error. A folder is held to the rules of the VMM, an ' +
    'mr_<digest>.tar.gz to those of the verifier. Reads only.',
  arguments: [{ name: '<bundle>', description: 'folder, NAME.tar.gz or mr_<digest>.tar.gz' }],
  options: [
    { flags: '--os-image-hash <hex>', description: 'the digest that the bundle must have' },
    {
      flags: '--role <role>',
      description: `by whose rules: ${BUNDLE_ROLES.join(', ')}`,
      values: BUNDLE_ROLES,
    },
    { flags: '--json', description: 'print one JSON object, also for errors' },
  ],
  async run([path = ''], options, io) {
    const demanded = textOption(options, 'osImageHash');
    if (demanded !== undefined) checkHash(demanded);
    const role = textOption(options, 'role');
    const bundle = await openBundle(resolvePath(io, path));
    try {
      const report = verifyBundle(bundle.contents, {
        ...(demanded === undefined ? {} : { osImageHash: demanded }),
        ...(role === undefined ? {} : { role: choiceOption(role, BUNDLE_ROLES, '--role') }),
      });
      io.out(flagOption(options, 'json') ? json(report) : text(report));
    } finally {
      bundle.close();
    }
    return 0;
  },
};

/** What a caller types is a call, not a format. */
function checkHash(text: string): void {
  try {
    hexToBytes(text, '--os-image-hash', 32);
  } catch (error) {
    if (!(error instanceof CvmError)) throw error;
    throw usageError('OPTION_HASH', '--os-image-hash is not 64 hex digits', {
      facts: error.facts,
      cause: error,
    });
  }
}

function json({ osImageHash, role, metadata, rootfsHash, files }: BundleReport): string {
  const { version, isDev, ovmfVariant } = metadata;
  return `${jsonText({ ok: true, osImageHash, role, version, isDev, ovmfVariant: ovmfVariant ?? null, rootfsHash, files })}\n`;
}

function text(report: BundleReport): string {
  const rows = report.files.map(({ name, binding, note }) => [name, binding, note ?? ''] as const);
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, binding, note]) =>
    `  ${showText(name).padEnd(width)}  ${binding.padEnd(10)}  ${note}`.trimEnd(),
  );
  const version = report.metadata.version === '' ? 'no version' : report.metadata.version;
  return `ok ${report.osImageHash}\n  ${showText(version)}, as a ${report.role} sees it\n${lines.join('\n')}\n`;
}
