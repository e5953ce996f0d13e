/**
 * The bill of materials of the toolchain: SPDX 2.3 as JSON, from package-lock.json. Source: SPDX specification 2.3,
 * clauses 6 (document), 7 (packages), 11 (relationships); purl-spec, type npm.
 */
import * as v from 'valibot';
import { bytesToHex } from '../bytes/hex.ts';
import { digestBytes } from '../bytes/digest.ts';
import { jsonText, utf8Bytes, utf8FromBytes } from '../bytes/text.ts';
import { formatError, type CvmError } from '../errors.ts';

export interface BillInput {
  /** package-lock.json, as it is. */
  readonly packageLock: Uint8Array;
  /** Of this tool. */
  readonly toolVersion: string;
  /**
   * Seconds since 1970. SPDX demands a time of creation, and nothing here may ask a clock: a release gives the time at which the
   * network certified its proposal, which is a function of its inputs, unless somebody states another.
   */
  readonly createdSec: number;
  /** Stated in the document, where the release is none. */
  readonly notice?: string | undefined;
}

const NONE = 'NOASSERTION';
const DOCUMENT_ID = 'SPDXRef-DOCUMENT';
const ROOT_ID = 'SPDXRef-toolchain';
/** Package counts far above any lock of ours. */
const PACKAGES_LIMIT = 100_000;

const dependencies = v.optional(v.record(v.string(), v.string()), {});
const packageEntry = v.looseObject({
  name: v.optional(v.string()),
  version: v.optional(v.string()),
  integrity: v.optional(v.string()),
  license: v.optional(v.unknown()),
  link: v.optional(v.boolean()),
  dependencies,
  devDependencies: dependencies,
  optionalDependencies: dependencies,
  peerDependencies: dependencies,
});
type PackageEntry = v.InferOutput<typeof packageEntry>;
const lockSchema = v.looseObject({
  name: v.string(),
  version: v.string(),
  lockfileVersion: v.literal(3),
  packages: v.record(v.string(), packageEntry),
});

interface Row {
  readonly path: string;
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly entry: PackageEntry;
}

/**
 * Writes the bill: the toolchain as one package that depends on what package-lock.json pins, each with its sha512 as the lock
 * has it, its purl, and its licence where the lock says one. Download locations stay unsaid, as the lock has none. The
 * document's namespace is a function of the lock.
 *
 * @throws CvmError format PACKAGE_LOCK
 */
export function writeBill({ packageLock, toolVersion, createdSec, notice }: BillInput): string {
  const lock = readPackageLock(packageLock);
  const sha256 = bytesToHex(digestBytes('sha256', packageLock));
  const rows = packageRows(lock.packages);
  const byPath = new Map(rows.map((row) => [row.path, row]));
  const root = lock.packages[''] ?? v.parse(packageEntry, {});
  const edges = [
    ...edgesOf(ROOT_ID, '', root, byPath),
    ...rows.flatMap(({ id, path, entry }) => edgesOf(id, path, entry, byPath)),
  ];
  const document = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: DOCUMENT_ID,
    name: `${lock.name}-${lock.version}-toolchain`,
    documentNamespace: billNamespace(lock.name, lock.version, sha256),
    ...(notice === undefined ? {} : { comment: notice }),
    creationInfo: {
      created: `${new Date(createdSec * 1000).toISOString().slice(0, -'.000Z'.length)}Z`,
      creators: [`Tool: rules_cvm-${toolVersion}`],
      comment: 'The time is that of the certified proposal or one that was stated: no clock was asked.',
    },
    packages: [
      {
        SPDXID: ROOT_ID,
        name: lock.name,
        versionInfo: lock.version,
        downloadLocation: NONE,
        filesAnalyzed: false,
        licenseConcluded: NONE,
        licenseDeclared: licenseOf(root.license),
        copyrightText: NONE,
        comment: `what package-lock.json of sha256 ${sha256} pins: runtime, compiler, libraries, test programs and linters`,
      },
      ...rows.map(packageOf),
    ],
    relationships: [
      { spdxElementId: DOCUMENT_ID, relationshipType: 'DESCRIBES', relatedSpdxElement: ROOT_ID },
      ...edges.map(([from, to]) => ({
        spdxElementId: from,
        relationshipType: 'DEPENDS_ON',
        relatedSpdxElement: to,
      })),
    ],
  };
  return `${jsonText(document, 2)}\n`;
}

/** A function of the lock: where SPDX asks for a UUID stands its sha256, cut to the form of UUID version 8 (RFC 9562). */
function billNamespace(name: string, version: string, sha256: string): string {
  const hex = `${sha256.slice(0, 12)}8${sha256.slice(13, 16)}8${sha256.slice(17, 32)}`;
  const uuid = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join(
    '-',
  );
  return `https://spdx.org/spdxdocs/${encodeURIComponent(`${name}-${version}-toolchain`)}-${uuid}`;
}

export interface Bill {
  readonly namespace: string;
  readonly packages: number;
}

const id = v.pipe(v.string(), v.regex(/^SPDXRef-[A-Za-z0-9.-]+$/));
const billSchema = v.looseObject({
  spdxVersion: v.literal('SPDX-2.3'),
  dataLicense: v.literal('CC0-1.0'),
  SPDXID: v.literal(DOCUMENT_ID),
  name: v.pipe(v.string(), v.nonEmpty()),
  documentNamespace: v.pipe(
    v.string(),
    v.regex(/^[A-Za-z][A-Za-z0-9+.-]*:[^#\s]+$/, 'must be a URI without #'),
  ),
  creationInfo: v.looseObject({
    created: v.pipe(v.string(), v.regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/)),
    creators: v.pipe(v.array(v.pipe(v.string(), v.regex(/^(Tool|Person|Organization): ./))), v.minLength(1)),
  }),
  packages: v.pipe(
    v.array(
      v.looseObject({
        SPDXID: id,
        name: v.pipe(v.string(), v.nonEmpty()),
        downloadLocation: v.pipe(v.string(), v.nonEmpty()),
        checksums: v.optional(
          v.array(
            v.looseObject({
              algorithm: v.string(),
              checksumValue: v.pipe(v.string(), v.regex(/^[0-9a-fA-F]+$/)),
            }),
          ),
        ),
      }),
    ),
    v.minLength(1),
  ),
  relationships: v.pipe(
    v.array(
      v.looseObject({
        spdxElementId: v.string(),
        relationshipType: v.string(),
        relatedSpdxElement: v.string(),
      }),
    ),
    v.minLength(1),
  ),
});

/**
 * Reads a bill: every field that SPDX 2.3 requires, unique identifiers, relationships between what is there, and a
 * document that describes something.
 * @throws CvmError format SBOM
 */
export function readBill(text: string): Bill {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badBill('it is not JSON', cause);
  }
  const parsed = v.safeParse(billSchema, value, { abortEarly: true });
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw badBill(`${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`);
  }
  const { packages, relationships, documentNamespace } = parsed.output;
  const ids = new Set(packages.map(({ SPDXID }) => SPDXID));
  if (ids.size !== packages.length) throw badBill('two packages have one SPDXID');
  for (const { spdxElementId, relatedSpdxElement } of relationships) {
    for (const end of [spdxElementId, relatedSpdxElement]) {
      if (end !== DOCUMENT_ID && !ids.has(end))
        throw badBill(`a relationship names ${end}, which is not there`);
    }
  }
  if (!relationships.some((row) => row.spdxElementId === DOCUMENT_ID && row.relationshipType === 'DESCRIBES'))
    throw badBill('the document describes nothing');
  return { namespace: documentNamespace, packages: packages.length };
}

function badBill(why: string, cause?: unknown): CvmError {
  return formatError('SBOM', 'the bill of materials is not an SPDX 2.3 document', {
    facts: [['why', why]],
    mend: 'take the file from its release',
    ...(cause === undefined ? {} : { cause }),
  });
}

function readPackageLock(bytes: Uint8Array): v.InferOutput<typeof lockSchema> {
  let value: unknown;
  try {
    value = JSON.parse(utf8FromBytes(bytes, 'package-lock.json'));
  } catch (cause) {
    if (cause instanceof SyntaxError) throw badLock('it is not JSON', cause);
    throw cause;
  }
  const parsed = v.safeParse(lockSchema, value, { abortEarly: true });
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw badLock(`${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`);
  }
  if (Object.keys(parsed.output.packages).length > PACKAGES_LIMIT)
    throw badLock('it lists too many packages');
  return parsed.output;
}

function badLock(why: string, cause?: unknown): CvmError {
  return formatError('PACKAGE_LOCK', 'package-lock.json is not one of npm, version 3', {
    facts: [['why', why]],
    mend: 'restore the file from version control',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Every package below node_modules, by path; links lead to others. */
function packageRows(packages: Readonly<Record<string, PackageEntry>>): Row[] {
  return Object.keys(packages)
    .filter((path) => path !== '')
    .toSorted((a, b) => (a < b ? -1 : 1))
    .flatMap((path) => {
      const entry = packages[path] as PackageEntry;
      if (entry.link === true) return [];
      const name = entry.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      if (entry.version === undefined) throw badLock(`${path} has no version`);
      return [{ path, id: packageId(path, name, entry.version), name, version: entry.version, entry }];
    });
}

/** Readable, and unique: the same package may stand at several paths. */
function packageId(path: string, name: string, version: string): string {
  const plain = `${name}-${version}`.replace(/[^A-Za-z0-9.-]+/g, '-').replace(/^-/, '');
  return `SPDXRef-npm-${plain}-${bytesToHex(digestBytes('sha256', utf8Bytes(path))).slice(0, 8)}`;
}

function packageOf({ id, path, name, version, entry }: Row): object {
  return {
    SPDXID: id,
    name,
    versionInfo: version,
    downloadLocation: NONE,
    filesAnalyzed: false,
    licenseConcluded: NONE,
    licenseDeclared: licenseOf(entry.license),
    copyrightText: NONE,
    checksums: [{ algorithm: 'SHA512', checksumValue: sha512Of(path, entry.integrity) }],
    externalRefs: [
      {
        referenceCategory: 'PACKAGE-MANAGER',
        referenceType: 'purl',
        referenceLocator: purlOf(name, version),
      },
    ],
  };
}

/** Of the list that npm takes, the sha512: what `npm ci` checked. */
function sha512Of(path: string, integrity: string | undefined): string {
  const [, base64] = /(?:^|\s)sha512-([A-Za-z0-9+/]{86}==)(?:\s|\?|$)/.exec(integrity ?? '') ?? [];
  if (base64 === undefined) throw badLock(`${path} has no sha512`);
  return Buffer.from(base64, 'base64').toString('hex');
}

function purlOf(name: string, version: string): string {
  return `pkg:npm/${name.split('/').map(encodeURIComponent).join('/')}@${encodeURIComponent(version)}`;
}

/** A licence expression of identifiers, as far as its form goes; what npm allows beside them says nothing to SPDX. */
function licenseOf(license: unknown): string {
  const expression = /^\(*[A-Za-z0-9.-]+\+?\)*(?: (?:AND|OR|WITH) \(*[A-Za-z0-9.-]+\+?\)*)*$/;
  return typeof license === 'string' && license !== 'UNLICENSED' && expression.test(license) ? license : NONE;
}

/** What a package depends on, as Node.js finds it: in its own node_modules, then in those above. */
function edgesOf(
  from: string,
  path: string,
  entry: PackageEntry,
  byPath: ReadonlyMap<string, Row>,
): (readonly [from: string, to: string])[] {
  const wanted = new Set(
    [entry.dependencies, entry.devDependencies, entry.optionalDependencies, entry.peerDependencies].flatMap(
      (list) => Object.keys(list),
    ),
  );
  return [...wanted]
    .toSorted((a, b) => (a < b ? -1 : 1))
    .flatMap((name) => {
      for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
        const found = byPath.get(`${at === '' ? '' : `${at}/`}node_modules/${name}`);
        if (found !== undefined) return [[from, found.id] as const];
        if (at === '') return [];
      }
    });
}
