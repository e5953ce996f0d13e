import { showRaw } from '../bytes/text.ts';
import { html, type Html } from './html.ts';
import { clip, firstOf, LIMITS } from './limits.ts';
import type { BootReport, Report } from './model.ts';
import { block, cutNote, digest, nowrap, oneLine, plural, section, sizeCell, table, tag } from './parts.ts';

/** What enters a launch, and how often. */
export function measuredSection({ boot, tree }: Report): Html {
  const { components, commandLines, plan } = boot;
  const same = (is: boolean | null): Html | string =>
    is === null ? 'no base' : is ? tag('ok', 'as in the base') : tag('failed', 'another');
  return section(
    'measured',
    'What is measured',
    html`<p>
        Direct boot measures four things, read back from the boot partition: firmware, kernel, initrd and a
        command line. With them go the first registers of every vCPU, a page (VMSA) each.
      </p>
      ${table(
        'Measured files',
        [
          { name: 'Part' },
          { name: 'Size', kind: 'number' },
          { name: 'sha256', kind: 'digest' },
          ...(tree.compared ? [{ name: 'Base' }] : []),
        ],
        components.map(({ role, name, path, sizeBytes, sha256, sameAsBase }) => ({
          cells: [
            html`${role}<br /><code class="quiet"
                >/${name}${showRaw(path) === name ? '' : html` → /${oneLine(showRaw(path))}`}</code
              >`,
            sizeCell(sizeBytes),
            digest(sha256),
            ...(tree.compared ? [same(sameAsBase)] : []),
          ],
        })),
      )}
      ${commandLines.map(
        ({ name, slot, text, sha256, sameAsBase }) =>
          html`<h3>Command line of slot ${slot}</h3>
            ${block(clip(text, LIMITS.commandLineUnits), `the command line of slot ${slot}`)}
            <p class="quiet">
              ${name}, with its NUL byte sha256
              ${digest(sha256)}${sameAsBase === null ? '' : sameAsBase ? ', as in the base' : ', not as in the base'}
            </p> `,
      )}
      <p>
        ${plural(boot.launches.length, 'launch', 'launches')}: ${plan.vcpuTypes.length} CPU
        ${plan.vcpuTypes.length === 1 ? 'type' : 'types'} (${oneLine(plan.vcpuTypes.join(', '))}), each with
        ${oneLine(plan.vcpus.join(' and '))} vCPUs and so as many VMSA pages, each from both slots. A VM with
        another number of vCPUs launches with another digest.
      </p>
      ${steps(boot)}`,
  );
}

function steps({ steps: rows, launches }: BootReport): Html | false {
  const [first] = launches;
  return (
    first !== undefined &&
    html`<details>
      <summary>
        One launch, page by page: ${oneLine(first.vcpuType)}, ${first.vcpus} vCPUs, slot ${first.slot}
      </summary>
      ${table(
        'Pages in the order of their measurement',
        [
          { name: 'What' },
          { name: 'Address' },
          { name: 'Pages', kind: 'number' },
          { name: 'Type' },
          { name: 'SHA-384 of the content', kind: 'digest' },
        ],
        rows.map(({ name, gpa, pages, pageType, content }) => ({
          cells: [
            name,
            html`<code>${gpa}</code>`,
            pages,
            pageType,
            content === null ? 'no content is measured' : digest(content),
          ],
        })),
      )}
    </details>`
  );
}

/** Both lists of digests, and where they meet. */
export function launchSection({ boot, outcome, certification }: Report): Html {
  const { launches, otherBlessed } = boot;
  const facts = certification?.facts ?? null;
  const { shown, more } = firstOf(launches, LIMITS.launchRows);
  const others = firstOf(otherBlessed, LIMITS.launchRows);
  const matched = launches.filter(({ blessed }) => blessed === true).length;
  const lede =
    facts === null
      ? outcome.kind === 'not-voted'
        ? 'These digests are what a proposal has to bless. None is blessed yet.'
        : 'No proposal that is believed stands beside them.'
      : `The proposal blesses ${plural(facts.measurements.length, 'digest')}; ${matched} of the ${launches.length} computed here ${matched === 1 ? 'is' : 'are'} among them. One that matches is enough for the image; a node needs the one that it launches with itself.`;
  return section(
    'launches',
    facts === null ? 'Launch measurements' : 'Blessed against computed',
    html`<p>${lede}</p>
      ${table(
        'Computed from the boot partition',
        [
          { name: 'CPU' },
          { name: 'vCPUs', kind: 'number' },
          { name: 'Slot' },
          { name: 'Launch measurement', kind: 'digest' },
          ...(facts === null ? [] : [{ name: 'Proposal' }]),
        ],
        shown.map(({ vcpuType, vcpus, slot, measurement, blessed }) => ({
          kind: blessed === true ? 'match' : 'plain',
          cells: [
            nowrap(vcpuType),
            vcpus,
            slot,
            digest(measurement),
            ...(facts === null ? [] : [blessed === true ? tag('ok', 'blessed') : tag('none', 'not blessed')]),
          ],
        })),
      )}
      ${cutNote(more, 'computed launches')}
      ${
        facts !== null &&
        (otherBlessed.length === 0
          ? html`<p>Nothing else is blessed: every digest of the proposal is one of these.</p>`
          : html`<h3>Blessed, and not computed here</h3>
              <p>
                Of another base, another CPU type or another number of vCPUs; what the proposal records beside
                a digest proves nothing about it.
              </p>
              ${table(
                'Blessed by the proposal, not met by this boot partition',
                [
                  { name: 'CPU, as recorded' },
                  { name: 'Slot' },
                  { name: 'Launch measurement', kind: 'digest' },
                ],
                others.shown.map(({ vcpuType, slot, measurement, hasCommandLine }) => ({
                  cells: [
                    vcpuType === null ? 'not recorded' : oneLine(vcpuType),
                    slot === null
                      ? hasCommandLine
                        ? 'none named'
                        : 'no command line recorded'
                      : oneLine(slot, 40),
                    digest(measurement),
                  ],
                })),
              )}
              ${cutNote(others.more, 'blessed digests')}`)
      }`,
  );
}
