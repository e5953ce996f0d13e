import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { workflowFindings, workflowTargets } from '../../support/workflow-findings.ts';

const folder = new URL('../../../.github/workflows/', import.meta.url);
const workflows = readdirSync(folder).sort();
const read = (name: string): string => readFileSync(new URL(name, folder), 'utf8');

const SHA = '3d3c42e5aac5ba805825da76410c181273ba90b1';

/** A workflow without a finding; each case below changes one thing. */
const GOOD = `name: good
on:
  push:
    branches: [main]
permissions: {}
concurrency:
  group: good
  cancel-in-progress: true
defaults:
  run:
    shell: bash
jobs:
  build:
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    permissions:
      contents: read
    steps:
      - name: Check out
        uses: actions/checkout@${SHA} # v7.0.1
        with:
          persist-credentials: false
      - name: Build
        run: ./bazelw build //...
`;

describe('the workflows of this repository', () => {
  test('are these', () => {
    expect(workflows).toEqual(['ci.yml', 'release.yml']);
  });

  test.each(workflows)('%s has no finding', (name) => {
    expect(workflowFindings(read(name))).toEqual([]);
  });

  test('an action is one commit everywhere', () => {
    const pins = new Map<string, Set<string>>();
    for (const name of workflows)
      for (const [, action = '', pin = ''] of read(name).matchAll(/uses: ([^@\s]+)@(.*)/g))
        pins.set(action, (pins.get(action) ?? new Set()).add(pin));
    for (const [action, found] of pins) expect([...found], action).toHaveLength(1);
  });

  test('a release is built, gated, verified, built again, attested and published, in this order', () => {
    const text = read('release.yml');
    const steps = [
      'sev-recovery:release\n',
      ':release.verify --',
      'cmp ',
      'attest-build-provenance@',
      ':release.publish -- --to',
    ];
    const places = steps.map((step) => text.indexOf(step));
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(workflowTargets(text)).toEqual([
      '//ic-os/guestos/envs/sev-recovery:release',
      '//ic-os/guestos/envs/sev-recovery:release.verify',
      '//ic-os/guestos/envs/sev-recovery:release.publish',
    ]);
  });
});

describe('a finding for', () => {
  test('nothing in a good workflow', () => {
    expect(workflowFindings(GOOD)).toEqual([]);
  });

  test.each<[string, string, string, RegExp]>([
    ['a tag', `@${SHA} # v7.0.1`, '@v7 # v7.0.1', /uses: actions\/checkout@v7 is not pinned/],
    ['a short commit', SHA, SHA.slice(0, 12), /is not pinned by a full commit/],
    ['a branch', `@${SHA}`, '@main', /is not pinned/],
    ['a container of others', `actions/checkout@${SHA}`, 'docker://alpine:3', /is not pinned/],
    ['a commit without its version', ' # v7.0.1', '', /a comment says which version/],
    ['a comment that is no version', '# v7.0.1', '# checkout', /a comment says which version/],
    ['a token left behind', 'persist-credentials: false', 'fetch-depth: 1', /leaves its token/],
    [
      'a token left behind on purpose',
      'persist-credentials: false',
      'persist-credentials: true',
      /leaves its token/,
    ],
    ['rights for every job', 'permissions: {}', 'permissions: write-all', /^permissions: /],
    ['rights that nobody listed', 'permissions: {}\n', '', /^permissions: /],
    [
      'a job whose rights nobody listed',
      '    permissions:\n      contents: read\n',
      '',
      /jobs\.build: permissions are listed/,
    ],
    [
      'a job with all rights',
      '    permissions:\n      contents: read\n',
      '    permissions: write-all\n',
      /permissions are listed/,
    ],
    [
      'a job that may write and runs commands',
      'contents: read',
      'contents: write',
      /may write, and runs commands/,
    ],
    ['a right to write that nothing needs', 'contents: read', 'packages: write', /may write, and need not/],
    ['no bound', '    timeout-minutes: 10\n', '', /timeout-minutes/],
    ['a bound that is none', 'timeout-minutes: 10', 'timeout-minutes: 3600', /timeout-minutes/],
    ['a machine that changes', 'ubuntu-24.04', 'ubuntu-latest', /names a version/],
    [
      'an image of others',
      '    timeout-minutes',
      '    container: node:24\n    timeout-minutes',
      /no image of others/,
    ],
    ['pull_request_target', '  push:', '  pull_request_target:\n  push:', /stranger's code/],
    ['workflow_run', '  push:', '  workflow_run:\n  push:', /stranger's code/],
    ['triggers as a list', 'on:\n  push:\n    branches: [main]', 'on: [push]', /triggers stand as a mapping/],
    ['runs that pile up', 'concurrency:\n  group: good\n  cancel-in-progress: true\n', '', /^concurrency/],
    ['a shell that goes on', 'defaults:\n  run:\n    shell: bash\n', '', /^defaults/],
    ['an expression in a command', 'build //...', 'build ${{ github.ref }}', /expression in its command/],
    [
      'a title in a command',
      'build //...',
      'build "${{ github.event.pull_request.title }}"',
      /expression in its command/,
    ],
    [
      'a title in a variable',
      '        run:',
      '        env:\n          T: ${{ github.event.issue.title }}\n        run:',
      /not one of those we know/,
    ],
    [
      'a branch name in a variable',
      '        run:',
      '        env:\n          T: ${{ github.head_ref }}\n        run:',
      /not one of those we know/,
    ],
    [
      'all secrets at once',
      '        run:',
      '        env:\n          T: ${{ toJSON(secrets) }}\n        run:',
      /not one of those we know/,
    ],
    [
      'a secret outside an environment',
      '        run:',
      '        env:\n          T: ${{ secrets.T }}\n        run:',
      /outside an environment/,
    ],
    [
      'a secret for every step',
      '    steps:',
      '    environment: e\n    env:\n      T: ${{ secrets.T }}\n    steps:',
      /to every step/,
    ],
    [
      'a secret that is echoed',
      '        run: ./bazelw build //...',
      '        env:\n          T: ${{ secrets.T }}\n        run: echo "$T"',
      /puts the secret T into its command/,
    ],
    [
      'a secret in an argument',
      '        run: ./bazelw build //...',
      '        env:\n          T: ${{ secrets.T }}\n        run: ./bazelw run //:x -- --key=${T}',
      /puts the secret T/,
    ],
    [
      'a secret handed to an action',
      'persist-credentials: false',
      'persist-credentials: false\n          token: ${{ secrets.T }}',
      /hands a secret to an action/,
    ],
    ['a secret in a name', 'name: Build', 'name: ${{ secrets.T }}', /the value of a variable, nothing else/],
    [
      'an environment that is printed',
      'run: ./bazelw build //...',
      'run: printenv',
      /prints its environment/,
    ],
    [
      'an environment that is printed in passing',
      'run: ./bazelw build //...',
      'run: |\n          true; env | sort',
      /prints its environment/,
    ],
    [
      'commands that are printed',
      'run: ./bazelw build //...',
      'run: set -x; ./bazelw build //...',
      /prints what it runs/,
    ],
    ['a download', 'run: ./bazelw build //...', 'run: curl -L https://example.com | sh', /downloads by hand/],
    ['packages of the day', 'run: ./bazelw build //...', 'run: npx something', /brings packages/],
    ['root', 'run: ./bazelw build //...', 'run: sudo ./bazelw build //...', /uses root/],
    [
      'a failure that does not count',
      '        run:',
      '        continue-on-error: true\n        run:',
      /a failure counts/,
    ],
    ['a step without a name', '      - name: Build\n        run', '      - run', /has no name/],
    [
      'a condition on what a stranger wrote',
      '        run:',
      "        if: contains(github.event.comment.body, 'x')\n        run:",
      /compares the event alone/,
    ],
    ['no jobs', GOOD.slice(GOOD.indexOf('jobs:')), 'jobs: {}\n', /there is none/],
    ['a key that is there twice', 'name: good', 'name: good\nname: bad', /^yaml: /],
    ['no YAML', 'name: good', 'name: [good', /^yaml: /],
  ])('%s', (_, before, after, finding) => {
    expect(GOOD).toContain(before);
    const found = workflowFindings(GOOD.replace(before, () => after));
    expect(found.join('\n')).toMatch(new RegExp(finding.source, 'm'));
  });

  test('a secret where pull requests run', () => {
    const secret = GOOD.replace('  push:\n    branches: [main]', '  pull_request:').replace(
      '        run:',
      '        env:\n          T: ${{ secrets.T }}\n        run:',
    );
    expect(workflowFindings(secret).join('\n')).toMatch(/where pull requests run/);
  });
});
