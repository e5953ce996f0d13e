// Makes V8's code cache of one part with what is put around it: `node --random-seed=1 code_cache.mjs PART CACHE BEFORE
// AFTER`, by js_bundle.mjs, a process a part.
//
// The bytes are a function of the part and of Node.js alone when the seed of V8's hashes is fixed, and when the process has
// the standard streams that js_bundle.mjs gives it: what else has been compiled, of Node.js itself, counts.
import { readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

const [, , part, cache, before, after] = process.argv;

// Every function, not only those called at once: what a call needs is parsed nowhere then. The cache names the flags
// that it was made with, and these are to be those of a process without any.
setFlagsFromString('--no-lazy');
const script = new Script(before + readFileSync(part, 'latin1') + after, { filename: 'part.cjs' });
setFlagsFromString('--lazy');
writeFileSync(cache, script.createCachedData());
