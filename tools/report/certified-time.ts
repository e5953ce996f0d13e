import { isoTime } from '../proposal/facts.ts';
import { html, type Html } from './html.ts';

/** The last moment that a date can have: 8.64e15 ms, a little before the year 275761. */
const LAST_NS = 8_640_000_000_000_000n * 1_000_000n;

/**
 * When the network certified its answer, in UTC, as it says itself. No clock is asked.
 * @param timeNs nanoseconds since 1970; zero stands for none
 */
export function certifiedTime(timeNs: bigint): Html {
  if (timeNs === 0n) return html`at no time: zeros stand in its place, as in test certificates`;
  if (timeNs >= LAST_NS) return html`${timeNs} ns after 1970, which is no date`;
  const iso = isoTime(timeNs);
  const [, day, time, fraction] = /^([^T]+)T([^.]+)\.(\d+)Z$/.exec(iso) ?? [];
  const rest = (fraction ?? '').replace(/0+$/, '');
  return html`<time datetime="${iso.replace(/(\.\d{3})\d*Z$/, '$1Z')}"
    >${day} ${time}${rest === '' ? '' : `.${rest}`} UTC</time
  >`;
}
