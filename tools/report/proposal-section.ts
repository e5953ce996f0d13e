import { bytesToHex } from '../bytes/hex.ts';
import { certifiedTime } from './certified-time.ts';
import { html, lines, type Html } from './html.ts';
import { clip, firstOf, LIMITS } from './limits.ts';
import type { Report } from './model.ts';
import { cutNote, digest, facts, oneLine, plural, section } from './parts.ts';

/** What was voted on, in the proposer's words. Those are text and stay text: nothing in them becomes a link. */
export function proposalSection({ certification, chipIds }: Report): Html | false {
  const proven = certification?.facts ?? null;
  if (proven === null) return false;
  const chips = firstOf(proven.chipIds.map(bytesToHex), LIMITS.chips);
  return section(
    'proposal',
    'The proposal',
    html`${facts([
        ['Id', proven.proposalId],
        ['Status', `${proven.status} on ${proven.network}`],
        ['Certified', certifiedTime(proven.certifiedTimeNs)],
        [
          'Request id',
          html`${digest(bytesToHex(proven.requestId))}${!proven.requestBound && ' (not bound: no request at hand)'}`,
        ],
        ['rootfs_hash', digest(proven.rootfsHash)],
      ])}
      <h3>As its proposer wrote it</h3>
      <p class="quiet">Certified as what stands in the proposal, not as true.</p>
      <div class="outside">
        <p class="outside-title">${proven.title === null ? 'without a title' : oneLine(proven.title)}</p>
        <p>
          <span class="outside-text"
            >${lines(clip(proven.summary.replaceAll('\r\n', '\n'), LIMITS.summaryUnits))}</span
          >
        </p>
        <p class="quiet">URL, as text: ${proven.url === '' ? 'none' : oneLine(proven.url)}</p>
      </div>
      <h3>${plural(proven.chipIds.length, 'chip')} that may start the image</h3>
      <ol class="chips">
        ${chips.shown.map((chip) => html`<li>${digest(chip)}${chipIds.includes(chip) && html` <b>demanded, and listed</b>`}</li> `)}
      </ol>
      ${cutNote(chips.more, 'chips')}`,
  );
}
