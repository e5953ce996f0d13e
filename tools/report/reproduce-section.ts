import { html, type Html, type Part } from './html.ts';
import { clip, LIMITS } from './limits.ts';
import type { LockReport, Report } from './model.ts';
import { block, digest, oneLine, section, table, tag } from './parts.ts';

/** How somebody else gets the same bytes. */
export function reproduceSection(report: Report): Html {
  const { lock } = report;
  return section(
    'reproduce',
    'Reproduce it',
    html`<p>
        Whoever builds the same sources with the same lock gets the same bytes, on any machine, with and
        without a network once the pins are fetched.
      </p>
      ${buildSteps(report)} ${lock !== null && lockPart(lock)}`,
  );
}

function buildSteps({ label, image, version, isBeforeVote, network, lock }: Report): Part {
  const place = label === null ? null : /^\/\/([^:]*):(.+)$/.exec(label);
  if (place === null) {
    return image === null
      ? html`<p>This page was made of files, outside a build.</p>`
      : html`<p>
            This page was made of a file, outside a build. Compare its sha256 with the one that was published
            or built:
          </p>
          ${block(`echo '${image.sha256}  ${shellName(image.name)}' | sha256sum --check`, 'the command')}`;
  }
  const [, folder = '', name = ''] = place;
  const stem = name.replace(/\.tar\.zst$/, '');
  if (isBeforeVote) {
    const suffix = stem.startsWith('update-img') ? stem.slice('update-img'.length) : '';
    return html`${block(
        `./bazelw build //${folder}:partition-root${suffix}-hash //${folder}:launch-measurements${suffix}.json //${folder}:proposal-payload${suffix}.json`,
        'the command',
      )}
      <p>What they have to say stands above. After the vote:</p>
      ${block(`./bazelw run //${folder}:pin -- --proposal=<id>`, 'the command')}`;
  }
  if (image === null) {
    return html`<p>The refusal, and this page:</p>
      ${block(`./bazelw build //${folder}:${name}\n./bazelw build //${folder}:${stem}.report.html`, 'the commands')}`;
  }
  return html`<ol class="how">
    <li>
      <p>
        Check out the sources that make version
        <code>${clip(version ?? 'unknown', LIMITS.lineUnits)}</code
        >${network === 'dev' && html` (the build puts <code>-dev</code> behind every version of this network)`},
        with ${lock === null ? 'this environment' : 'the lock below'}, and build:
      </p>
      ${block(`./bazelw build //${folder}:${name}`, 'the build command')}
    </li>
    <li>
      <p>Compare the sha256. This says OK, or it is another image:</p>
      ${block(`echo '${image.sha256}  bazel-bin/${folder}/${name}' | sha256sum --check`, 'the command that compares')}
    </li>
    <li>
      <p>This page is a function of the same bytes. Build it, and compare it with this one:</p>
      ${block(`./bazelw build //${folder}:${stem}.report.html`, 'the command for this page')}
    </li>
  </ol>`;
}

/** A file's name where a command takes it: one that a shell might read otherwise does not get into a command that people copy. */
function shellName(name: string): string {
  return /^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(name) ? name : 'update-img.tar.zst';
}

function lockPart({ name, text, checks }: LockReport): Html {
  return html`<h3>The lock</h3>
    ${table(
      'Values of the lock, against the bytes at hand',
      [{ name: 'Value' }, { name: 'Pinned', kind: 'digest' }, { name: 'Found' }],
      checks.map(({ name: field, pinned, found }) => ({
        cells: [
          field,
          html`<code class="hex">${oneLine(pinned)}</code>`,
          found === null
            ? tag('none', 'nothing to compare')
            : found === pinned
              ? tag('ok', 'the same')
              : html`${tag('failed', 'differs')}<br />${digest(found)}`,
        ],
      })),
    )}
    <details>
      <summary>${oneLine(name)} as it is</summary>
      ${block(clip(text, LIMITS.lockUnits), 'the lock')}
    </details>`;
}
