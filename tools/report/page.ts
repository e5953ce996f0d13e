import { VERSION } from '../version.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { chainSection } from './chain-section.ts';
import { dataElement, html, scriptElement, styleElement } from './html.ts';
import { launchSection, measuredSection } from './launch-section.ts';
import { clip, LIMITS } from './limits.ts';
import { limitsSection } from './limits-section.ts';
import type { Report } from './model.ts';
import { proposalSection } from './proposal-section.ts';
import { reproduceSection } from './reproduce-section.ts';
import { SCRIPT } from './script.ts';
import { STYLE } from './style.ts';
import { treeSection } from './tree-section.ts';
import { headline, verdictSection } from './verdict-section.ts';

/**
 * A report as one HTML file that asks for nothing: no font, image, link or request. Its policy allows one style and one script, each by the
 * digest of its text; whatever else might come to run or load is refused by the browser, too. It is a function of the report.
 */
export function writeReport(report: Report): string {
  const head = headline(report);
  const style = styleElement(STYLE);
  const script = scriptElement(SCRIPT);
  const policy = `default-src 'none'; style-src ${style.source}; script-src ${script.source}; base-uri 'none'; form-action 'none'`;
  const subject = report.label === null ? head.kind : clip(report.label, LIMITS.lineUnits);
  const title = `${head.seal}: ${subject} (${report.network})`;
  const proposal = proposalSection(report);
  const links: readonly (readonly [id: string, name: string] | false)[] = [
    report.outcome.kind === 'refused' && ['why', 'Why'],
    ['chain', 'Chain'],
    ['measured', 'Measured'],
    ['launches', 'Launches'],
    ['tree', 'Boot partition'],
    proposal !== false && ['proposal', 'Proposal'],
    ['reproduce', 'Reproduce'],
    ['limits', 'Not proven'],
  ];
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="referrer" content="no-referrer" />
        <meta name="color-scheme" content="light dark" />
        <title>${title}</title>
        ${style.element}
      </head>
      <body>
        <a class="skip" href="#verdict">Go to the verdict</a>
        <header>
          ${report.network === 'dev' && html`<p class="band"><strong>NOT FOR PRODUCTION</strong> Network dev: its key is public, and anybody can sign for it. Never recover a node of the Internet Computer with this.</p>`}
          <div class="top">
            <p>${head.kind}</p>
            <nav aria-label="Sections">
              <ul>
                ${links.map((link) => link !== false && html`<li><a href="#${link[0]}">${link[1]}</a></li>`)}
              </ul>
            </nav>
          </div>
        </header>
        <main>
          ${verdictSection(report)} ${chainSection(report)} ${measuredSection(report)}
          ${launchSection(report)} ${treeSection(report)} ${proposal} ${reproduceSection(report)}
          ${limitsSection(report)}
        </main>
        <footer>
          <p>
            Written by cvm ${VERSION}, from bytes alone. The page loads nothing, links nowhere and depends on
            no clock: the same inputs give the same bytes. Text that came from outside is escaped; characters
            that hide or reorder text stand as codes like <code>\\u{202e}</code>.
          </p>
        </footer>
        ${dataElement('report', reportData(report))} ${script.element}
      </body>
    </html> `.toString();
}

/** The same for programs, without lists of any length. */
function reportData(report: Report): unknown {
  const { outcome, certification, boot, base, lock, tree } = report;
  const proven = certification?.facts ?? null;
  const count = (change: string): number => tree.rows.filter((row) => row.change === change).length;
  return {
    report: 1,
    label: report.label,
    network: report.network,
    outcome: outcome.kind,
    error:
      outcome.kind === 'refused'
        ? { code: outcome.refusal.error.code, message: outcome.refusal.error.message }
        : null,
    version: report.version,
    image: report.image,
    rootHash: report.root?.rootHash ?? null,
    proposal:
      proven === null
        ? null
        : {
            id: proven.proposalId.toString(),
            status: proven.status,
            certifiedTimeNs: proven.certifiedTimeNs.toString(),
            requestId: bytesToHex(proven.requestId),
            requestBound: proven.requestBound,
            rootfsHash: proven.rootfsHash,
            measurements: proven.measurements.length,
            chips: proven.chipIds.length,
            chipIds: proven.chipIds.slice(0, LIMITS.chips).map(bytesToHex),
          },
    components: boot.components.map(({ role, sizeBytes, sha256 }) => ({ role, sizeBytes, sha256 })),
    commandLines: boot.commandLines.map(({ slot, sha256 }) => ({ slot, sha256 })),
    launches: boot.launches.slice(0, LIMITS.launchRows),
    base: base?.file ?? null,
    lock: lock?.checks ?? null,
    tree: {
      compared: tree.compared,
      added: count('added'),
      removed: count('removed'),
      changed: count('changed'),
      same: count('same'),
    },
  };
}
