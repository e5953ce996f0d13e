import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestProject } from 'vitest/node';

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
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: here,
    encoding: 'utf8',
  });
  for (const file of files.split('\0').filter((name) => name !== '')) {
    mkdirSync(dirname(join(second, file)), { recursive: true });
    cpSync(join(here, file), join(second, file));
  }
  project.provide('here', here);
  project.provide('second', second);
  return () => {
    execFileSync('./bazelw', ['clean', '--expunge'], { cwd: second, stdio: 'ignore' });
    rmSync(parent, { recursive: true, force: true });
  };
}
