import { describe, expect, test } from 'vitest';
import { isBaseUrl } from '../../../tools/lock/lock.ts';
import { checksumsUrl, fileNameOf, releaseUrls, RELEASE_FILE } from '../../../tools/lock/release-urls.ts';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

describe('release URLs', () => {
  test('are https, on two hosts, and fit a mainnet lock', () => {
    const urls = releaseUrls(COMMIT);
    expect(urls).toEqual([
      `https://download.dfinity.systems/ic/${COMMIT}/guest-os/update-img/update-img.tar.zst`,
      `https://download.dfinity.network/ic/${COMMIT}/guest-os/update-img/update-img.tar.zst`,
    ]);
    for (const url of urls) expect(isBaseUrl(url, 'mainnet')).toBe(true);
  });

  test.each([
    ['https://a.example/x/update-img.tar.zst', 'https://a.example/x/SHA256SUMS'],
    ['https://a.example/x/', 'https://a.example/x/SHA256SUMS'],
    ['https://a.example', 'https://a.example/SHA256SUMS'],
    ['https://a.example/x/y.zst?token=1#z', 'https://a.example/x/SHA256SUMS'],
    ['https://a.example/?x=/y/', 'https://a.example/SHA256SUMS'],
  ])('the checksums of %s', (image, sums) => {
    expect(checksumsUrl(image)).toBe(sums);
  });

  test.each([
    ['https://a.example/x/update-img.tar.zst', 'update-img.tar.zst'],
    ['https://a.example/x/mine.zst?y=/z', 'mine.zst'],
    ['https://a.example/x/a%20b.zst', 'a b.zst'],
    ['https://a.example/x/', RELEASE_FILE],
    ['https://a.example', RELEASE_FILE],
    // What is no percent-encoding is a name like any other.
    ['https://a.example/x/%zz', '%zz'],
    ['https://a.example/x/%ff', '%ff'],
    ['https://a.example/x/100%', '100%'],
  ])('the file name of %s', (image, name) => {
    expect(isBaseUrl(image, 'mainnet')).toBe(true);
    expect(fileNameOf(image)).toBe(name);
  });
});
