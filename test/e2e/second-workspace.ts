import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { checkoutFiles, copyCheckout } from '../support/checkout.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** This checkout. */
    here: string;
    /** A copy of it in another folder, with a space in its path, that tests may change. */
    second: string;
  }
}

/** Copies what git tracks or would track into another folder; removes it, and its Bazel server, at the end. */
export default function setup(project: TestProject): () => void {
  const here = execFileSync('git', ['rev-parse', '--show-toplevel'], { encoding: 'utf8' }).trim();
  const parent = mkdtempSync(join(tmpdir(), 'cvm-e2e-'));
  const second = join(parent, 'a second folder');
  copyCheckout(here, checkoutFiles(here), second, 0o022);
  project.provide('here', here);
  project.provide('second', second);
  return () => {
    execFileSync('./bazelw', ['clean', '--expunge'], { cwd: second, stdio: 'ignore' });
    rmSync(parent, { recursive: true, force: true });
  };
}
