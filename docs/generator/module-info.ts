/**
 * What Bazel's `starlark_doc_extract` says of a .bzl file: `ModuleInfo` of stardoc_output.proto, as far as the
 * reference shows it. Protocol Buffers' wire format is a list of numbered fields; this reads the two kinds that occur.
 */
export interface ModuleInfo {
  readonly doc: string;
  readonly rules: readonly RuleInfo[];
  readonly providers: readonly ProviderInfo[];
  readonly functions: readonly FunctionInfo[];
  readonly extensions: readonly ExtensionInfo[];
}

export interface RuleInfo {
  readonly name: string;
  readonly doc: string;
  readonly isTest: boolean;
  readonly isExecutable: boolean;
  readonly attributes: readonly AttributeInfo[];
}

export interface AttributeInfo {
  readonly name: string;
  readonly doc: string;
  readonly type: string;
  readonly isMandatory: boolean;
  /** Names of the providers that a label's target has to have; empty when files are enough. */
  readonly providers: readonly string[];
  /** As Starlark writes it; empty when there is none. */
  readonly defaultValue: string;
}

export interface ProviderInfo {
  readonly name: string;
  readonly doc: string;
  readonly fields: readonly { readonly name: string; readonly doc: string }[];
}

export interface FunctionInfo {
  readonly name: string;
  readonly doc: string;
  readonly returns: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly doc: string;
    readonly isMandatory: boolean;
    /** As Starlark writes it; empty when there is none, and of what takes the rest (`**kwargs`). */
    readonly defaultValue: string;
  }[];
}

export interface ExtensionInfo {
  readonly name: string;
  readonly doc: string;
  readonly tags: readonly {
    readonly name: string;
    readonly doc: string;
    readonly attributes: readonly AttributeInfo[];
  }[];
}

/** `AttributeType` of the schema, in the order of its numbers. */
const TYPES = [
  'unknown',
  'name',
  'int',
  'label',
  'string',
  'list of strings',
  'list of ints',
  'list of labels',
  'bool',
  'dict: label → string',
  'dict: string → string',
  'dict: string → list of strings',
  'output file',
  'list of output files',
  'dict: string → label',
] as const;

/** @throws Error when the bytes are no message of this wire format */
export function readModuleInfo(bytes: Uint8Array): ModuleInfo {
  const module = readMessage(bytes);
  return {
    doc: module.text(5),
    rules: module.messages(1).map((rule) => ({
      name: rule.text(1),
      doc: rule.text(2),
      isTest: rule.flag(6),
      isExecutable: rule.flag(7),
      attributes: rule.messages(3).map(attribute),
    })),
    providers: module.messages(2).map((provider) => ({
      name: provider.text(1),
      doc: provider.text(2),
      fields: provider.messages(3).map((field) => ({ name: field.text(1), doc: field.text(2) })),
    })),
    functions: module.messages(3).map((called) => ({
      name: called.text(1),
      doc: called.text(3),
      returns: called.messages(4)[0]?.text(1) ?? '',
      parameters: called.messages(2).map((parameter) => ({
        name: parameter.text(1),
        doc: parameter.text(2),
        defaultValue: parameter.text(3),
        isMandatory: parameter.flag(4),
      })),
    })),
    extensions: module.messages(7).map((extension) => ({
      name: extension.text(1),
      doc: extension.text(2),
      tags: extension.messages(3).map((tag) => ({
        name: tag.text(1),
        doc: tag.text(2),
        attributes: tag.messages(3).map(attribute),
      })),
    })),
  };
}

function attribute(message: Message): AttributeInfo {
  const number = message.number(3);
  const type = TYPES[number];
  if (type === undefined) throw new Error(`attribute type ${number} of ${message.text(1)} is not known here`);
  return {
    name: message.text(1),
    doc: message.text(2),
    type,
    isMandatory: message.flag(4),
    providers: message.messages(5).flatMap((group) => group.texts(1)),
    defaultValue: message.text(6),
  };
}

interface Message {
  number(field: number): number;
  flag(field: number): boolean;
  text(field: number): string;
  texts(field: number): readonly string[];
  messages(field: number): readonly Message[];
}

/** @throws Error when a field is cut off or of another kind than variable-length numbers and bytes */
function readMessage(bytes: Uint8Array): Message {
  const numbers = new Map<number, number>();
  const blobs = new Map<number, Uint8Array[]>();
  let at = 0;
  const varint = (): number => {
    for (let value = 0, shift = 0; shift < 35; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Error(`a number at byte ${at} is cut off, or longer than any here`);
  };
  while (at < bytes.length) {
    const key = varint();
    const field = key >>> 3;
    if ((key & 7) === 0) {
      numbers.set(field, varint());
    } else if ((key & 7) === 2) {
      const size = varint();
      if (size > bytes.length - at) throw new Error(`field ${field} at byte ${at} is cut off`);
      blobs.set(field, [...(blobs.get(field) ?? []), bytes.subarray(at, at + size)]);
      at += size;
    } else {
      throw new Error(`field ${field} at byte ${at} is of wire type ${key & 7}, which does not occur here`);
    }
  }
  const texts = (field: number): string[] => (blobs.get(field) ?? []).map(textOf);
  return {
    number: (field) => numbers.get(field) ?? 0,
    flag: (field) => numbers.get(field) === 1,
    text: (field) => texts(field)[0] ?? '',
    texts,
    messages: (field) => (blobs.get(field) ?? []).map(readMessage),
  };
}

/**
 * Bazel 7 holds Starlark's text as one character a byte and writes each as UTF-8 of its own, so that `…` comes out as
 * three characters. Text that reads as UTF-8 once more was written so.
 */
function textOf(blob: Uint8Array): string {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(blob);
  if (!/[\u0080-\u00ff]/.test(text) || /[^\0-\u00ff]/.test(text)) return text;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(
      Uint8Array.from(text, (char) => char.charCodeAt(0)),
    );
  } catch {
    return text;
  }
}
