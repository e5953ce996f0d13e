import { html, type Html, type Part } from './html.ts';
import { basePin } from './lock-check.ts';
import type { Certification, Report } from './model.ts';
import { digest, mark, oneLine, plural, section, size, table, type State } from './parts.ts';

interface Link {
  readonly title: string;
  readonly state: State;
  /** What the state is called, where another word is nearer. */
  readonly word?: string;
  readonly body: Part;
}

/** From what is believed to what is installed: every link holds the next. */
export function chainSection(report: Report): Html {
  const { isBeforeVote, certification } = report;
  const links =
    certification !== null
      ? [...certificateLinks(report, certification), ...partitionLinks(report)]
      : isBeforeVote
        ? unvotedLinks(report)
        : releaseLinks(report);
  return section(
    'chain',
    certification === null ? 'What holds together' : 'From the root key to the image',
    html`<ol class="chain">
        ${links.map(
          ({ title, state, word, body }) =>
            html`<li class="${state}">
              ${mark(state)}
              <div>
                <h3>${title}<span class="state">${word ?? WORDS[state]}</span></h3>
                ${body}
              </div>
            </li> `,
        )}
      </ol>
      ${certification !== null && allSteps(certification)}`,
  );
}

const WORDS: Readonly<Record<State, string>> = {
  ok: 'verified',
  failed: 'failed',
  open: 'not proven',
  none: 'not reached',
};

function certificateLinks(
  { network }: Report,
  { rootKey, stages, facts, certificate, request }: Certification,
): Link[] {
  const stage = (name: string): { readonly state: State; readonly detail: string } => {
    const found = stages.find((candidate) => candidate.name === name);
    if (found === undefined) return { state: 'none', detail: 'the verification ended before' };
    return { state: found.ok === null ? 'open' : found.ok ? 'ok' : 'failed', detail: found.detail };
  };
  /** The first of several stages that is not good, or the last of them. */
  const worst = (...names: readonly string[]): { readonly state: State; readonly detail: string } => {
    const seen = names.map(stage);
    return (
      seen.find(({ state }) => state === 'failed') ??
      seen.find(({ state }) => state !== 'ok') ??
      stage(names.at(-1) ?? '')
    );
  };
  const delegation = stages.some(({ name }) => name === 'delegation signature')
    ? worst('delegation signature', 'delegation time', 'canister range', 'subnet key', 'delegation')
    : stage('delegation');
  const signature = worst('decode', 'time', 'signature');
  const question =
    request === null
      ? worst('request id', 'reply', 'question')
      : worst('request id', 'request', 'reply', 'question');
  const content = worst('proposal', 'action');
  return [
    {
      title: `Root key of the NNS on ${network}`,
      state: stage('root key').state,
      body: html`<p>
          ${
            network === 'mainnet'
              ? 'Compiled into the tool. No option makes a build accept another.'
              : 'Published with its private half: anybody can sign for this network, so nothing on it may reach production.'
          }
        </p>
        <p>${digest(rootKey)}</p>`,
    },
    { title: 'Delegation', state: delegation.state, body: html`<p>${oneLine(delegation.detail)}</p>` },
    {
      title: 'Certificate',
      state: signature.state,
      body: html`<p>${signature.state === 'ok' && 'signed '}${oneLine(signature.detail)}</p>
        <p class="quiet">
          ${certificate.name} on the boot partition, ${size(certificate.sizeBytes)}, sha256
          ${digest(certificate.sha256)}
        </p>`,
    },
    {
      title: 'The question it answers',
      state: question.state,
      body: html`<p>${oneLine(question.detail)}</p>
        ${
          request !== null &&
          html`<p class="quiet">the request, ${size(request.sizeBytes)}, sha256 ${digest(request.sha256)}</p>`
        }`,
    },
    {
      title: facts === null ? 'Proposal' : `Proposal ${facts.proposalId}`,
      state: content.state,
      body: html`<p>
        ${
          facts === null || content.state !== 'ok'
            ? oneLine(content.detail)
            : `executed; blesses ${plural(facts.measurements.length, 'launch measurement')} for ${plural(facts.chipIds.length, 'chip')}, and one root hash`
        }
      </p>`,
    },
  ];
}

function partitionLinks({ outcome, boot, certification, root, image }: Report): Link[] {
  const facts = certification?.facts ?? null;
  const matched = boot.launches.filter(({ blessed }) => blessed === true).length;
  const launchState: State = facts === null ? 'none' : matched > 0 ? 'ok' : 'failed';
  const rootState: State =
    root === null ? 'failed' : facts === null ? 'none' : facts.rootfsHash === root.rootHash ? 'ok' : 'failed';
  const names = [
    ...new Set(boot.launches.filter(({ blessed }) => blessed === true).map(({ vcpuType }) => vcpuType)),
  ];
  return [
    {
      title: 'Boot partition: what it launches with',
      state: launchState,
      body: html`<p>
        ${
          facts === null
            ? `${plural(boot.launches.length, 'launch', 'launches')} measured, with nothing that is believed to compare them with`
            : `${matched} of ${plural(boot.launches.length, 'launch', 'launches')} measured from its firmware, kernel, initrd and command lines are blessed${names.length === 0 ? '' : `: ${names.join(', ')}`}`
        }
      </p>`,
    },
    {
      title: 'Root partition: its root hash',
      state: rootState,
      body:
        root === null
          ? html`<p>its data do not fit its own hash tree</p>`
          : html`<p>
                recomputed from ${size(root.coveredBytes)} of
                data${facts !== null && facts.rootfsHash === root.rootHash && ', and the one that the proposal names'}
              </p>
              <p>${digest(root.rootHash)}</p>
              ${
                facts !== null &&
                facts.rootfsHash !== root.rootHash &&
                html`<p>the proposal names ${digest(facts.rootfsHash)}</p>`
              }`,
    },
    imageLink(outcome.kind === 'refused', image),
  ];
}

function imageLink(isRefused: boolean, image: Report['image']): Link {
  return {
    title: 'Update image',
    state: isRefused ? 'failed' : image === null ? 'none' : 'ok',
    body:
      image === null
        ? html`<p>${isRefused ? 'refused: none is packed' : 'none'}</p>`
        : html`<p>
              ${isRefused && 'refused: '}these two partitions and VERSION.TXT, ${size(image.sizeBytes)},
              sha256
            </p>
            <p>${digest(image.sha256)}</p>`,
  };
}

function releaseLinks({ outcome, boot, root, image }: Report): Link[] {
  const isRefused = outcome.kind === 'refused';
  const lines: State = !isRefused
    ? 'ok'
    : outcome.refusal.error.code.startsWith('BOOT_ARGS')
      ? 'failed'
      : 'none';
  return [
    {
      title: 'Root partition: its root hash',
      state: root === null ? 'failed' : 'ok',
      body:
        root === null
          ? html`<p>its data do not fit its own hash tree</p>`
          : html`<p>recomputed from ${size(root.coveredBytes)} of data</p>
              <p>${digest(root.rootHash)}</p>`,
    },
    {
      title: 'Boot partition: its command lines',
      state: lines,
      body: html`<p>
        ${lines === 'ok' ? `${boot.commandLines.map(({ name }) => name).join(' and ')} name that root hash` : lines === 'failed' ? 'they do not name that root hash' : 'not compared with it: something else was refused before'}
      </p>`,
    },
    imageLink(isRefused, image),
  ];
}

function unvotedLinks({ base, boot, root, lock }: Report): Link[] {
  const pin = basePin(lock);
  return [
    {
      title: 'Base release',
      state: pin === 'same' ? 'ok' : pin === 'differs' ? 'failed' : 'open',
      body: html`<p>
          ${
            pin === 'same'
              ? 'its sha256 is the one that the lock pins'
              : pin === 'differs'
                ? 'its sha256 is not the one that the lock pins'
                : 'no lock pins its sha256'
          }
        </p>
        ${base !== null && html`<p>${digest(base.file.sha256)}</p>`}`,
    },
    {
      title: 'What it launches with',
      state: 'ok',
      word: 'computed',
      body: html`<p>
        ${plural(boot.launches.length, 'launch', 'launches')} measured from its firmware, kernel, initrd and
        command lines: the proposal has to bless at least the one of the node
      </p>`,
    },
    {
      title: 'New root partition',
      state: root === null ? 'failed' : 'ok',
      ...(root === null ? {} : { word: 'computed' }),
      body:
        root === null
          ? html`<p>its data do not fit its own hash tree</p>`
          : html`<p>the proposal’s rootfs_hash has to be</p>
              <p>${digest(root.rootHash)}</p>`,
    },
    { title: 'Vote', state: 'open', word: 'to come', body: html`<p>no proposal is pinned</p>` },
  ];
}

function allSteps({ stages }: Certification): Html {
  return html`<details>
    <summary>All ${plural(stages.length, 'step')} of the certificate’s verification</summary>
    ${table(
      'Steps of the verification, in their order',
      [{ name: 'Step' }, { name: 'Result' }, { name: 'What it showed' }],
      stages.map(({ name, ok, detail }) => ({
        cells: [
          name,
          ok === null ? 'not proven' : ok ? 'ok' : 'failed',
          html`<span class="wrap">${oneLine(detail)}</span>`,
        ],
      })),
    )}
  </details>`;
}
