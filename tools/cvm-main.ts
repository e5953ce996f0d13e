/**
 * The whole tool: `cvm`. Its version is told before anything else is loaded; scripts ask for it often, and reading the parts takes longer
 * than Node.js takes to start.
 */
import { VERSION } from './version.ts';

// Asked for in this way, the module comes alone; an import would bring Node's streams along.
const { writeSync } = process.getBuiltinModule('node:fs');

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

if (!toldVersion()) await import('./cvm-whole.ts');
