import http from 'node:http';
import { usageError } from '../errors.ts';
import type { CvmError } from '../errors.ts';

/** This machine is never asked through a proxy: to the proxy, the same name is another machine. */
const NEVER_PROXIED = 'localhost,127.0.0.1,[::1],::1';

/**
 * Makes every https request of this process go through the proxy that `HTTPS_PROXY` names, except to the hosts of
 * `NO_PROXY` (a comma-separated list of names, `.suffixes`, addresses, or `*`). Lower-case names win, as everywhere. The
 * tunnel is end to end: the proxy sees which host is asked, and nothing of what is said. Plain http is only spoken with
 * this machine, so `HTTP_PROXY` has no meaning here.
 *
 * @returns the proxy without name and password, for people; undefined when none is named
 * @throws CvmError usage PROXY_URL | PROXY_UNSUPPORTED
 */
export function useProxyOf(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const proxy = env['https_proxy'] ?? env['HTTPS_PROXY'] ?? '';
  if (proxy === '') return undefined;
  const url = URL.canParse(proxy) ? new URL(proxy) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) throw badProxy(proxy);
  // Node.js has it since 24.14; older ones would go past the proxy without a word.
  const { setGlobalProxyFromEnv } = http as { setGlobalProxyFromEnv?: (env: object) => unknown };
  if (setGlobalProxyFromEnv === undefined) {
    throw usageError('PROXY_UNSUPPORTED', 'this Node.js cannot use a proxy, and HTTPS_PROXY names one', {
      facts: [['proxy', url.origin]],
      mend: 'run the tool with the Node.js that the repository pins, or empty HTTPS_PROXY',
    });
  }
  const noProxy = env['no_proxy'] ?? env['NO_PROXY'] ?? '';
  setGlobalProxyFromEnv({
    https_proxy: proxy,
    no_proxy: noProxy === '*' ? noProxy : `${noProxy},${NEVER_PROXIED}`.replace(/^,/, ''),
  });
  return url.origin;
}

function badProxy(text: string): CvmError {
  return usageError('PROXY_URL', 'HTTPS_PROXY is not the URL of a proxy', {
    facts: [['found', withoutPassword(text)]],
    mend: 'write it as http://host:port, or empty it',
  });
}

/** A URL, or what was meant to be one, without what stands before an `@`: names and passwords are nobody's business. */
export function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/?#]*@/i, '$1…@');
}
