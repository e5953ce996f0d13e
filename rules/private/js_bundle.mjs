// Bundles one entry with esbuild. Run by js_bundle; see there.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    esbuild: { type: 'string' },
    'node-modules': { type: 'string' },
    entry: { type: 'string' },
    root: { type: 'string' },
    outfile: { type: 'string' },
    parts: { type: 'string' },
    inputs: { type: 'string' },
  },
});
const esbuild = createRequire(import.meta.url)(resolve(values.esbuild));
const folder = values.parts === undefined ? undefined : basename(values.parts);

const result = await esbuild.build({
  entryPoints: [{ in: values.entry, out: 'bundle' }],
  outdir: 'bundled',
  bundle: true,
  splitting: folder !== undefined,
  chunkNames: 'part-[hash]',
  platform: 'node',
  format: 'esm',
  target: 'node24',
  charset: 'utf8',
  legalComments: 'none',
  // White space goes, and with it the comments that name each module's path; names stay for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  preserveSymlinks: true,
  nodePaths: [resolve(values['node-modules'])],
  metafile: true,
  write: false,
  logLevel: 'warning',
  // CommonJS packages ask for Node's own modules by require.
  banner: {
    js: "import{createRequire as __cvmRequire}from'node:module';const require=__cvmRequire(import.meta.url);",
  },
  // An optional native addon of cbor-x: the same results without it.
  plugins: [
    {
      name: 'no-native-addons',
      setup(build) {
        build.onResolve({ filter: /^cbor-extract$/ }, () => ({ path: 'cbor-extract', namespace: 'absent' }));
        build.onLoad({ filter: /.*/, namespace: 'absent' }, () => ({
          contents: "throw new Error('cbor-extract is left out of the bundle')",
        }));
      },
    },
    // commander can run subcommands as programs of their own. Ours are functions, so no package gets to start one.
    {
      name: 'no-child-processes',
      setup(build) {
        build.onResolve({ filter: /^(node:)?child_process$/ }, ({ path, importer }) =>
          importer.includes('/node_modules/') ? { path, namespace: 'empty' } : undefined,
        );
        build.onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'export default {}' }));
      },
    },
  ],
});
if (result.warnings.length > 0) process.exit(1);

// Paths as they are in the workspace and in node_modules, wherever this ran and whatever the repositories are called.
const npm = `${values['node-modules'].replace(/node_modules$/, '')}`;
const plain = (text) => text.replaceAll(`${values.root}/`, '').replaceAll(npm, '');

// esbuild names parts after contents that hold those paths; ours are named after what is written, references aside.
const PART = /part-[0-9A-Z]{8}\.js/g;
const contents = new Map(result.outputFiles.map(({ path, text }) => [basename(path), plain(text)]));
const names = new Map();
for (const [name, text] of contents) {
  if (name === 'bundle.js') continue;
  const digest = createHash('sha256').update(text.replace(PART, 'part')).digest('hex');
  names.set(name, `part-${digest.slice(0, 16)}.mjs`);
}
if (new Set(names.values()).size !== names.size) throw new Error('two parts of the bundle are equal');
const renamed = (text, prefix) =>
  text.replace(/"\.\/(part-[0-9A-Z]{8}\.js)"/g, (_, name) => `"${prefix}${names.get(name)}"`);

if (folder !== undefined) mkdirSync(values.parts, { recursive: true });
for (const [name, text] of contents) {
  const isEntry = name === 'bundle.js';
  const written = renamed(text, isEntry && folder !== undefined ? `./${folder}/` : './');
  if (PART.test(written)) throw new Error('a part of the bundle is named in an unknown way');
  writeFileSync(isEntry ? values.outfile : join(values.parts, names.get(name)), written);
}
const modules = Object.keys(result.metafile.inputs).map(plain).sort();
const external = Object.values(result.metafile.outputs).flatMap((output) =>
  output.imports.filter((imported) => imported.external).map(({ path }) => path),
);
writeFileSync(
  values.inputs,
  `${JSON.stringify({ modules, external: [...new Set(external)].sort() }, null, 1)}\n`,
);
