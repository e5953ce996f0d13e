import type { NearestLaunch } from '../guestos/nearest-launch.ts';
import type { Refusal } from '../guestos/validate.ts';
import { html, join, type Html } from './html.ts';
import { firstOf, LIMITS } from './limits.ts';
import { cutNote, digest, facts, oneLine, plural, section, table, tag } from './parts.ts';

/** At most so many facts of an error. */
const FACTS_SHOWN = 24;

/** Of the error's nearest miss and mend. */
const FINDING_UNITS = 1200;

/** Why there is no image, and how near it was. */
export function refusalSection({ error, nearestLaunch }: Refusal): Html {
  return section(
    'why',
    'Why it is refused',
    html`<p>${tag('failed', error.code)}</p>
      ${
        error.nearest !== null &&
        html`<p class="finding"><b>Nearest.</b> ${oneLine(error.nearest, FINDING_UNITS)}</p>`
      }
      ${
        error.mend !== null &&
        html`<p class="finding"><b>What to do.</b> ${oneLine(error.mend, FINDING_UNITS)}</p>`
      }
      ${facts(error.facts.slice(0, FACTS_SHOWN).map(([name, value]) => [name, oneLine(value)] as const))}
      ${nearestLaunch !== null && nearMisses(nearestLaunch)}`,
  );
}

function nearMisses({ tried, matches, baseRootHashes, blessedRootHashes }: NearestLaunch): Html {
  const others = blessedRootHashes.filter((hash) => !baseRootHashes.includes(hash));
  const { shown, more } = firstOf(matches, LIMITS.nearMatches);
  const hashes = (list: readonly string[]): Html =>
    html`${
      list.length === 0
        ? 'none'
        : join(
            list.slice(0, 4).map((hash) => oneLine(hash)),
            ' ',
          )
    }`;
  return html`<h3>The boot partition, measured in other ways</h3>
    <p>
      Its own firmware, kernel and initrd were measured again with ${plural(tried, 'combination')} of vCPU
      counts, CPU types, guest features and the command lines that the proposal records. This explains the
      refusal; it is never a reason to accept.
    </p>
    ${
      matches.length === 0
        ? html`<p class="finding">
            None of them gives a digest that is blessed: another firmware, kernel or initrd was voted on, or a
            command line that the proposal does not record.
          </p>`
        : html`${table(
            'Blessed digests that this boot partition gives in other ways',
            [
              { name: 'If this were different' },
              { name: 'CPU' },
              { name: 'vCPUs', kind: 'number' },
              { name: 'Blessed launch measurement', kind: 'digest' },
            ],
            shown.map(({ measurement, differences, vcpus, vcpuType }) => ({
              cells: [
                differences.map((text) => html`<span class="difference">${oneLine(text)}</span>`),
                oneLine(vcpuType),
                vcpus,
                digest(measurement),
              ],
            })),
          )}
          ${cutNote(more, 'near misses')}`
    }
    ${
      others.length > 0 &&
      html`<h3>Another release?</h3>
        ${facts([
          ['root_hash of this base', hashes(baseRootHashes)],
          ['root_hash that the proposal records', hashes(others)],
        ])}`
    }`;
}
