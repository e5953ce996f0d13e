// Adds up what test runs reported, and prints it as the last line a person or a machine looks for.
//
//   node test/count-results.mjs <name> <testlogs folder>   counts the test.xml files of one Bazel run
//   node test/count-results.mjs --total                    adds the end-to-end results, prints the total
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const store = new URL('../node_modules/.cvm-results/', import.meta.url).pathname;
const count = { passed: 0, failed: 0, skipped: 0 };
const line = () => `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`;

function addXml(text) {
  const attribute = (element, name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(element)?.[1] ?? 0);
  for (const [element] of text.matchAll(/<testsuite\b[^>]*>/g)) {
    const failed = attribute(element, 'failures') + attribute(element, 'errors');
    const skipped = attribute(element, 'skipped') + attribute(element, 'disabled');
    count.failed += failed;
    count.skipped += skipped;
    count.passed += attribute(element, 'tests') - failed - skipped;
  }
}

function addFolder(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) addFolder(join(folder, entry.name));
    else if (entry.name === 'test.xml') addXml(readFileSync(join(folder, entry.name), 'utf8'));
  }
}

const [name, folder] = process.argv.slice(2);
if (name !== '--total') {
  addFolder(folder);
  mkdirSync(store, { recursive: true });
  writeFileSync(join(store, `${name}.json`), JSON.stringify(count));
  console.log(`${name}: ${line()}`);
} else {
  for (const file of existsSync(store) ? readdirSync(store) : []) {
    for (const [key, value] of Object.entries(JSON.parse(readFileSync(join(store, file), 'utf8'))))
      count[key] += value;
  }
  const results = new URL('../bazel-e2e-results.json', import.meta.url);
  if (existsSync(results)) {
    const e2e = JSON.parse(readFileSync(results, 'utf8'));
    count.passed += e2e.numPassedTests;
    count.failed += e2e.numFailedTests;
    count.skipped += e2e.numPendingTests;
    rmSync(results);
  } else {
    console.log('the end-to-end tests left no results: counted as one failure');
    count.failed += 1;
  }
  rmSync(store, { recursive: true, force: true });
  console.log(line());
  if (count.passed === 0 || count.failed > 0) process.exitCode = 1;
}
