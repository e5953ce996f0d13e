import type { Command } from '../../../tools/commands/command.ts';
import { usageError } from '../../../tools/errors.ts';
import { parseDecimal, textOption } from '../../../tools/commands/options.ts';
import { PROPOSAL_OPTIONS, proposalOption } from '../proposal-options.ts';
import { REPLICA_MODES, isReplicaMode, startReplica } from '../server.ts';

export const command: Command = {
  summary: 'answer like a replica of the dev network, on this machine only',
  description:
    'Prints its URL and answers get_proposal_info for one proposal until it is interrupted, or until somebody posts to ' +
    '/_dev/stop. Listens on 127.0.0.1 alone.',
  options: [
    ...PROPOSAL_OPTIONS,
    {
      flags: '--mode <mode>',
      description: `how it behaves: ${REPLICA_MODES.join(', ')}`,
      defaultValue: 'sync',
    },
    { flags: '--port <n>', description: 'port; 0 takes a free one', defaultValue: '0' },
  ],
  async run(_args, options, io) {
    const mode = textOption(options, 'mode') ?? 'sync';
    if (!isReplicaMode(mode)) {
      throw usageError('MODE_UNKNOWN', 'the replica has no such mode', {
        facts: [
          ['found', mode],
          ['known', REPLICA_MODES.join(', ')],
        ],
        mend: 'name one of them',
      });
    }
    const replica = await startReplica({
      mode,
      proposals: [proposalOption(options, io)],
      port: parseDecimal(textOption(options, 'port') ?? '0', '--port', 0, 65535),
    });
    io.out(`${replica.url}\n`);
    await replica.closed;
    return 0;
  },
};
