import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What git tracks or would track in a workspace. */
export function checkoutFiles(workspace: string): readonly string[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: workspace,
    encoding: 'utf8',
  });
  return listed.split('\0').filter((name) => name !== '');
}

/** Copies files of a workspace into another folder, with the modes that `git clone` under a umask would leave. */
export function copyCheckout(from: string, files: readonly string[], to: string, umask: number): void {
  const folder = (path: string): void => {
    if (path !== to) folder(dirname(path));
    if (mkdirSync(path, { recursive: true }) !== undefined) chmodSync(path, 0o777 & ~umask);
  };
  for (const name of files) {
    const target = join(to, name);
    folder(dirname(target));
    copyFileSync(join(from, name), target);
    const isExecutable = (statSync(join(from, name)).mode & 0o100) !== 0;
    chmodSync(target, (isExecutable ? 0o777 : 0o666) & ~umask);
  }
}
