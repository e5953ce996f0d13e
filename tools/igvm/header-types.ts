import { PARAMETER_TYPES, type IgvmHeader, type ParameterName } from './model.ts';

/** Variable header types and the lengths of their contents in bytes, without the padding to 8. */
export const HEADER_TYPES = {
  SUPPORTED_PLATFORM: { type: 0x001, length: 16 },
  GUEST_POLICY: { type: 0x101, length: 16 },
  RELOCATABLE_REGION: { type: 0x102, length: 48 },
  PAGE_TABLE_RELOCATION: { type: 0x103, length: 32 },
  CORIM_DOCUMENT: { type: 0x104, length: 16 },
  CORIM_SIGNATURE: { type: 0x105, length: 16 },
  CCA_POLICY: { type: 0x106, length: 32 },
  PARAMETER_AREA: { type: 0x301, length: 16 },
  PAGE_DATA: { type: 0x302, length: 24 },
  PARAMETER_INSERT: { type: 0x303, length: 16 },
  VP_CONTEXT: { type: 0x304, length: 20 },
  REQUIRED_MEMORY: { type: 0x305, length: 24 },
  ...parameterTypes(),
  SNP_ID_BLOCK: { type: 0x30b, length: 696 },
  ERROR_RANGE: { type: 0x30d, length: 16 },
  VBS_MEASUREMENT: { type: 0x311, length: 864 },
} as const;
export type HeaderTypeName = keyof typeof HEADER_TYPES;

function parameterTypes(): Record<ParameterName, { type: number; length: number }> {
  const names = Object.keys(PARAMETER_TYPES) as ParameterName[];
  return Object.fromEntries(
    names.map((name) => [name, { type: PARAMETER_TYPES[name], length: 8 }]),
  ) as Record<ParameterName, { type: number; length: number }>;
}

const NAMES_BY_TYPE: ReadonlyMap<number, HeaderTypeName> = new Map(
  (Object.keys(HEADER_TYPES) as HeaderTypeName[]).map((name) => [HEADER_TYPES[name].type, name]),
);

/** The type's name, undefined when it is unknown here. */
export function headerTypeName(type: number): HeaderTypeName | undefined {
  return NAMES_BY_TYPE.get(type);
}

const NAMES_BY_KIND: Readonly<Record<Exclude<IgvmHeader['kind'], 'parameter' | 'unknown'>, HeaderTypeName>> =
  {
    'supported-platform': 'SUPPORTED_PLATFORM',
    'guest-policy': 'GUEST_POLICY',
    'relocatable-region': 'RELOCATABLE_REGION',
    'page-table-relocation': 'PAGE_TABLE_RELOCATION',
    'corim-document': 'CORIM_DOCUMENT',
    'corim-signature': 'CORIM_SIGNATURE',
    'cca-policy': 'CCA_POLICY',
    'parameter-area': 'PARAMETER_AREA',
    'page-data': 'PAGE_DATA',
    'parameter-insert': 'PARAMETER_INSERT',
    'vp-context': 'VP_CONTEXT',
    'required-memory': 'REQUIRED_MEMORY',
    'snp-id-block': 'SNP_ID_BLOCK',
    'vbs-measurement': 'VBS_MEASUREMENT',
    'error-range': 'ERROR_RANGE',
  };

export interface HeaderType {
  readonly name: string;
  readonly type: number;
}

/** Name and number of a header's type. */
export function typeOfHeader(header: IgvmHeader): HeaderType {
  if (header.kind === 'unknown') return { name: `type 0x${header.type.toString(16)}`, type: header.type };
  const name = header.kind === 'parameter' ? header.parameter : NAMES_BY_KIND[header.kind];
  return { name, type: HEADER_TYPES[name].type };
}

/** The type number's highest bit: loaders may ignore the header. */
export const MAY_BE_IGNORED = 0x8000_0000;

export function mayBeIgnored(type: number): boolean {
  return type >= MAY_BE_IGNORED;
}

const SECTIONS = ['platform', 'initialization', 'directive'] as const;
export type HeaderSection = (typeof SECTIONS)[number];

/** The section that a type belongs to; undefined for numbers in none of the three ranges. */
export function sectionOfType(type: number): HeaderSection | undefined {
  const number = type % MAY_BE_IGNORED;
  if (number >= 0x001 && number <= 0x100) return 'platform';
  if (number >= 0x101 && number <= 0x200) return 'initialization';
  if (number >= 0x301 && number <= 0x400) return 'directive';
  return undefined;
}

/** 0, 1, 2: sections never go back. */
export function sectionRank(section: HeaderSection): number {
  return SECTIONS.indexOf(section);
}
