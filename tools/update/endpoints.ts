import type { Fetch } from './bounded-fetch.ts';

/** What the agent asks for, and the newer endpoint that answers the same question in the same form. */
const NEWER: readonly { readonly known: RegExp; readonly newer: string }[] = [
  { known: /^\/api\/v3(?=\/canister\/[^/]+\/call$)/, newer: '/api/v4' },
  { known: /^\/api\/v2(?=\/canister\/[^/]+\/read_state$)/, newer: '/api/v3' },
];

const NOT_FOUND = 404;

/**
 * A `fetch` that asks the newest endpoint first: v4 of `call` and v3 of `read_state`, whose certificates show canister
 * ranges in shards, and whose older forms are to go. A host that does not know it (404) is asked the older one from then
 * on; from v3 to v2 of `call` the agent goes by itself.
 * Source: Internet Computer interface specification, "Request: Call", "Request: Read state".
 */
export function newestEndpoints(fetch: Fetch): Fetch {
  const unknown = new Set<string>();
  return async (url, init) => {
    const parsed = new URL(url);
    const step = NEWER.find(({ known }) => known.test(parsed.pathname));
    if (step !== undefined) {
      const newer = new URL(parsed.pathname.replace(step.known, step.newer), parsed).href;
      if (!unknown.has(newer)) {
        const response = await fetch(newer, init);
        if (response.status !== NOT_FOUND) return response;
        unknown.add(newer);
      }
    }
    return await fetch(url, init);
  };
}
