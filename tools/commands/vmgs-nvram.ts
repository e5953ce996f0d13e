/** What the uefi-nvram commands share: reading file 1, and showing variables. */
import { bytesToHex } from '../bytes/hex.ts';
import { showText, utf8Bytes } from '../bytes/text.ts';
import { formatError } from '../errors.ts';
import { BIOS_NVRAM_ID } from '../vmgs/file-ids.ts';
import { fileEntry, isEncryptedFile, readFile, type Store } from '../vmgs/store.ts';
import { NVRAM_LIMIT_BYTES, parseNvram, type NvramVariable } from '../vmgs/uefi-nvram.ts';
import { showEfiTime, variableContent } from '../vmgs/uefi-variables.ts';
import { writeFile, type Change } from '../vmgs/update.ts';
import { encodeNvram } from '../vmgs/uefi-nvram.ts';
import { sourceFromBytes } from '../bytes/source.ts';
import type { Io, OptionSpec, OptionValues } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { flagOption } from './options.ts';
import { secretsOf, type VmgsFile } from './vmgs-file.ts';
import { aliasedText, print } from './vmgs-options.ts';

export const OUTPUT_OPTIONS: readonly OptionSpec[] = [
  { flags: '-o, --output-path <path>', description: 'file to write; standard output when absent' },
  { flags: '--outpath <path>', description: '--output-path' },
  { flags: '-t, --truncate', description: 'about one line of the bytes of each entry' },
];

/** The variables of file 1. @throws CvmError usage VMGS_NOT_FOUND | VMGS_LOCKED; format NVRAM_SIZE | NVRAM_ENTRY */
export function readNvram(store: Store, vmgs: VmgsFile): NvramVariable[] {
  const { sizeBytes } = fileEntry(store, BIOS_NVRAM_ID);
  // Looked at before it is read: a plain file may be as large as the store.
  if (sizeBytes > NVRAM_LIMIT_BYTES) {
    throw formatError('NVRAM_SIZE', 'there is more UEFI NVRAM than openvmm reads', {
      facts: [
        ['found', `${sizeBytes} bytes`],
        ['limit', `${NVRAM_LIMIT_BYTES} bytes`],
      ],
    });
  }
  return parseNvram(readFile(vmgs.source, store, BIOS_NVRAM_ID).read(0, sizeBytes));
}

/** File 1 with other variables, encrypted when it was. */
export function writeNvram(
  store: Store,
  variables: readonly NvramVariable[],
  options: OptionValues,
  io: Io,
): Change {
  const content = sourceFromBytes(encodeNvram(variables));
  const encrypt = isEncryptedFile(store, BIOS_NVRAM_ID);
  return writeFile(store, { id: BIOS_NVRAM_ID, content, encrypt }, secretsOf(io, options));
}

/** Prints variables, or writes them to a file. */
export async function putVariables(
  variables: readonly (Omit<NvramVariable, 'time'> & { readonly time?: Uint8Array })[],
  options: OptionValues,
  io: Io,
): Promise<void> {
  const limit = flagOption(options, 'truncate') ? 16 : Infinity;
  const json = { variables: variables.map((variable) => variableJson(variable)) };
  const text = variables.map((variable) => `${variableText(variable, limit)}\n`).join('');
  const output = aliasedText(options, 'outputPath', 'outpath');
  if (output === undefined) {
    await print(io, options, json, text);
    return;
  }
  const path = resolvePath(io, output);
  let written = '';
  await print(
    { ...io, cwd: io.cwd, out: (content) => void (written += String(content)) },
    options,
    json,
    text,
  );
  await writeFileWhole(path, [utf8Bytes(written)]);
}

type Shown = Omit<NvramVariable, 'time'> & { readonly time?: Uint8Array };

function variableJson({ vendor, name, attributes, time, data }: Shown): object {
  const content = variableContent(name, data);
  return {
    vendor,
    name,
    attributes,
    time: time === undefined ? null : showEfiTime(time),
    sizeBytes: data.length,
    data: bytesToHex(data),
    ...(content.kind === 'boot order' ? { bootOrder: content.order } : {}),
    ...(content.kind === 'load option'
      ? {
          loadOption: {
            attributes: content.option.attributes,
            description: content.option.description,
            paths: content.option.paths,
            optional: bytesToHex(content.option.optional),
          },
        }
      : {}),
    ...(content.kind === 'signature lists'
      ? {
          signatureLists: content.lists.map(({ type, signatures }) => ({
            type,
            signatures: signatures.map((signature) => ({
              owner: signature.owner,
              data: bytesToHex(signature.data),
            })),
          })),
        }
      : {}),
    ...(content.kind === 'data' ? { malformed: content.malformed } : {}),
  };
}

function variableText({ vendor, name, attributes, time, data }: Shown, limit: number): string {
  const content = variableContent(name, data);
  const hex = (bytes: Uint8Array): string =>
    bytes.length > limit ? `${bytesToHex(bytes.subarray(0, limit))}...` : bytesToHex(bytes);
  let text = `Vendor: ${vendor}\nName: ${showText(name)}\nAttributes: 0x${attributes.toString(16)}\n`;
  text += `Size: 0x${data.length.toString(16)}\n`;
  if (time !== undefined) text += `Timestamp: ${showEfiTime(time)}\n`;
  switch (content.kind) {
    case 'boot order':
      return `${text}Boot Order: ${content.order.join(' ')}\n`;
    case 'load option': {
      const { option } = content;
      text += `Load Option: attributes: ${option.attributes.toString(16)}, description: ${showText(option.description)}\n`;
      for (const path of option.paths) text += `  - ${showText(path.text)}\n`;
      return option.optional.length === 0 ? text : `${text}  - opt: ${hex(option.optional)}\n`;
    }
    case 'signature lists':
      text += 'Signature Lists:\n';
      for (const { type, signatures } of content.lists) {
        text += `  - [${type}]\n`;
        for (const { owner, data: signature } of signatures)
          text += `      - Signature Owner: ${owner} Data: ${hex(signature)}\n`;
      }
      return text;
    case 'data':
      return `${text}data: ${hex(data)}${content.malformed ? ' (malformed)' : ''}\n`;
  }
}
