import { basename } from 'node:path';
import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { digestBytes } from '../bytes/digest.ts';
import { showText, utf8Bytes, jsonText } from '../bytes/text.ts';
import { mismatchError, usageError } from '../errors.ts';
import { StageLog } from '../nns/stages.ts';
import { proposalFactsJson } from '../proposal/facts.ts';
import type { ProposalFacts, ProposalFactsJson } from '../proposal/facts.ts';
import { verifyProposal } from '../proposal/verify.ts';
import type { Command, OptionValues } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { optionalFile, readSmallFile } from './guestos-options.ts';
import { flagOption, parseIntegerLiteral, textOption } from './options.ts';
import { TRUST_OPTIONS, showStages, trustOption } from './trust-options.ts';

export const command: Command = {
  summary: 'verify a certified proposal and show what it proves',
  description:
    'Decides offline, from bytes alone, whether the NNS executed a proposal that blesses a GuestOS. With --request it is ' +
    'also proven that governance was asked for this very proposal. No clock is asked. Exit codes: 3 the file is malformed, ' +
    '4 it is not to be believed, 5 it is another file or proposal than expected.',
  arguments: [{ name: '<certificate>', description: 'certificate of the proposal, <id>.cbor' }],
  options: [
    { flags: '--request <file>', description: 'request that the certificate answers, <id>.request.cbor' },
    { flags: '--require-request', description: 'refuse a certificate without its request' },
    ...TRUST_OPTIONS,
    { flags: '--proposal-id <id>', description: 'refuse any other proposal' },
    { flags: '--certified-time-ns <ns>', description: 'refuse a certificate of another time' },
    { flags: '--sha256 <hex>', description: 'refuse any other certificate file' },
    { flags: '--request-sha256 <hex>', description: 'refuse any other request file' },
    { flags: '--json', description: 'print the facts as JSON' },
    { flags: '--output <file>', description: 'write the facts as JSON' },
  ],
  async run(args, options, io) {
    const [path] = args;
    if (path === undefined)
      throw usageError('ARGUMENT_MISSING', 'no certificate was named', {
        facts: [['expected', '<certificate>']],
        mend: 'give the path of its file',
      });
    const trust = trustOption(options, io);
    const proposalId = integerOption(options, 'proposalId', '--proposal-id');
    const certifiedTimeNs = integerOption(options, 'certifiedTimeNs', '--certified-time-ns');
    const certificate = readSmallFile(io, path, 'the proposal certificate');
    const request = optionalFile(io, options, 'request', 'the request');
    checkDigest(options, 'sha256', '--sha256', 'certificate', certificate);
    checkDigest(options, 'requestSha256', '--request-sha256', 'request', request);
    const log = new StageLog();
    const json = flagOption(options, 'json');
    let facts: ProposalFacts;
    try {
      facts = verifyProposal({
        certificate,
        request,
        trust,
        demandRequest: flagOption(options, 'requireRequest'),
        proposalId,
        log,
      });
      checkFileName(path, facts);
      const requestPath = textOption(options, 'request');
      if (requestPath !== undefined) checkFileName(requestPath, facts);
      checkCertifiedTime(facts, certifiedTimeNs);
    } catch (error) {
      if (!json) io.err(showStages(log.stages));
      throw error;
    }
    const shown = proposalFactsJson(facts);
    const text = `${jsonText(shown, 2)}\n`;
    const output = textOption(options, 'output');
    if (output !== undefined) await writeFileWhole(resolvePath(io, output), [utf8Bytes(text)]);
    if (json) io.out(text);
    else if (output === undefined) io.out(showStages(log.stages) + showFacts(shown));
    return 0;
  },
};

function integerOption(options: OptionValues, name: string, flag: string): bigint | undefined {
  const text = textOption(options, name);
  return text === undefined ? undefined : parseIntegerLiteral(text, flag, 64);
}

function checkDigest(
  options: OptionValues,
  name: string,
  flag: string,
  what: string,
  bytes: Uint8Array | undefined,
): void {
  const text = textOption(options, name);
  if (text === undefined) return;
  if (bytes === undefined) {
    throw usageError('OPTION_CONFLICT', `${flag} was given, but no ${what}`, {
      mend: `give the ${what} too`,
    });
  }
  const expected = bytesToHex(hexToBytes(text, flag, 32));
  const found = bytesToHex(digestBytes('sha256', bytes));
  if (found === expected) return;
  throw mismatchError('PROPOSAL_SHA256', `the ${what} is another file than expected`, {
    facts: [
      ['expected sha256', expected],
      ['found', found],
      ['size', `${bytes.length} bytes`],
    ],
    mend: 'restore the file from version control, or pin the new one on purpose',
  });
}

/** A file that is named after a proposal has to be of that one; other names say nothing. */
function checkFileName(path: string, facts: ProposalFacts): void {
  const name = basename(path);
  const id = /^([0-9]+)(\.request)?\.cbor$/.exec(name)?.[1];
  if (id === undefined || id === facts.proposalId.toString()) return;
  throw mismatchError('PROPOSAL_FILE_NAME', 'a file is named after another proposal than the one in it', {
    facts: [
      ['file', name],
      ['proposal', facts.proposalId],
    ],
    mend: `name it after proposal ${facts.proposalId}, or download proposal ${id}`,
  });
}

function checkCertifiedTime(facts: ProposalFacts, expected: bigint | undefined): void {
  if (expected === undefined || facts.certifiedTimeNs === expected) return;
  throw mismatchError('PROPOSAL_TIME', 'the certificate is of another time than expected', {
    facts: [
      ['expected', `${expected} ns`],
      ['found', `${facts.certifiedTimeNs} ns`],
    ],
    mend: 'restore the file from version control, or pin the new one on purpose',
  });
}

function showFacts(facts: ProposalFactsJson): string {
  const rows: (readonly [string, string])[] = [
    ['proposal', `${facts.proposalId} on ${facts.network}, ${facts.status}`],
    ['title', facts.title ?? '(none)'],
    ['certified', facts.certifiedTime],
    ['request', `${facts.requestId}${facts.requestBound ? '' : ' (not bound: no --request)'}`],
    ['rootfs hash', facts.rootfsHash],
    ...facts.chipIds.map((chip) => ['chip id', chip] as const),
    ...facts.measurements.flatMap(({ measurement, kernelCmdline, vcpuType }) => [
      ['measurement', measurement] as const,
      ['  vCPU type', vcpuType ?? '(not said)'] as const,
      ['  command line', kernelCmdline ?? '(not said)'] as const,
    ]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return `\n${rows.map(([name, value]) => `${name.padEnd(width)}  ${showText(value)}\n`).join('')}`;
}
