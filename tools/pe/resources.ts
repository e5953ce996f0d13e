/**
 * Resources of a PE image (a Windows DLL or EXE): a tree of three levels, type, name and language, whose leaves name
 * bytes of a section. All integers are little-endian. Source: Microsoft, "PE Format", ".rsrc section".
 *
 *   directory    off 12 entries with names u16, off 14 entries with ids u16, off 16 entries of 8 bytes, named ones first
 *   entry        off 0 id u32, or with bit 31 where the name lies; off 4 where the leaf lies, or with bit 31 the directory
 *   name         length u16 in units of UTF-16, then these
 *   leaf         off 0 RVA u32, off 4 size u32, off 8 code page, off 12 reserved
 *
 * Places in the tree count from its start; the RVA of a leaf counts from the image's start in memory.
 */
import { readU16, readU32 } from '../bytes/little-endian.ts';
import { sliceSource, type ByteSource } from '../bytes/source.ts';
import { formatError, type CvmError, type Fact } from '../errors.ts';

const POINTER_AT = 0x3c;
const SIGNATURE = 0x4550;
const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
const SECTION_BYTES = 40;
/** Windows itself loads no image with more. */
const SECTIONS_MAX = 96;
const RESOURCE_DIRECTORY = 2;
const DIRECTORY_BYTES = 16;
const ENTRY_BYTES = 8;
const HIGH_BIT = 0x8000_0000;

interface Section {
  readonly rva: number;
  readonly bytes: number;
  readonly offset: number;
}

/** What a resource is called by. */
export interface ResourceName {
  /** The type, a name in capitals. */
  readonly type: string;
  readonly id: number;
}

/**
 * The bytes of a resource, in its first language.
 * @param limitBytes more is refused
 * @throws CvmError format PE_SIGNATURE | PE_HEADER | PE_SECTION | PE_RESOURCES | PE_RESOURCE_SIZE; PE_RESOURCE_ABSENT
 *   with the ids that there are
 */
export function findResource(image: ByteSource, wanted: ResourceName, limitBytes: number): ByteSource {
  const { sections, rva } = readSections(image);
  const start = offsetOf(sections, rva, DIRECTORY_BYTES, 'the resource tree');
  const room =
    (sections.find((section) => inside(section, rva))?.bytes ?? 0) - (start.rva - start.sectionRva);
  if (start.offset > image.sizeBytes) {
    throw bad('PE_SECTION', 'the section of the resources lies behind the file', [
      ['at', `0x${start.offset.toString(16)}`],
      ['file', `${image.sizeBytes} bytes`],
    ]);
  }
  const tree = sliceSource(image, start.offset, Math.min(room, image.sizeBytes - start.offset));

  const types = readDirectory(tree, 0);
  const type = types.find(({ name }) => name === wanted.type);
  if (type === undefined) {
    throw absent(`the image has no resources of type ${wanted.type}`, [
      ['types', types.map(({ name, id }) => name ?? `${id}`).join(', ') || 'none'],
    ]);
  }
  const names = readDirectory(tree, requireDirectory(type));
  const name = names.find(({ id }) => id === wanted.id);
  if (name === undefined) {
    throw absent(`the image has no ${wanted.type} resource ${wanted.id}`, [
      ['found', names.map(({ name, id }) => name ?? `${id}`).join(', ') || 'none'],
    ]);
  }
  const [language] = readDirectory(tree, requireDirectory(name));
  if (language === undefined || language.isDirectory) {
    throw bad('PE_RESOURCES', 'a resource has no bytes in any language', [['resource', wanted.id]]);
  }
  const leaf = within(tree, language.offset, 16, 'a resource', 'PE_RESOURCES');
  const sizeBytes = readU32(leaf, 4);
  if (sizeBytes === 0 || sizeBytes > limitBytes) {
    throw bad('PE_RESOURCE_SIZE', 'the resource is empty, or larger than it may be', [
      ['size', `${sizeBytes} bytes`],
      ['limit', `${limitBytes} bytes`],
    ]);
  }
  const { offset } = offsetOf(sections, readU32(leaf, 0), sizeBytes, 'the resource');
  if (offset + sizeBytes > image.sizeBytes) {
    throw bad('PE_SECTION', 'the resource ends behind the file', [
      ['ends at', offset + sizeBytes],
      ['file', `${image.sizeBytes} bytes`],
    ]);
  }
  return sliceSource(image, offset, sizeBytes);
}

/** The sections, and where the resources lie in memory. */
function readSections(image: ByteSource): { readonly sections: readonly Section[]; readonly rva: number } {
  const pointer = image.sizeBytes < POINTER_AT + 4 ? undefined : readU32(image.read(POINTER_AT, 4), 0);
  const isPe =
    pointer !== undefined &&
    pointer + 24 <= image.sizeBytes &&
    readU16(image.read(0, 2), 0) === 0x5a4d &&
    readU32(image.read(pointer, 4), 0) === SIGNATURE;
  if (!isPe) {
    throw bad('PE_SIGNATURE', 'this is no PE image', [['size', `${image.sizeBytes} bytes`]]);
  }
  const header = image.read(pointer, 24);
  const optional = pointer + 24;
  const optionalBytes = readU16(header, 20);
  const magic = readU16(within(image, optional, 2, 'the optional header', 'PE_HEADER'), 0);
  if (magic !== PE32 && magic !== PE32_PLUS) {
    throw bad('PE_HEADER', 'the optional header is of no known kind', [['magic', `0x${magic.toString(16)}`]]);
  }
  const directories = magic === PE32_PLUS ? 112 : 96;
  const entryEnd = directories + 8 * (RESOURCE_DIRECTORY + 1);
  const fields = within(image, optional, optionalBytes, 'the optional header', 'PE_HEADER');
  if (optionalBytes < entryEnd || readU32(fields, directories - 4) <= RESOURCE_DIRECTORY) throw noResources();
  const rva = readU32(fields, directories + 8 * RESOURCE_DIRECTORY);
  if (rva === 0) throw noResources();
  const count = readU16(header, 6);
  if (count > SECTIONS_MAX) throw bad('PE_HEADER', 'the image has too many sections', [['found', count]]);
  const table = within(
    image,
    optional + optionalBytes,
    count * SECTION_BYTES,
    'the section table',
    'PE_HEADER',
  );
  const sections = Array.from({ length: count }, (_, i) => ({
    rva: readU32(table, i * SECTION_BYTES + 12),
    bytes: readU32(table, i * SECTION_BYTES + 16),
    offset: readU32(table, i * SECTION_BYTES + 20),
  }));
  return { sections, rva };
}

const inside = ({ rva, bytes }: Section, at: number): boolean => at >= rva && at < rva + bytes;

/** Where memory comes from in the file. */
function offsetOf(
  sections: readonly Section[],
  rva: number,
  length: number,
  what: string,
): { readonly offset: number; readonly rva: number; readonly sectionRva: number } {
  const section = sections.find((candidate) => inside(candidate, rva));
  if (section !== undefined && rva + length <= section.rva + section.bytes)
    return { offset: section.offset + (rva - section.rva), rva, sectionRva: section.rva };
  throw bad('PE_SECTION', `${what} lies in no section of the file`, [
    ['RVA', `0x${rva.toString(16)}`],
    ['length', `${length} bytes`],
  ]);
}

interface Entry {
  /** Of an entry that has a name; the other kind has an id. */
  readonly name: string | undefined;
  readonly id: number | undefined;
  readonly isDirectory: boolean;
  /** In the tree. */
  readonly offset: number;
}

function readDirectory(tree: ByteSource, at: number): readonly Entry[] {
  const head = within(tree, at, DIRECTORY_BYTES, 'a directory', 'PE_RESOURCES');
  const count = readU16(head, 12) + readU16(head, 14);
  const entries = within(tree, at + DIRECTORY_BYTES, count * ENTRY_BYTES, 'a directory', 'PE_RESOURCES');
  return Array.from({ length: count }, (_, i): Entry => {
    const called = readU32(entries, i * ENTRY_BYTES);
    const to = readU32(entries, i * ENTRY_BYTES + 4);
    const isNamed = called >= HIGH_BIT;
    return {
      name: isNamed ? readName(tree, called - HIGH_BIT) : undefined,
      id: isNamed ? undefined : called,
      isDirectory: to >= HIGH_BIT,
      offset: to % HIGH_BIT,
    };
  });
}

function readName(tree: ByteSource, at: number): string {
  const length = readU16(within(tree, at, 2, 'a name', 'PE_RESOURCES'), 0);
  const units = within(tree, at + 2, 2 * length, 'a name', 'PE_RESOURCES');
  return String.fromCharCode(...Array.from({ length }, (_, i) => readU16(units, 2 * i)));
}

function requireDirectory({ isDirectory, offset }: Entry): number {
  if (isDirectory) return offset;
  throw bad('PE_RESOURCES', 'a leaf of the resource tree stands where a directory has to', [['at', offset]]);
}

function within(source: ByteSource, offset: number, length: number, what: string, code: string): Uint8Array {
  if (offset + length <= source.sizeBytes) return source.read(offset, length);
  throw bad(code, `${what} of the image is cut off`, [
    ['at', `0x${offset.toString(16)}`],
    ['length', `${length} bytes`],
    ['there are', `${source.sizeBytes} bytes`],
  ]);
}

const noResources = (): CvmError => absent('the image has no resources', []);

function absent(message: string, facts: readonly Fact[]): CvmError {
  return bad('PE_RESOURCE_ABSENT', message, facts);
}

function bad(code: string, message: string, facts: readonly Fact[]): CvmError {
  return formatError(code, message, {
    facts,
    mend: 'give the DLL that carries the firmware, as it was shipped',
  });
}
