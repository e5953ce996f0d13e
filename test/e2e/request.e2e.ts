import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { bazel, build, buildFails } from './bazel.ts';

const second = inject('second');
const env = 'ic-os/guestos/envs/sev-recovery';
const lockFile = join(second, env, 'pins.lock.json');
const buildFile = join(second, env, 'BUILD.bazel');
const shipped = { lock: readFileSync(lockFile, 'utf8'), build: readFileSync(buildFile, 'utf8') };

/** The dev proposal without its request, as upstream stores one; and the same as a proposal of mainnet. */
const BARE = `
load("//rules:defs.bzl", "cvm_proposal")

genrule(
    name = "bare",
    srcs = [":dev-proposal"],
    outs = ["bare/139001.cbor"],
    cmd = "for file in $(SRCS); do case $$file in *.request.cbor) ;; *) cp $$file $@ ;; esac; done",
    visibility = ["//visibility:public"],
)

cvm_proposal(
    name = "bare-on-mainnet",
    files = ":bare",
    network = "mainnet",
)
`;

beforeAll(() => {
  // Loads stand first in a BUILD file, for buildifier; Bazel takes them anywhere.
  appendFileSync(buildFile, BARE);
  const lock = JSON.parse(shipped.lock) as object;
  writeFileSync(lockFile, JSON.stringify({ ...lock, proposal: { target: `//${env}:bare` } }));
});

afterAll(() => {
  writeFileSync(lockFile, shipped.lock);
  writeFileSync(buildFile, shipped.build);
});

test('on dev an image is built from a bare certificate, and the facts say that nothing binds it to a question', () => {
  build(second, [`//${env}:update-img`, `//${env}:verdict.json`, `//${env}:proposal`]);
  const facts = JSON.parse(
    readFileSync(join(second, `bazel-bin/${env}/proposal.facts.json`), 'utf8'),
  ) as object;
  expect(facts).toMatchObject({ network: 'dev', requestBound: false });
});

test('on mainnet the request is demanded', () => {
  const words = (target: string): string => {
    const { exitCode, output } = bazel(second, ['aquery', '--output=text', `//${env}:${target}`]);
    expect(exitCode, output).toBe(0);
    return output;
  };
  expect(words('bare-on-mainnet')).toMatch(/mainnet[\s\S]*--require-request/);
  expect(words('proposal')).not.toContain('--require-request');
  // Signed by dev, it does not come so far as to be asked for its request; what matters is that it is no failure of loading.
  buildFails(second, [`//${env}:bare-on-mainnet`], 'CERT_SIGNATURE');
});
