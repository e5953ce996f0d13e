// Runs vitest on files of a runfiles tree. Called by vitest_test; see there.
//
// vitest looks for packages in folders above the test, and runfiles keep those in another repository's folder. So
// a small tree of links is made in the test's own scratch folder: the workspace, with node_modules in it.
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { spawnSync } from 'node:child_process';

const [npm, ...files] = process.argv.slice(2);
const runfiles = process.env['TEST_SRCDIR'];
const workspace = join(runfiles, process.env['TEST_WORKSPACE']);
const root = join(process.env['TEST_TMPDIR'], 'workspace');
mkdirSync(root);
for (const name of readdirSync(workspace)) {
  if (name !== 'external') symlinkSync(join(workspace, name), join(root, name));
}
symlinkSync(join(runfiles, npm, 'node_modules'), join(root, 'node_modules'));

const filter = process.env['TESTBRIDGE_TEST_ONLY'];
const scratch = join(process.env['TEST_TMPDIR'], 'scratch');
mkdirSync(scratch);
// Files that may or may not be there are found beside one that always is.
const marker = process.env['CVM_SHARED_VECTORS_MARKER'];
const vectors = marker === undefined ? undefined : dirname(join(runfiles, marker));
const shared =
  vectors !== undefined && existsSync(join(vectors, 'nns')) ? { CVM_SHARED_VECTORS: vectors } : {};

const { status, signal, error } = spawnSync(
  process.execPath,
  [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--root',
    root,
    '--config',
    join(root, 'vitest.config.ts'),
    '--reporter=default',
    '--reporter=junit',
    `--outputFile.junit=${process.env['XML_OUTPUT_FILE']}`,
    '--no-color',
    ...(filter === undefined ? [] : ['--testNamePattern', filter]),
    ...files.map((file) => join(root, file)),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...shared, TEST_TMPDIR: scratch, TMPDIR: scratch, HOME: scratch, CI: 'true' },
  },
);
if (error !== undefined) throw error;
if (signal !== null) process.kill(process.pid, signal);
process.exit(status ?? 1);
