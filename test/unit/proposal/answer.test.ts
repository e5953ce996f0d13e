import { describe, expect, test } from 'vitest';
import type { HashTree } from '../../../tools/nns/hash-tree.ts';
import { DEV_TIME_NS } from '../../nns/answer.ts';
import { EMPTY, fork, labeled, leaf, prune, subtree, timeLeaf } from '../../nns/signer.ts';
import { expectRefusal } from '../../support/refusals.ts';
import { ID, good, certify, verify, statuses, replied } from './dev-proposals.ts';

describe('the answer in the certificate', () => {
  const other = new Uint8Array(32).fill(9);

  test.each<[string, HashTree, string, string]>([
    [
      'no request_status',
      subtree(['time', timeLeaf(DEV_TIME_NS)]),
      'PROPOSAL_REQUEST_STATUS',
      'request_status not found in certificate',
    ],
    [
      'request_status pruned with its label',
      fork(prune(labeled('request_status', replied())), labeled('time', timeLeaf(DEV_TIME_NS))),
      'PROPOSAL_REQUEST_STATUS',
      'request_status not found in certificate',
    ],
    [
      'request_status pruned below its label',
      statuses(prune(replied())),
      'PROPOSAL_REQUEST_STATUS',
      'request_status not found in certificate',
    ],
    [
      'no request below it',
      statuses(EMPTY),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 0',
    ],
    [
      'only pruned requests below it',
      statuses(subtree([ID, prune(replied())])),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 0',
    ],
    [
      'a leaf for a request',
      statuses(leaf('replied')),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 0',
    ],
    [
      'two requests',
      statuses(subtree([ID, replied()], [other, replied()])),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 2',
    ],
    [
      'a second request that shows only its status',
      statuses(subtree([ID, replied()], [other, subtree(['status', leaf('done')])])),
      'PROPOSAL_REQUEST_COUNT',
      'Expected exactly one request ID, found 2',
    ],
    [
      'a request id of 31 bytes',
      statuses(subtree([ID.subarray(1), replied()])),
      'PROPOSAL_REQUEST_ID',
      'length',
    ],
    [
      'no status',
      statuses(subtree([ID, subtree(['reply', leaf('x')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a rejected call',
      statuses(subtree([ID, subtree(['status', leaf('rejected')], ['reject_message', leaf('no')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a call that is still processing',
      statuses(subtree([ID, subtree(['status', leaf('processing')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a status that only starts like replied',
      statuses(subtree([ID, subtree(['reply', leaf('x')], ['status', leaf('replied\0')])])),
      'PROPOSAL_NOT_REPLIED',
      'was not replied',
    ],
    [
      'a pruned reply, though the signature holds',
      statuses(subtree([ID, subtree(['reply', prune(leaf('x'))], ['status', leaf('replied')])])),
      'PROPOSAL_REPLY_MISSING',
      'cut out',
    ],
    [
      'no reply',
      statuses(subtree([ID, subtree(['status', leaf('replied')])])),
      'PROPOSAL_REPLY_MISSING',
      'cut out',
    ],
  ])('is refused with %s', (_, tree, code, message) => {
    const error = expectRefusal(() => verify(certify(tree), { request: good.request }), code, 'trust');
    expect(error.message).toContain(message);
  });

  test('a rejection is told with its message', () => {
    const tree = statuses(
      subtree([ID, subtree(['status', leaf('rejected')], ['reject_message', leaf('busy')])]),
    );
    const error = expectRefusal(() => verify(certify(tree)), 'PROPOSAL_NOT_REPLIED', 'trust');
    expect(error.facts).toContainEqual(['reject message', 'busy']);
  });
});
