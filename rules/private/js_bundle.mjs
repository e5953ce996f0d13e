// Bundles one entry with esbuild. Run by js_bundle; see there.
import { spawnSync } from 'node:child_process';
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
    caches: { type: 'string' },
    'code-cache': { type: 'string' },
  },
});
const esbuild = createRequire(import.meta.url)(resolve(values.esbuild));

/** What is put around a part, as Node.js does it around CommonJS modules. */
const AROUND = ['(function(exports,require,module,__filename,__dirname){', '\n})'];

/** Where in the folder of the code caches those are that this processor has a use for. */
const HERE = `${process.platform}-${process.arch}`;

/** What every build of esbuild has in common. */
const SHARED = {
  bundle: true,
  platform: 'node',
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
};

const PLUGINS = [
  // An optional native addon of cbor-x: the same results without it.
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
];

// Paths as they are in the workspace and in node_modules, wherever this ran and whatever the repositories are called.
const npm = `${values['node-modules'].replace(/node_modules$/, '')}`;
const plain = (text) => text.replaceAll(`${values.root}/`, '').replaceAll(npm, '');

const modules = new Set();
const external = new Set();
/** @returns the one text that comes out, and its metafile */
async function bundle(entry, format, options, plugins = []) {
  const { warnings, outputFiles, metafile } = await esbuild.build({
    ...SHARED,
    ...options,
    entryPoints: [entry],
    format,
    plugins: [...PLUGINS, ...plugins],
  });
  if (warnings.length > 0) process.exit(1);
  return { text: plain(outputFiles[0].text), metafile };
}
function keep({ metafile }) {
  for (const path of Object.keys(metafile.inputs))
    if (!path.startsWith('elsewhere:')) modules.add(plain(path));
  for (const { imports } of Object.values(metafile.outputs))
    for (const imported of imports) if (imported.external) external.add(imported.path);
}

if (values.parts === undefined) {
  const made = await bundle(values.entry, 'esm', {
    // CommonJS packages ask for Node's own modules by require.
    banner: {
      js: "import{createRequire as __cvmRequire}from'node:module';const require=__cvmRequire(import.meta.url);",
    },
  });
  keep(made);
  writeFileSync(values.outfile, made.text);
} else {
  await writeParts();
}
writeFileSync(
  values.inputs,
  `${JSON.stringify({ modules: [...modules].sort(), external: [...external].sort() }, null, 1)}\n`,
);

/**
 * A front, and one part a noun, which holds all that the noun's commands need: one file is read and parsed however many
 * modules it is made of. Parts are CommonJS: a module of Node's that ECMAScript imports has all its getters asked, and
 * `node:fs` and `node:crypto` then load streams and web cryptography. What knows no noun, or looks into every command,
 * is the part `all`.
 *
 * Commands are what `commands/table` and its two neighbours import when asked; the noun is the first word of the file's name.
 */
async function writeParts() {
  let whole;
  const front = await bundle(values.entry, 'esm', {}, [
    {
      name: 'the-whole-is-a-part',
      setup(build) {
        build.onResolve({ filter: /^\./ }, async ({ kind, path, resolveDir, importer }) => {
          if (kind !== 'dynamic-import') return undefined;
          if (whole !== undefined) throw new Error(`${importer} loads a second module`);
          whole = join(resolveDir, path);
          return { path, namespace: 'parts' };
        });
        // Evaluated when it is asked for.
        build.onLoad({ filter: /.*/, namespace: 'parts' }, async () => ({
          contents: loader(basename(values.parts), basename(values.caches), await nouns(whole)),
        }));
      },
    },
  ]);
  modules.add(values.entry.replace(`${values.root}/`, ''));
  keep({ metafile: { ...front.metafile, inputs: {} } });
  writeFileSync(values.outfile, front.text);
}

/**
 * The source of what loads a part. V8 takes its code cache instead of parsing it, and parses where there is none or
 * where it was made by another V8.
 */
function loader(folder, caches, own) {
  return `
const{existsSync,readFileSync}=process.getBuiltinModule('node:fs');
const{createRequire}=process.getBuiltinModule('node:module');
const{Script}=process.getBuiltinModule('node:vm');
const own=${JSON.stringify(own)};
const name=own.includes(process.argv[2])?process.argv[2]:'all';
const folder=import.meta.dirname+'/${folder}';
const filename=folder+'/'+name+'.cjs';
const cache=import.meta.dirname+'/${caches}/'+process.platform+'-'+process.arch+'/'+name+'.cache';
const module={exports:{}};
new Script(${JSON.stringify(AROUND[0])}+readFileSync(filename,'latin1')+${JSON.stringify(AROUND[1])},{
  filename,
  ...existsSync(cache)&&{cachedData:readFileSync(cache)},
}).runInThisContext()(module.exports,createRequire(filename),module,filename,folder);
`;
}

/** Writes the parts. @returns the nouns that have one of their own */
async function nouns(entry) {
  const isTable = (path) => /\/commands\/((build|sign)-)?table\.js$/.test(join('/', path));
  const nounOf = (path) => basename(path, '.js').split('-')[0];
  const part = (noun) =>
    bundle(
      entry,
      'cjs',
      { define: { 'import.meta.url': '__cvmUrl' }, charset: 'ascii', supported: { 'dynamic-import': false } },
      [
        {
          name: 'commands-of-other-nouns',
          setup(build) {
            build.onResolve({ filter: /^\./ }, ({ kind, path, importer }) =>
              noun !== undefined && kind === 'dynamic-import' && isTable(importer) && nounOf(path) !== noun
                ? { path, namespace: 'elsewhere' }
                : undefined,
            );
            build.onLoad({ filter: /.*/, namespace: 'elsewhere' }, () => ({
              contents: "throw new Error('the command is in another part')",
            }));
          },
        },
      ],
    );
  mkdirSync(values.parts, { recursive: true });
  mkdirSync(join(values.caches, HERE), { recursive: true });
  const write = (name, { text }) => {
    const url = text.includes('__cvmUrl')
      ? 'const __cvmUrl=require("node:url").pathToFileURL(__filename).href;'
      : '';
    const path = join(values.parts, `${name}.cjs`);
    writeFileSync(path, `${url}${text}`, 'latin1');
    const { status, stderr } = spawnSync(
      process.execPath,
      [
        '--random-seed=1',
        resolve(values['code-cache']),
        path,
        join(values.caches, HERE, `${name}.cache`),
        ...AROUND,
      ],
      // Always these, whatever the driver has: see code_cache.mjs.
      { stdio: ['ignore', 'ignore', 'pipe'], env: {}, encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`no code cache of ${name}:\n${stderr}`);
  };
  const all = await part(undefined);
  keep(all);
  write('all', all);
  const imports = Object.entries(all.metafile.inputs);
  const commands = imports.flatMap(([importer, { imports }]) =>
    isTable(importer) ? imports.filter(({ kind }) => kind === 'dynamic-import').map(({ path }) => path) : [],
  );
  const own = [];
  for (const noun of [...new Set(commands.map(nounOf))].sort()) {
    const made = await part(noun);
    const looksAround = Object.entries(made.metafile.inputs).some(
      ([importer, { imports }]) =>
        !isTable(importer) &&
        basename(importer) !== basename(entry) &&
        imports.some(({ path }) => isTable(path)),
    );
    if (looksAround) continue;
    write(noun, made);
    own.push(noun);
  }
  return own;
}
