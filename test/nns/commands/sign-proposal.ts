import type { Command } from '../../../tools/commands/command.ts';
import { resolvePath, writeFileWhole } from '../../../tools/commands/files.ts';
import { requiredText } from '../../../tools/commands/options.ts';
import { verifyProposal } from '../../../tools/proposal/verify.ts';
import { signProposal } from '../answer.ts';
import { PROPOSAL_OPTIONS, proposalOption } from '../proposal-options.ts';

export const command: Command = {
  summary: 'make an executed proposal of the dev network',
  description:
    'Writes the certificate and the request that a download would leave behind, signed with the published dev key. Equal ' +
    'inputs give equal bytes: question, nonce and times are fixed, and BLS signatures are deterministic.',
  options: [
    ...PROPOSAL_OPTIONS,
    { flags: '--output <file>', description: 'certificate, <id>.cbor', required: true },
    { flags: '--request-output <file>', description: 'request, <id>.request.cbor', required: true },
  ],
  async run(_args, options, io) {
    const proposal = proposalOption(options, io);
    const { certificate, request } = signProposal(proposal);
    // A proposal that the tools refuse is no use as a stand-in for a real one.
    verifyProposal({
      certificate,
      request,
      trust: { network: 'dev' },
      demandRequest: true,
      proposalId: proposal.proposalId,
    });
    await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [certificate]);
    await writeFileWhole(resolvePath(io, requiredText(options, 'requestOutput')), [request]);
    return 0;
  },
};
