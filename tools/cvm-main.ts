/**
 * The whole tool: `cvm`. Its version is told before anything else is loaded; scripts ask for it often, and reading the parts takes longer
 * than Node.js takes to start.
 */
import { writeSync } from 'node:fs';
import { VERSION } from './version.ts';

/** False when there was something else to do, or standard output did not take it: the front knows what to say then. */
function toldVersion(): boolean {
  const [word, ...others] = process.argv.slice(2);
  if ((word !== '--version' && word !== '-V') || others.length > 0) return false;
  const line = Buffer.from(`cvm ${VERSION}\n`);
  try {
    return writeSync(1, line) === line.length;
  } catch {
    return false;
  }
}

if (!toldVersion()) {
  const [{ main }, { COMMANDS }] = await Promise.all([import('./cvm.ts'), import('./commands/table.ts')]);
  await main('cvm', 'Builds, blesses, measures and verifies confidential-VM images.', COMMANDS);
}
