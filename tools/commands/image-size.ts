import { mismatchError } from '../errors.ts';
import type { OptionSpec, OptionValues } from './command.ts';
import { openFile } from './files.ts';
import { parseDecimal, textOption } from './options.ts';

export const IMAGE_SIZE_OPTION: OptionSpec = {
  flags: '--image-size <bytes>',
  description: 'refuse an image file of another size',
};

/** Bazel checks the sha256 of a download and not its size; a lock states both. */
export function checkImageSize(path: string, options: OptionValues): void {
  const text = textOption(options, 'imageSize');
  if (text === undefined) return;
  const expected = parseDecimal(text, '--image-size', 0, Number.MAX_SAFE_INTEGER);
  const file = openFile(path);
  file.close();
  if (file.sizeBytes === expected) return;
  throw mismatchError('IMAGE_SIZE', 'the image file has another size than it must have', {
    facts: [
      ['path', path],
      ['expected', `${expected} bytes`],
      ['found', `${file.sizeBytes} bytes`],
    ],
    mend: 'fetch the image again: the lock says what it has to be',
  });
}
