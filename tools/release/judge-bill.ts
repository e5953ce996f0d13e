/** The bill of materials, and the package lock that it was written from. */
import { digestBytes } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { utf8Bytes } from '../bytes/text.ts';
import { mismatchError } from '../errors.ts';
import { readText, type ReleaseContents, type VerifyOptions } from './contents.ts';
import { RELEASE_FILES } from './layout.ts';
import { readBill, writeBill } from './spdx.ts';
import { DEPENDENCIES, type Provenance } from './statement.ts';
import type { VerdictLog } from './verdicts.ts';

/** Its form, and with the package lock at hand its content, written anew. */
export function judgeBill(
  log: VerdictLog,
  contents: ReleaseContents,
  provenance: Provenance | undefined,
  { packageLock }: VerifyOptions,
): void {
  const text = log.take(
    'sbom',
    () => {
      const found = readText(contents, RELEASE_FILES.sbom);
      return { found, ...readBill(found) };
    },
    ({ packages }) => `SPDX 2.3, ${packages} packages`,
  );
  const name = 'sbom packages';
  if (text === undefined || packageLock === undefined) {
    log.leaveOut(name, 'not compared with the package lock (--package-lock)');
    return;
  }
  log.take(
    name,
    () => {
      const named = provenance?.resolvedDependencies.find((input) => input.name === DEPENDENCIES.packageLock)
        ?.digest['sha256'];
      const given = bytesToHex(digestBytes('sha256', packageLock));
      if (named !== given) {
        throw mismatchError(
          'SBOM_PACKAGE_LOCK',
          'the package lock that was given is not that of the provenance',
          {
            facts: [
              ['provenance', named ?? '(not named)'],
              ['given', given],
            ],
            mend: 'give package-lock.json of the revision that the provenance names',
          },
        );
      }
      requireSameBill(text.found, packageLock);
    },
    () => 'written anew from the package lock, they are the same',
  );
}

/** Everything but what was stated when it was written: time, tool and comment. */
function requireSameBill(found: string, packageLock: Uint8Array): void {
  const facts = (bill: string): string => {
    const stated = ['creationInfo', 'comment'];
    const rows = Object.entries(JSON.parse(bill) as Record<string, unknown>);
    return JSON.stringify(rows.filter(([name]) => !stated.includes(name)));
  };
  const written = writeBill({ packageLock, toolVersion: '0', createdSec: 0 });
  if (facts(found) === facts(written)) return;
  throw mismatchError('SBOM_PACKAGES', 'the bill of materials is not what the package lock says', {
    facts: [
      ['found', bytesToHex(digestBytes('sha256', utf8Bytes(facts(found))))],
      ['written anew', bytesToHex(digestBytes('sha256', utf8Bytes(facts(written))))],
    ],
    mend: 'take the file from its release; if it stays so, do not rely on it',
  });
}
