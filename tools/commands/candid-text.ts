/** A Candid value for people and for programs: everything in it, nothing cut. */
import { bytesToHex } from '../bytes/hex.ts';
import { showText } from '../bytes/text.ts';
import type { CandidValue } from '../candid/types.ts';
import { PRINCIPAL_MAX_BYTES, principalToText } from '../nns/principal.ts';

export type NameOf = (id: number) => string;

/** What `JSON.stringify` takes. Integers are decimal text, as they may have 64 bits and more; bytes are hex. */
export function candidJson(value: CandidValue, nameOf: NameOf): unknown {
  switch (value.kind) {
    case 'null':
    case 'reserved':
      return null;
    case 'bool':
    case 'text':
      return value.value;
    case 'integer':
    case 'float':
      return String(value.value);
    case 'blob':
      return bytesToHex(value.bytes);
    case 'principal':
    case 'service':
      return showPrincipal(value.bytes);
    case 'func':
      return `${showPrincipal(value.bytes)}.${value.method}`;
    case 'opt':
      return value.value === null ? null : candidJson(value.value, nameOf);
    case 'vec':
      return value.items.map((item) => candidJson(item, nameOf));
    case 'record':
      return Object.fromEntries(
        value.fields.map(({ id, value: of }) => [nameOf(id), candidJson(of, nameOf)]),
      );
    case 'variant':
      return { [nameOf(value.chosen.id)]: candidJson(value.chosen.value, nameOf) };
  }
}

/**
 * An indented outline, one line a value; a text of several lines is a block behind bars. Every text is escaped.
 * @param note a remark on a field by its name, or nothing
 */
export function candidOutline(
  value: CandidValue,
  nameOf: NameOf,
  note: (name: string, value: CandidValue) => string | undefined,
): string {
  const lines: string[] = [];
  const walk = (name: string, at: CandidValue, indent: string): void => {
    const remark = note(name, at);
    const behind = remark === undefined ? '' : ` (${remark})`;
    const put = (text: string): void => void lines.push(`${indent}${showText(name)}: ${text}${behind}\n`);
    const open = (): void => void lines.push(`${indent}${showText(name)}${behind}\n`);
    const below = `${indent}  `;
    switch (at.kind) {
      case 'opt':
        if (at.value === null) put('null');
        else walk(name, at.value, indent);
        return;
      case 'record':
        if (at.fields.length === 0) put('empty record');
        else {
          open();
          for (const field of at.fields) walk(nameOf(field.id), field.value, below);
        }
        return;
      case 'variant':
        open();
        walk(nameOf(at.chosen.id), at.chosen.value, below);
        return;
      case 'vec':
        if (at.items.length === 0) put('empty list');
        else {
          open();
          at.items.forEach((item, i) => {
            walk(`[${i}]`, item, below);
          });
        }
        return;
      case 'text':
        if (at.value.includes('\n')) {
          open();
          for (const line of at.value.split('\n')) lines.push(`${below}| ${showText(line)}\n`);
        } else put(`"${showText(at.value)}"`);
        return;
      default:
        put(showText(String(candidJson(at, nameOf))));
    }
  };
  if (value.kind === 'record') {
    for (const field of value.fields) walk(nameOf(field.id), field.value, '');
  } else walk('value', value, '');
  return lines.join('');
}

/** References on the wire may be longer than a principal can be. */
function showPrincipal(bytes: Uint8Array): string {
  return bytes.length <= PRINCIPAL_MAX_BYTES ? principalToText(bytes) : `0x${bytesToHex(bytes)}`;
}
