import { bytesToHex } from '../bytes/hex.ts';
import { jsonText, showText } from '../bytes/text.ts';
import type { CandidValue } from '../candid/types.ts';
import { CvmError, usageError } from '../errors.ts';
import type { Trust } from '../nns/networks.ts';
import { StageLog } from '../nns/stages.ts';
import { verifyAnswer } from '../proposal/answer.ts';
import type { VerifiedAnswer } from '../proposal/answer.ts';
import { isoTime, proposalIdOf, readBlessedContent } from '../proposal/facts.ts';
import { fieldName } from '../proposal/field-names.ts';
import { decodeProposalInfo, readReply, statusName } from '../proposal/proposal-info.ts';
import type { ProposalInfo } from '../proposal/proposal-info.ts';
import { checkRequest } from '../proposal/verify.ts';
import { errorObject } from '../show-error.ts';
import { candidJson, candidOutline } from './candid-text.ts';
import type { Command } from './command.ts';
import { optionalFile, readSmallFile } from './guestos-options.ts';
import { flagOption } from './options.ts';
import { TRUST_OPTIONS, showStages, trustOption } from './trust-options.ts';

export const command: Command = {
  summary: 'show everything that a certified answer says about a proposal',
  description:
    'Verifies the certificate, and with --request which question it answers, and then shows the whole ProposalInfo, also of a ' +
    'proposal that is open, was rejected or does something else. Whether it blesses a GuestOS is said at the end; cvm proposal ' +
    'verify is what decides. Exit codes: 3 the file is malformed, 4 it is not to be believed.',
  arguments: [{ name: '<certificate>', description: 'certificate of the proposal, <id>.cbor' }],
  options: [
    { flags: '--request <file>', description: 'request that the certificate answers, <id>.request.cbor' },
    ...TRUST_OPTIONS,
    { flags: '--json', description: 'print it as JSON; integers are text, bytes are hex' },
  ],
  run(args, options, io) {
    const [file] = args;
    if (file === undefined) {
      throw usageError('ARGUMENT_MISSING', 'no certificate was named', {
        facts: [['expected', '<certificate>']],
        mend: 'give the path of its file',
      });
    }
    const trust = trustOption(options, io);
    const certificate = readSmallFile(io, file, 'the proposal certificate');
    const request = optionalFile(io, options, 'request', 'the request');
    const isJson = flagOption(options, 'json');
    const log = new StageLog();
    try {
      const answer = verifyAnswer(certificate, trust, log, request);
      const shown: Shown = { trust, answer, ...readAnswer(answer, request, log), log };
      io.out(isJson ? shownJson(shown) : shownText(shown));
    } catch (error) {
      if (!isJson) io.err(showStages(log.stages));
      throw error;
    }
    return 0;
  },
};

interface Shown {
  readonly trust: Trust;
  readonly answer: VerifiedAnswer;
  readonly value: CandidValue;
  readonly requestBound: boolean;
  /** Why `proposal verify` would refuse it; null when it would not. */
  readonly refusal: CvmError | null;
  readonly log: StageLog;
}

function readAnswer(
  { reply }: VerifiedAnswer,
  request: Uint8Array | undefined,
  log: StageLog,
): Pick<Shown, 'value' | 'requestBound' | 'refusal'> {
  const info = log.run(
    'proposal',
    () => decodeProposalInfo(reply),
    ({ id }) => `id ${id[0]?.id ?? 'missing'}`,
  );
  if (request === undefined) checkRequest(undefined, 0n, false, log);
  else checkRequest(request, proposalIdOf(info), true, log);
  return { value: infoValue(reply), requestBound: request !== undefined, refusal: refusalOf(info) };
}

/** The record inside `opt record`; that it is one, decodeProposalInfo has seen. */
function infoValue(reply: Uint8Array): CandidValue {
  const [value] = readReply(reply).values;
  return value?.kind === 'opt' && value.value !== null ? value.value : (value ?? { kind: 'null' });
}

function refusalOf(info: ProposalInfo): CvmError | null {
  try {
    readBlessedContent(info);
    return null;
  } catch (error) {
    if (error instanceof CvmError && error.kind !== 'bug') return error;
    throw error;
  }
}

function shownJson({ trust, answer, value, requestBound, refusal, log }: Shown): string {
  return `${jsonText(
    {
      ok: true,
      network: trust.network,
      certifiedTime: isoTime(answer.certificate.timeNs),
      requestId: bytesToHex(answer.requestId),
      requestBound,
      proposalInfo: candidJson(value, fieldName),
      blessing: refusal === null ? { ok: true } : { ok: false, error: errorObject(refusal) },
      stages: log.stages,
    },
    2,
  )}\n`;
}

function shownText({ trust, answer, value, requestBound, refusal, log }: Shown): string {
  const head =
    `network    ${trust.network}\n` +
    `certified  ${isoTime(answer.certificate.timeNs)}\n` +
    `request    ${bytesToHex(answer.requestId)}${requestBound ? '' : ' (not bound: no --request)'}\n`;
  const verdict =
    refusal === null
      ? 'blesses a GuestOS: yes, see cvm proposal verify\n'
      : `blesses a GuestOS: no, ${refusal.code}: ${showText(refusal.message)}\n`;
  return `${showStages(log.stages)}\n${head}\n${candidOutline(value, fieldName, note)}\n${verdict}`;
}

/** Names of statuses and dates of seconds, beside the number. */
function note(name: string, value: CandidValue): string | undefined {
  if (value.kind !== 'integer') return undefined;
  if (name === 'status') return statusName(Number(value.value));
  const isMoment = name.endsWith('_seconds') && value.value > 0n && value.value < 1n << 34n;
  return isMoment ? isoTime(value.value * 1_000_000_000n).replace('.000000000', '') : undefined;
}
