import { html, type Html, type Part } from './html.ts';
import { certifiedTime } from './certified-time.ts';
import type { Report } from './model.ts';
import { refusalSection } from './refusal-section.ts';
import { copyableDigest, facts, mark, oneLine, plural, size, type State } from './parts.ts';

/** The verdict in words. */
export interface Headline {
  readonly state: State;
  /** One word. */
  readonly seal: string;
  readonly title: string;
  readonly kind: string;
  readonly lede: string;
}

export function headline({ outcome, boot, image, isBeforeVote, network, root }: Report): Headline {
  switch (outcome.kind) {
    case 'blessed': {
      const { verdict } = outcome;
      return {
        state: 'ok',
        seal: 'Valid',
        title: `Proposal ${verdict.proposalId} blesses this image`,
        kind: 'GuestOS recovery image',
        lede:
          `The NNS of network ${network} executed the proposal. ${verdict.matched.length} of ${plural(boot.launches.length, 'possible launch', 'possible launches')} ` +
          `of the boot partition ${verdict.matched.length === 1 ? 'is' : 'are'} among those it blesses, and the root partition is the one it names.`,
      };
    }
    case 'release':
      return {
        state: 'none',
        seal: 'Consistent',
        title: 'A release of its own, which no vote has blessed',
        kind: 'GuestOS release',
        lede: 'Its command lines name the root partition that is packed beside them. There is no proposal on its boot partition, and a normal release needs none.',
      };
    case 'not-voted':
      return {
        state: 'open',
        seal: 'Not voted on',
        title: 'There is no proposal yet, and so no image',
        kind: 'GuestOS recovery, before the vote',
        lede:
          root === null
            ? 'The lock pins a base release only.'
            : 'The lock pins a base release only. What the NNS would have to bless was computed: the launches of the base, and the root hash of the new root partition.',
      };
    case 'refused':
      return {
        state: 'failed',
        seal: 'Refused',
        title:
          image !== null
            ? 'This image must not be installed'
            : isBeforeVote
              ? 'Nothing is to be proposed from these files'
              : 'No image is made of these partitions',
        kind: 'GuestOS image, refused',
        lede: `${outcome.refusal.error.message.replace(/^./u, (letter) => letter.toUpperCase())}.`,
      };
  }
}

export function verdictSection(report: Report): Html {
  const head = headline(report);
  const { certification, image, network, outcome, root, version } = report;
  const proven = certification?.facts ?? null;
  return html`<section id="verdict" class="verdict ${head.state}" aria-labelledby="verdict-title">
      <p class="seal">${mark(head.state)}${head.seal}</p>
      <h1 id="verdict-title">${head.title}</h1>
      <p class="lede">${oneLine(head.lede, 600)}</p>
      ${checks(report)}
      ${facts([
        report.label === null ? undefined : ['Image', html`<code>${oneLine(report.label)}</code>`],
        version === null ? undefined : ['Version', html`<code>${oneLine(version)}</code>`],
        ['Network', network === 'mainnet' ? 'mainnet, the Internet Computer' : 'dev, whose key is public'],
        proven === null ? undefined : ['Certified', certifiedTime(proven.certifiedTimeNs)],
        image === null ? undefined : ['Size', html`${image.name}, ${size(image.sizeBytes)}`],
        image === null ? undefined : ['sha256', copyableDigest(image.sha256, 'the sha256 of the image')],
        root === null ? undefined : ['Root hash', copyableDigest(root.rootHash, 'the root hash')],
      ])}
      <p class="origin">
        Everything here was computed from the bytes of base, partitions, certificate and request by the
        program that wrote the page.
        ${outcome.kind === 'refused' && image === null && 'It describes what was refused: no image exists.'}
      </p>
    </section>
    ${outcome.kind === 'refused' && refusalSection(outcome.refusal)}`;
}

function checks({ outcome, lock, certification }: Report): Html {
  const rows: (readonly [State, string, Part])[] = [];
  if (outcome.kind === 'blessed' || outcome.kind === 'release') {
    for (const { name, status, detail } of outcome.verdict.checks)
      rows.push([
        status === 'ok' ? 'ok' : 'none',
        CHECK_NAMES[name] ?? name,
        status === 'ok' ? detail : 'not demanded',
      ]);
  }
  if (outcome.kind === 'refused') rows.push(['failed', 'Refusal', outcome.refusal.error.code]);
  if (outcome.kind === 'blessed' && certification?.facts?.requestBound === false)
    rows.push(['open', 'Question', 'not proven: the request is not at hand']);
  if (lock !== null) {
    const compared = lock.checks.filter(({ found }) => found !== null);
    const wrong = compared.filter(({ found, pinned }) => found !== pinned);
    const built = lock.checks.filter(({ found }) => found === null).map(({ name }) => name);
    rows.push([
      wrong.length > 0 ? 'failed' : 'ok',
      'Lock',
      `${compared.length - wrong.length} of ${plural(compared.length, 'value')} found as pinned` +
        (built.length === 0 ? '' : `; nothing at hand to compare with ${built.join(', ')}`),
    ]);
  }
  if (rows.length === 0) return html``;
  return html`<ul class="checks">
    ${rows.map(
      ([state, name, detail]) =>
        html`<li>
          ${mark(state)}<span><b>${name}</b> ${typeof detail === 'string' ? oneLine(detail) : detail}</span>
        </li> `,
    )}
  </ul>`;
}

const CHECK_NAMES: Readonly<Record<string, string>> = {
  proposal: 'Proposal',
  measurements: 'Launch measurements',
  'root-hash': 'Root partition',
  'chip-id': 'Chips',
  'boot-args': 'Command lines',
};
