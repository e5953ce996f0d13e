import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Copies what git tracks or would track into another folder, as `git clone` under a umask would leave it.
 */
export function copyCheckout(from: string, to: string, umask: number): void {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: from,
    encoding: 'utf8',
  });
  const folder = (path: string): void => {
    if (path !== to) folder(dirname(path));
    if (mkdirSync(path, { recursive: true }) !== undefined) chmodSync(path, 0o777 & ~umask);
  };
  for (const name of listed.split('\0').filter((name) => name !== '')) {
    const target = join(to, name);
    folder(dirname(target));
    copyFileSync(join(from, name), target);
    const isExecutable = (statSync(join(from, name)).mode & 0o100) !== 0;
    chmodSync(target, (isExecutable ? 0o777 : 0o666) & ~umask);
  }
}
