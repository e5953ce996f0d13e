// Makes V8's code cache of one part: `node --random-seed=1 code_cache.mjs PART CACHE`, by js_bundle.mjs, a process a
// part.
//
// The bytes are a function of the part and of Node.js alone when the seed of V8's hashes is fixed, and when the process has
// the standard streams that js_bundle.mjs gives it: what else has been compiled, of Node.js itself, counts.
import { readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

const [, , part, cache] = process.argv;

// Every function, not only those called at once: what a call needs is parsed nowhere then. The cache names the flags
// that it was made with, and these are to be those of a process without any.
setFlagsFromString('--no-lazy');
const script = new Script(readFileSync(part, 'latin1'), { filename: 'part.cjs' });
setFlagsFromString('--lazy');
writeFileSync(cache, script.createCachedData());
