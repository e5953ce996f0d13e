/** Writes the generated files of docs/ anew: `./bazelw run //docs:update`. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { documents } from './documents.ts';

// docs/ of the source tree, then what starlark_doc_extract wrote: NAME_doc.binaryproto, in any order.
const [docs, ...extracted] = process.argv.slice(2);
if (docs === undefined || extracted.length === 0) throw new Error('start it with ./bazelw run //docs:update');

const texts = await documents(
  (name) => readFileSync(join(docs, name), 'utf8'),
  (name) => {
    const path = extracted.find((candidate) => candidate.endsWith(`/${name}_doc.binaryproto`));
    if (path === undefined) throw new Error(`${name}_doc.binaryproto is not among the arguments`);
    return readFileSync(path);
  },
);
for (const [name, text] of texts) {
  const path = join(docs, name);
  if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
  writeFileSync(path, text);
  process.stdout.write(`docs/${name} written\n`);
}
