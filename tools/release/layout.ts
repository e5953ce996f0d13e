/**
 * What a release is made of. Source of the names: dfinity/ic ic-os/defs.bzl and bazel/defs.bzl (artifact bundles), the
 * in-toto and SPDX conventions for file names.
 */
import type { NetworkName } from '../nns/networks.ts';

export const RELEASE_FILES = {
  sums: 'SHA256SUMS',
  provenance: 'provenance.intoto.json',
  sbom: 'sbom.spdx.json',
  lock: 'pins.lock.json',
  measurements: 'launch-measurements.json',
  updateImage: 'update-img.tar.zst',
  diskImage: 'disk-img.tar.zst',
  /** Only in what is no release. */
  notice: 'NOT-FOR-PRODUCTION.txt',
} as const;

/** Where a published release has its files under the name of their sha256. */
export const CAS_FOLDER = 'cas';

/** What a file of a release may be called: nothing that a shell, a URL or a file system takes for something else. */
const RELEASE_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$/;

export function isReleaseName(name: string): boolean {
  return RELEASE_NAME.test(name) && name !== CAS_FOLDER;
}

/**
 * What makes a release one. There are two: {@link PRODUCTION}, the only one in what is shipped, and that of the development
 * tool in `test/nns`, whose releases say everywhere that they are none.
 */
export interface ReleaseKind {
  /** The one network whose images may be released. */
  readonly network: NetworkName;
  /** Of the provenance: what was done, so that no consumer takes one kind for the other. */
  readonly buildType: string;
  /** The text of {@link RELEASE_FILES.notice}; undefined for a real release. */
  readonly notice: string | undefined;
}

export const PRODUCTION: ReleaseKind = {
  network: 'mainnet',
  buildType: 'urn:rules-cvm:guestos-release:v1',
  notice: undefined,
};
