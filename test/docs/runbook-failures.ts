/** The failures that the operator's runbook shows, each made to happen. */
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { OptionValues } from '../../tools/commands/command.ts';
import { asCvmError, showError } from '../../tools/show-error.ts';
import { STATUS } from '../nns/proposal-reply.ts';
import { startReplica } from '../nns/server.ts';
import {
  baseBoot,
  blessedMeasurements,
  COMMIT,
  makeWorkspace,
  pinProposal,
  runPin,
  writeBase,
  writeProposal,
  type Workspace,
} from '../support/pin-workspaces.ts';
import { scratchFolder, type Surroundings } from '../support/run-command.ts';

/** Makes every failure happen once. @returns what a person reads, by the name of what went wrong */
export async function makeFailures(): Promise<ReadonlyMap<string, string>> {
  const files = scratchFolder();
  const at = (name: string): string => join(files, name);
  await writeBase(at('base'), baseBoot());
  await writeBase(at('of-another-commit'), baseBoot({ version: `${'f'.repeat(40)}\n` }));
  const proposals = {
    good: {},
    open: { status: STATUS.open },
    'sixteen-vcpus': { measurements: blessedMeasurements([16]) },
  };
  for (const [name, over] of Object.entries(proposals)) writeProposal(files, name, pinProposal(over));

  const shown = new Map<string, string>();
  const pin = async (
    name: string,
    options: OptionValues,
    more: Surroundings & { readonly prepare?: (workspace: Workspace) => void } = {},
  ): Promise<void> => {
    const { prepare, ...surroundings } = more;
    const workspace = makeWorkspace();
    prepare?.(workspace);
    try {
      const { err } = await runPin(workspace, workspace.folder, options, surroundings);
      throw new Error(`${name} did not fail:\n${err}`);
    } catch (error) {
      shown.set(
        name,
        showError(asCvmError(error))
          .replaceAll(files, '…')
          .replaceAll(workspace.path, '…')
          .replaceAll(workspace.cache, '…'),
      );
    }
  };
  const base = { base: COMMIT, baseFile: at('base') };
  const good = { proposalFile: at('good.cbor') };

  await pin('a short commit', { base: COMMIT.slice(0, 12) });
  await pin('another commit', { base: COMMIT, baseFile: at('of-another-commit') });
  await pin('another sha256', { ...base, baseSha256: '0'.repeat(64) });
  await pin('not executed', { ...base, proposalFile: at('open.cbor') });
  await pin('another network', { ...base, ...good, network: 'mainnet' });
  await pin('other launches', { ...base, proposalFile: at('sixteen-vcpus.cbor') });
  await pin('another chip', { ...base, ...good, chipId: ['ff'.repeat(64)] });
  await pin('another proposal', { ...base, ...good, proposal: '139888' });
  writeFileSync(at('alone.cbor'), readFileSync(at('good.cbor')));
  await pin('a certificate alone', { ...base, proposalFile: at('alone.cbor') });
  const replica = await startReplica({ proposals: [pinProposal()] });
  const half = await halfServer(readFileSync(at('base')));
  const nobody = `http://127.0.0.1:${await closedPort()}`;
  const interrupted = {
    base: COMMIT,
    baseUrl: [`${half.url}/update-img.tar.zst`],
    baseSha256: '0'.repeat(64),
  };
  const fullDisk = ({ cached }: Workspace): void => {
    mkdirSync(dirname(cached), { recursive: true });
    symlinkSync('/dev/full', `${cached}.part`);
  };
  // Each waits between its tries; together they wait once.
  await Promise.all([
    pin('offline, the base', { base: COMMIT, baseUrl: [`${nobody}/update-img.tar.zst`] }),
    pin('offline, the proposal', { ...base, proposal: '139001', nnsUrl: [nobody] }),
    pin('no such proposal', { ...base, proposal: '7', nnsUrl: [replica.url] }),
    pin('interrupted', interrupted),
    pin('no room', interrupted, { prepare: fullDisk }),
  ]);
  await replica.close();
  await half.close();
  return shown;
}

/** A host that sends the first half of a file twice, and after that hangs up. */
async function halfServer(file: Uint8Array): Promise<{ url: string; close(): Promise<void> }> {
  let halves = 0;
  const server = createServer(({ headers }, response) => {
    if (headers.range !== undefined || halves++ >= 2) {
      response.destroy();
      return;
    }
    response.writeHead(200, { 'content-length': file.length });
    response.write(file.subarray(0, file.length / 2), () => setTimeout(() => response.destroy(), 200));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

/** A port of this machine where nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
