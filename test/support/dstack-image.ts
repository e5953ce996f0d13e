import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command as create } from '../../tools/commands/bundle-create.ts';
import type { OptionValues } from '../../tools/commands/command.ts';
import { initrdI, kernelK, REVISION, ROOTFS_HASH, sevFirmwareS, tdvf1 } from './dstack.ts';
import { runCommand, scratchFolder } from './run-command.ts';

/** The digest of the vector "Whole bundle". */
export const DIGEST = '55bee8e2a377a876af65382b842c4637cc7b3b7b94584a6e19df99b1270cdf91';

/** How that bundle is made from the files of {@link makeDstackImage}'s folder. */
export const CREATE: OptionValues = {
  ovmf: 'ovmf',
  ovmfSev: 'sev',
  kernel: 'kernel',
  initrd: 'initrd',
  rootfs: 'rootfs',
  rootfsHash: ROOTFS_HASH,
  rootfsSize: '4096',
  imageVersion: '0.6.0',
  ovmfVariant: 'pre202505',
  gitRevision: REVISION,
};

/** A folder with the parts, `dstack-0.6.0/`, `host.tar.gz`, `mr/` and `digest`; answers its path. */
export async function makeDstackImage(): Promise<string> {
  const home = scratchFolder();
  const write = (name: string, content: Uint8Array | string): void =>
    writeFileSync(join(home, name), content);
  write('ovmf', tdvf1());
  write('sev', sevFirmwareS());
  write('kernel', kernelK());
  write('initrd', initrdI());
  write('rootfs', 'rootfs\n');
  const outputs = { folder: 'dstack-0.6.0', tarball: 'host.tar.gz', mrFolder: 'mr', digest: 'digest' };
  await runCommand(create, home, [], { ...CREATE, ...outputs });
  return home;
}

/** A copy of an image with something done to it. */
export function copyOf(image: string, edit: (folder: string) => void): string {
  const folder = join(scratchFolder(), 'image');
  cpSync(image, folder, { recursive: true });
  edit(folder);
  return folder;
}
