/**
 * Where GuestOS releases are: `<host>/ic/<commit>/guest-os/update-img/{update-img.tar.zst,SHA256SUMS}`.
 * Source: dfinity/ic ic-os/guestos/envs, the release bucket and its mirror.
 */
const RELEASE_HOSTS = ['https://download.dfinity.systems', 'https://download.dfinity.network'] as const;

/** What the update image is called beside its SHA256SUMS. */
export const RELEASE_FILE = 'update-img.tar.zst';

/** @param commit 40 lower-case hex digits */
export function releaseUrls(commit: string): string[] {
  return RELEASE_HOSTS.map((host) => `${host}/ic/${commit}/guest-os/update-img/${RELEASE_FILE}`);
}

/** The file of checksums in an image's folder. */
export function checksumsUrl(imageUrl: string): string {
  return new URL('SHA256SUMS', imageUrl).href;
}

/** What an image is called in the checksums beside it. */
export function fileNameOf(imageUrl: string): string {
  const encoded = new URL(imageUrl).pathname.replace(/^.*\//, '');
  try {
    return decodeURIComponent(encoded) || RELEASE_FILE;
  } catch (error) {
    // A lone % is allowed in a URL; what is no encoding stands for itself.
    if (error instanceof URIError) return encoded;
    throw error;
  }
}
