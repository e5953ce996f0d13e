/**
 * What known UEFI variables mean. Source: UEFI specification 2.10, sections 3.1.3 (load options), 3.3 (globally defined
 * variables), 8.3 (EFI_TIME), 10.3 (device paths), 32.4.1 (signature lists).
 */
import { guidFromBytes } from '../bytes/guid.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { readU16, readU32 } from '../bytes/little-endian.ts';
import { parseUcs2 } from './uefi-nvram.ts';

export const EFI_GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c';

/** A node of a device path; `text` says what is known of it. */
export interface DevicePathNode {
  readonly type: number;
  readonly subtype: number;
  readonly text: string;
}

export interface LoadOption {
  readonly attributes: number;
  readonly description: string;
  readonly paths: readonly DevicePathNode[];
  readonly optional: Uint8Array;
}

export interface SignatureList {
  readonly type: string;
  readonly signatures: readonly { readonly owner: string; readonly data: Uint8Array }[];
}

/** The content of a variable as far as it is understood; `data` where it is not, or malformed. */
export type VariableContent =
  | { readonly kind: 'boot order'; readonly order: readonly number[] }
  | { readonly kind: 'load option'; readonly option: LoadOption }
  | { readonly kind: 'signature lists'; readonly lists: readonly SignatureList[] }
  | { readonly kind: 'data'; readonly malformed: boolean };

const SIGNATURE_VARIABLES = ['KEK', 'db', 'dbx', 'PK', 'dbDefault', 'MokList', 'MokListX'];

/** Reads a variable by its name; never throws. */
export function variableContent(name: string, data: Uint8Array): VariableContent {
  const malformed = { kind: 'data', malformed: true } as const;
  if (name === 'BootOrder') {
    const order = parseBootOrder(data);
    return order === undefined ? malformed : { kind: 'boot order', order };
  }
  if (/^Boot[0-9A-Fa-f]{4}$/.test(name)) {
    const option = parseLoadOption(data);
    return option === undefined ? malformed : { kind: 'load option', option };
  }
  if (SIGNATURE_VARIABLES.includes(name)) {
    const lists = parseSignatureLists(data);
    return lists === undefined ? malformed : { kind: 'signature lists', lists };
  }
  return { kind: 'data', malformed: false };
}

/** Numbers of load options, first choice first. */
export function parseBootOrder(data: Uint8Array): number[] | undefined {
  if (data.length % 2 !== 0) return undefined;
  return Array.from({ length: data.length / 2 }, (_, i) => readU16(data, 2 * i));
}

function parseLoadOption(data: Uint8Array): LoadOption | undefined {
  if (data.length < 6) return undefined;
  const pathBytes = readU16(data, 4);
  const description = parseUcs2(data.subarray(6));
  if (description === undefined) return undefined;
  const start = 6 + description.bytes;
  if (start + pathBytes > data.length) return undefined;
  const paths = parsePaths(data.subarray(start, start + pathBytes));
  if (paths === undefined) return undefined;
  return {
    attributes: readU32(data, 0),
    description: description.text,
    paths,
    optional: data.slice(start + pathBytes),
  };
}

function parsePaths(bytes: Uint8Array): DevicePathNode[] | undefined {
  const nodes: DevicePathNode[] = [];
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < 4) return undefined;
    const length = readU16(bytes, at + 2);
    if (length < 4 || length > bytes.length - at) return undefined;
    const type = bytes[at] ?? 0;
    const subtype = bytes[at + 1] ?? 0;
    nodes.push({ type, subtype, text: nodeText(type, subtype, bytes.subarray(at + 4, at + length)) });
    at += length;
  }
  return nodes;
}

function nodeText(type: number, subtype: number, body: Uint8Array): string {
  const node = `${type}.${subtype}`;
  if (node === '127.255') return 'end';
  if (node === '127.1') return 'end of instance';
  if (node === '1.4' && body.length >= 16)
    return `vendor ${guidFromBytes(body)} ${bytesToHex(body.subarray(16))}`;
  if (node === '3.2' && body.length === 4) return `SCSI target ${readU16(body, 0)}, LUN ${readU16(body, 2)}`;
  if (node === '4.1' && body.length === 38)
    return `hard drive partition ${readU32(body, 0)}, signature ${guidFromBytes(body, 20)}`;
  if (node === '4.4') {
    const file = parseUcs2(body);
    if (file?.bytes === body.length) return `file ${file.text}`;
  }
  if ((node === '4.6' || node === '4.7') && body.length === 16)
    return `firmware ${subtype === 6 ? 'file' : 'volume'} ${guidFromBytes(body)}`;
  return `type ${type} subtype ${subtype} ${bytesToHex(body)}`;
}

const SIGNATURE_TYPES: Readonly<Record<string, string>> = {
  'c1c41626-504c-4092-aca9-41f936934328': 'Sha256',
  'a5c059a1-94e4-4aa7-87b5-ab155c2bf072': 'X509',
};

function parseSignatureLists(data: Uint8Array): SignatureList[] | undefined {
  const lists: SignatureList[] = [];
  for (let at = 0; at < data.length;) {
    if (data.length - at < 28) return undefined;
    const listBytes = readU32(data, at + 16);
    const headerBytes = readU32(data, at + 20);
    const signatureBytes = readU32(data, at + 24);
    const bodyBytes = listBytes - 28 - headerBytes;
    if (listBytes > data.length - at || bodyBytes < 0) return undefined;
    if (signatureBytes < 16 || bodyBytes % signatureBytes !== 0) return undefined;
    const body = data.subarray(at + 28 + headerBytes, at + listBytes);
    const signatures = Array.from({ length: bodyBytes / signatureBytes }, (_, i) => ({
      owner: guidFromBytes(body, i * signatureBytes),
      data: body.slice(i * signatureBytes + 16, (i + 1) * signatureBytes),
    }));
    const guid = guidFromBytes(data, at);
    lists.push({ type: SIGNATURE_TYPES[guid] ?? guid, signatures });
    at += listBytes;
  }
  return lists;
}

/** EFI_TIME as text; 16 bytes. */
export function showEfiTime(time: Uint8Array): string {
  const two = (at: number): string => String(time[at] ?? 0).padStart(2, '0');
  const date = `${String(readU16(time, 0)).padStart(4, '0')}-${two(2)}-${two(3)}`;
  return `${date} ${two(4)}:${two(5)}:${two(6)}.${String(readU32(time, 8)).padStart(9, '0')}`;
}
