import { showRaw } from '../bytes/text.ts';
import { BOOT_FILES } from '../guestos/layout.ts';
import { html, join, type Html, type Part } from './html.ts';
import { firstOf } from './limits.ts';
import { basePin } from './lock-check.ts';
import type { Report } from './model.ts';
import { cutNote, oneLine, plural, section } from './parts.ts';
import type { TreeRow } from './tree-difference.ts';

/** Unmeasured files that are named. */
const NAMED = 24;

/** What a reader must not conclude. */
export function limitsSection(report: Report): Html {
  const items = [
    ...trustLimits(report),
    unmeasured(report),
    html`<b>What the root partition does.</b> A root hash says which bytes, not what they do. Read the sources
      that they are built from.`,
    html`<b>That a node launches like this.</b> Digests are computed for QEMU with the vCPU counts and CPU
      types above; host, host kernel and VM settings are not part of these files.
      <code>cvm guestos check-boot --report</code> compares with what a node attests.`,
    html`<b>That this page is genuine.</b> It bears no signature. Build it yourself: the same inputs give the
      same bytes.`,
  ];
  return section(
    'limits',
    'What this page does not prove',
    html`<ul class="limits">
      ${items.map((item) => item !== false && html`<li>${item}</li> `)}
    </ul>`,
  );
}

function trustLimits({ certification, network, chipIds }: Report): Part[] {
  const items: Part[] = [];
  if (network === 'dev') {
    items.push(
      html`<b>Anything about the Internet Computer.</b> The key of the network dev is published: anybody can
        make a proposal that is executed on it.`,
    );
  }
  if (certification === null) {
    items.push(html`<b>A blessing.</b> No certificate was looked at, and nothing here was voted on.`);
  }
  if (certification?.facts === null) {
    items.push(
      html`<b>Anything in the certificate.</b> It was not believed, so nothing of its content is shown.`,
    );
  }
  const proven = certification?.facts ?? null;
  if (proven !== null) {
    if (!proven.requestBound) {
      items.push(
        html`<b>Which question was answered.</b> Without the request the certificate says that the network
          answered some call like this; canister, method and proposal id are not proven.`,
      );
    }
    items.push(
      html`<b>That the answer is recent.</b> The certified time is the network’s own word, compared with no
        clock: what was executed stays executed.`,
    );
    items.push(
      chipIds.length === 0
        ? html`<b>That your node is meant.</b> No chip was demanded. Compare the id of the node’s chip with
            the list.`
        : html`<b>That other nodes are meant.</b> Only the demanded chips were looked for in the list.`,
    );
  }
  return items;
}

function unmeasured({ tree, boot, base, lock }: Report): Part {
  // A name that leads to a measured file is measured in effect: led elsewhere, it changes what is.
  const measured = new Set(boot.components.flatMap(({ path, name }) => [path, name]));
  const isUnmeasured = ({ now, base: was, path }: TreeRow): boolean =>
    (now ?? was)?.type !== 'dir' && !measured.has(path) && path !== BOOT_FILES.proposal;
  const unmeasuredRows = tree.rows.filter(isUnmeasured);
  const differing = unmeasuredRows.filter(({ change }) => change !== 'same');
  const files = unmeasuredRows.filter(({ now }) => now !== null);
  const { shown, more } = firstOf(files, NAMED);
  const names = join(
    shown.map(({ path }) => html`<code class="path">/${oneLine(showRaw(path))}</code>`),
    ', ',
  );
  const isPinned = basePin(lock) === 'same';
  const bound =
    base === null
      ? 'Nothing binds them but the sha256 of the image.'
      : `What binds them is that they are as in the base${isPinned ? ', whose sha256 the lock pins' : '; no lock pins the sha256 of that base here'}.`;
  return html`<b>The rest of the boot partition.</b> The launch measurement does not cover
    ${names}${shown.length === 0 && 'any other file'}. ${bound} Of <code>/boot_args</code> only the two TEE
    command lines are measured; <code>/grub.cfg</code> decides how a node without SEV starts.
    ${
      tree.compared &&
      (differing.length === 0
        ? html`In this image all of them are as in the base.`
        : html`<strong
            >In this image ${plural(differing.length, 'such file')}
            ${differing.length === 1 ? 'differs' : 'differ'} from the base.</strong
          >`)
    }${cutNote(more, 'files')}`;
}
