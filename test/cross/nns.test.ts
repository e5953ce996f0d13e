import { AgentError, Cbor, Certificate, IC_ROOT_KEY, lookup_path, requestIdOf } from '@dfinity/agent';
import type { HashTree as PeerTree } from '@dfinity/agent';
import { Principal } from '@dfinity/principal';
import { bls12_381 } from '@noble/curves/bls12-381';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareBytes, concatBytes } from '../../tools/bytes/compare.ts';
import { bytesToHex, hexToBytes } from '../../tools/bytes/hex.ts';
import { utf8Bytes } from '../../tools/bytes/text.ts';
import { encodeCbor } from '../../tools/cbor/encode.ts';
import type { CborValue } from '../../tools/cbor/value.ts';
import { CvmError } from '../../tools/errors.ts';
import { verifyCertificate } from '../../tools/nns/certificate.ts';
import type { HashTree } from '../../tools/nns/hash-tree.ts';
import { lookup, rootHash } from '../../tools/nns/hash-tree.ts';
import { GOVERNANCE_CANISTER_ID, rootKeyOf } from '../../tools/nns/networks.ts';
import { principalFromText, principalToText } from '../../tools/nns/principal.ts';
import { callRequestId, proposalArgument } from '../../tools/proposal/request.ts';
import { devCall } from '../nns/answer.ts';
import {
  DEV_SECRET,
  STRANGER_SECRET,
  SUBNET_SECRET,
  answerTree,
  balanced,
  delegationCbor,
  delegationTree,
  derKeyOf,
  fork,
  labeled,
  leaf,
  makeCertificate,
  prune,
  rangesCbor,
  signRootHash,
  subnetIdOf,
  subtree,
  timeLeaf,
  treeCbor,
} from '../nns/signer.ts';
import { SHARED_SUFFIX, ownVectors, sharedVectors } from '../nns/vectors.ts';
import type { VectorCase, Vectors } from '../nns/vectors.ts';

/** What the official agent says: `ok`, or the name of its error code. */
async function peerVerdict(
  certificate: Uint8Array,
  rootKey: Uint8Array,
  canisterId: Uint8Array,
): Promise<string> {
  try {
    await Certificate.create({
      // Copies: the agent reads `.buffer` of what it is given.
      certificate: new Uint8Array(certificate),
      rootKey: new Uint8Array(rootKey),
      canisterId: Principal.fromUint8Array(canisterId),
      disableTimeVerification: true,
    });
    return 'ok';
  } catch (error) {
    if (error instanceof AgentError) return (error.code as unknown as { readonly name: string }).name;
    return error instanceof Error ? error.name : 'thrown';
  }
}

/** What we say: `ok`, or the code. */
function ownVerdict(certificate: Uint8Array, rootKey: Uint8Array, canisterId: Uint8Array): string {
  try {
    verifyCertificate({ certificate, rootKey, canisterId });
    return 'ok';
  } catch (error) {
    expect(error).toBeInstanceOf(CvmError);
    return (error as CvmError).code;
  }
}

const DEV_KEY = rootKeyOf({ network: 'dev' });
const TIME = 1_770_000_000_000_000_000n;
const SUBNET_ID = subnetIdOf(SUBNET_SECRET);
const ALL_CANISTERS = [{ start: new Uint8Array(10), end: new Uint8Array(10).fill(0xff) }];
const MANAGEMENT = new Uint8Array();
/** Pairings by the hundred: a busy machine is no failure. */
const SLOW = { timeout: 120_000 };

const answer = answerTree({ requestId: new Uint8Array(32).fill(1), reply: utf8Bytes('hi'), timeNs: TIME });

function delegated(
  innerTree: HashTree,
  parts: { secret?: Uint8Array; inner?: { delegation: CborValue } } = {},
) {
  const inner = makeCertificate({ tree: innerTree, secret: DEV_SECRET, ...parts.inner });
  return makeCertificate({
    tree: answer,
    secret: parts.secret ?? SUBNET_SECRET,
    delegation: delegationCbor(SUBNET_ID, inner),
  });
}

const inner = (form: 'legacy' | 'sharded', ranges = ALL_CANISTERS): HashTree =>
  delegationTree({ form, subnetId: SUBNET_ID, ranges, timeNs: TIME });

const rootSigned = makeCertificate({ tree: answer, secret: DEV_SECRET });
const signatureOfAnswer = signRootHash(rootHash(answer), DEV_SECRET);
const mapOf = (...entries: readonly (readonly [string, CborValue])[]): Uint8Array =>
  encodeCbor(new Map(entries), true);

/** The signed tree with another encoding around it that means the same to a lax reader. */
const TREE = encodeCbor(treeCbor(answer));
const text = (value: string): Uint8Array => encodeCbor(value);
const envelope = (head: string, ...parts: readonly Uint8Array[]): Uint8Array =>
  concatBytes(hexToBytes(`d9d9f7${head}`), ...parts);

/** The signature of some state whose x coordinate has a second encoding, x + p, below 2^381. */
function twinSigned(): Uint8Array {
  const { ORDER } = bls12_381.fields.Fp;
  for (let i = 0n; i < 100n; i++) {
    const tree = subtree(['time', timeLeaf(TIME + i)]);
    const signature = signRootHash(rootHash(tree), DEV_SECRET);
    const { x } = bls12_381.G1.Point.fromBytes(signature).toAffine();
    if (x + ORDER >= 1n << 381n) continue;
    const twin = hexToBytes((x + ORDER).toString(16).padStart(96, '0'));
    twin[0] = (twin[0] as number) | ((signature[0] as number) & 0xe0);
    return makeCertificate({ tree, secret: DEV_SECRET, signature: twin });
  }
  throw new Error('one signature in six has a small x');
}

interface Difference {
  readonly what: string;
  readonly why: string;
  readonly certificate: Uint8Array;
  readonly canisterId?: Uint8Array;
  readonly ours: string;
  readonly peer: string;
}

/** Every way in which we and the agent are known to differ, and why ours is right. */
const DIFFERENCES: readonly Difference[] = [
  {
    what: 'sharded canister ranges',
    why: 'the agent knows the legacy form only',
    certificate: delegated(inner('sharded')),
    ours: 'ok',
    peer: 'LookupErrorCode',
  },
  {
    what: 'bytes after the certificate',
    why: 'two files must not stand for one certificate',
    certificate: Uint8Array.of(...rootSigned, 0),
    ours: 'CBOR_TRAILING',
    peer: 'ok',
  },
  {
    what: 'a key that stands twice',
    why: 'two readers could take different ones',
    certificate: envelope(
      'a3',
      text('tree'),
      TREE,
      text('signature'),
      encodeCbor(signatureOfAnswer),
      text('tree'),
      TREE,
    ),
    ours: 'CBOR_DUPLICATE_KEY',
    peer: 'ok',
  },
  {
    what: 'a map of indefinite length',
    why: 'certificates have one encoding',
    certificate: envelope(
      'bf',
      text('tree'),
      TREE,
      text('signature'),
      encodeCbor(signatureOfAnswer),
      Uint8Array.of(0xff),
    ),
    ours: 'CBOR_INDEFINITE',
    peer: 'ok',
  },
  {
    what: 'a length in more bytes than it needs',
    why: 'certificates have one encoding',
    certificate: envelope(
      'a2',
      text('tree'),
      TREE,
      text('signature'),
      hexToBytes('590030'),
      signatureOfAnswer,
    ),
    ours: 'CBOR_NON_MINIMAL',
    peer: 'ok',
  },
  {
    what: 'a field that nobody knows',
    why: 'what is not understood is not believed',
    certificate: mapOf(['tree', treeCbor(answer)], ['signature', signatureOfAnswer], ['extra', 1n]),
    ours: 'CERT_FIELD_UNKNOWN',
    peer: 'ok',
  },
  {
    what: 'a delegation that is CBOR undefined',
    why: 'only null and nothing mean none',
    certificate: makeCertificate({ tree: answer, secret: DEV_SECRET, delegation: undefined }),
    ours: 'CERT_SHAPE',
    peer: 'ok',
  },
  {
    what: 'labels out of order, signed so',
    why: 'in such a tree absence proves nothing',
    certificate: makeCertificate({
      tree: balanced([labeled('time', timeLeaf(TIME)), labeled('a', leaf('x'))]),
      secret: DEV_SECRET,
    }),
    ours: 'HASH_TREE_ORDER',
    peer: 'ok',
  },
  {
    what: 'an empty subtree left of the time',
    why: 'the specification drops empty subtrees before it looks; the agent stops at one and misses what follows',
    certificate: makeCertificate({
      tree: fork({ kind: 'empty' }, labeled('time', timeLeaf(TIME))),
      secret: DEV_SECRET,
    }),
    ours: 'ok',
    peer: 'CertificateVerificationErrorCode',
  },
  {
    what: 'a time that is no number',
    why: 'the time is shown and pinned',
    certificate: makeCertificate({ tree: subtree(['time', leaf(hexToBytes('80'))]), secret: DEV_SECRET }),
    ours: 'LEB128',
    peer: 'ok',
  },
  {
    what: 'a second encoding of the signature, x plus the field prime',
    why: 'anybody could make it: a signature must have one form',
    certificate: twinSigned(),
    ours: 'BLS_SIGNATURE_POINT',
    peer: 'ok',
  },
  {
    what: 'the management canister, signed by the root',
    why: 'it is on every subnet, so nobody in particular speaks for it',
    certificate: rootSigned,
    canisterId: MANAGEMENT,
    ours: 'CERT_MANAGEMENT_CANISTER',
    peer: 'ok',
  },
  {
    what: 'bytes after the list of ranges',
    why: 'lists are read as strictly as certificates',
    certificate: delegated(
      subtree(
        [
          'subnet',
          subtree([
            SUBNET_ID,
            subtree(
              ['canister_ranges', leaf(Uint8Array.of(...rangesCbor(ALL_CANISTERS), 0))],
              ['public_key', leaf(derKeyOf(SUBNET_SECRET))],
            ),
          ]),
        ],
        ['time', timeLeaf(TIME)],
      ),
    ),
    ours: 'CBOR_TRAILING',
    peer: 'ok',
  },
];

describe('where we differ from the official agent, and why', () => {
  test.each(DIFFERENCES)('$what: $why', async ({ certificate, canisterId, ours, peer }) => {
    const id = canisterId ?? GOVERNANCE_CANISTER_ID;
    expect([ownVerdict(certificate, DEV_KEY, id), await peerVerdict(certificate, DEV_KEY, id)]).toEqual([
      ours,
      peer,
    ]);
  });

  test('we accept what it refuses in two cases alone, both by the specification', () => {
    const accepted = DIFFERENCES.filter(({ ours, peer }) => ours === 'ok' && peer !== 'ok');
    expect(accepted.map(({ what }) => what)).toEqual([
      'sharded canister ranges',
      'an empty subtree left of the time',
    ]);
  });
});

describe('where we agree with it', () => {
  const twice = delegationCbor(SUBNET_ID, makeCertificate({ tree: inner('legacy'), secret: DEV_SECRET }));
  const low = [{ start: new Uint8Array(10), end: new Uint8Array(10) }];
  const noTime = subtree(['a', leaf('x')]);

  test.each<[string, Uint8Array, string, string]>([
    ['signed by the root', rootSigned, 'ok', 'ok'],
    ['without tag', makeCertificate({ tree: answer, secret: DEV_SECRET, selfDescribe: false }), 'ok', 'ok'],
    ['delegation null', makeCertificate({ tree: answer, secret: DEV_SECRET, delegation: null }), 'ok', 'ok'],
    ['legacy ranges', delegated(inner('legacy')), 'ok', 'ok'],
    [
      'a stranger',
      makeCertificate({ tree: answer, secret: STRANGER_SECRET }),
      'CERT_SIGNATURE',
      'CertificateVerificationErrorCode',
    ],
    [
      'a stranger below a good delegation',
      delegated(inner('legacy'), { secret: STRANGER_SECRET }),
      'CERT_SIGNATURE',
      'CertificateVerificationErrorCode',
    ],
    [
      'another range',
      delegated(inner('legacy', low)),
      'CERT_CANISTER_RANGE',
      'CertificateNotAuthorizedErrorCode',
    ],
    [
      'delegated twice',
      delegated(inner('legacy'), { inner: { delegation: twice } }),
      'CERT_TOO_MANY_DELEGATIONS',
      'CertificateHasTooManyDelegationsErrorCode',
    ],
    [
      'no time',
      makeCertificate({ tree: noTime, secret: DEV_SECRET }),
      'CERT_TIME_MISSING',
      'CertificateVerificationErrorCode',
    ],
    [
      'a leaf beside labels',
      makeCertificate({ tree: fork(leaf('x'), labeled('time', timeLeaf(TIME))), secret: DEV_SECRET }),
      'HASH_TREE_MIXED',
      'CertificateVerificationErrorCode',
    ],
    [
      'the point at infinity as signature',
      makeCertificate({
        tree: answer,
        secret: DEV_SECRET,
        signature: Uint8Array.of(0xc0, ...new Uint8Array(47)),
      }),
      'BLS_SIGNATURE_POINT',
      'CertificateVerificationErrorCode',
    ],
    [
      'a signature outside the subgroup',
      makeCertificate({
        tree: answer,
        secret: DEV_SECRET,
        // x = 4 is on the curve, and of the full order.
        signature: Uint8Array.of(0x80, ...new Uint8Array(46), 4),
      }),
      'BLS_SIGNATURE_POINT',
      'CertificateVerificationErrorCode',
    ],
  ])('%s', async (_, certificate, ours, peer) => {
    const id = GOVERNANCE_CANISTER_ID;
    expect([ownVerdict(certificate, DEV_KEY, id), await peerVerdict(certificate, DEV_KEY, id)]).toEqual([
      ours,
      peer,
    ]);
  });

  test('the root key of mainnet', () => {
    expect(bytesToHex(rootKeyOf({ network: 'mainnet' }))).toBe(IC_ROOT_KEY);
  });

  test('texts of principals', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 29 }), (bytes) => {
        expect(principalToText(bytes)).toBe(Principal.fromUint8Array(bytes).toText());
      }),
    );
  });

  test('ids of requests', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (id) => {
        const call = devCall(id);
        const peer = requestIdOf({
          request_type: call.requestType,
          canister_id: Principal.fromUint8Array(call.canisterId),
          method_name: call.methodName,
          arg: proposalArgument(id),
          sender: Principal.anonymous(),
          ingress_expiry: call.ingressExpiryNs,
          nonce: call.nonce,
        });
        expect(callRequestId(call)).toEqual(peer);
      }),
    );
  });
});

describe('generated certificates', () => {
  const secret = fc.constantFrom(DEV_SECRET, SUBNET_SECRET, STRANGER_SECRET);
  const end = fc.uint8Array({ minLength: 10, maxLength: 10 });
  const range = fc
    .tuple(end, end)
    .map(([a, b]) => (compareBytes(a, b) <= 0 ? { start: a, end: b } : { start: b, end: a }));

  test(
    'we accept one exactly when the agent does, whoever signed and whatever the legacy ranges',
    SLOW,
    async () => {
      const seen = new Set<string>();
      await fc.assert(
        fc.asyncProperty(
          fc.option(
            fc.record({
              rootSecret: secret,
              ranges: fc.array(range, { maxLength: 3 }),
              hasTime: fc.boolean(),
            }),
          ),
          secret,
          fc.boolean(),
          async (below, signer, holdsAll) => {
            const certificate =
              below === null
                ? makeCertificate({ tree: answer, secret: signer })
                : makeCertificate({
                    tree: answer,
                    secret: signer,
                    delegation: delegationCbor(
                      SUBNET_ID,
                      makeCertificate({
                        tree: delegationTree({
                          form: 'legacy',
                          subnetId: SUBNET_ID,
                          ranges: holdsAll ? ALL_CANISTERS : below.ranges,
                          timeNs: below.hasTime ? TIME : null,
                        }),
                        secret: below.rootSecret,
                      }),
                    ),
                  });
            const ours = ownVerdict(certificate, DEV_KEY, GOVERNANCE_CANISTER_ID);
            const peer = await peerVerdict(certificate, DEV_KEY, GOVERNANCE_CANISTER_ID);
            seen.add(ours);
            expect([ours === 'ok', ours]).toEqual([peer === 'ok', ours]);
          },
        ),
        { numRuns: 40, seed: 4 },
      );
      // Otherwise the property would have compared refusals alone.
      expect([...seen]).toEqual(
        expect.arrayContaining(['ok', 'CERT_SIGNATURE', 'CERT_DELEGATION_SIGNATURE']),
      );
    },
  );
});

test('lookups agree on trees of labels of one length, nothing pruned and nothing empty', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(25), { minLength: 1, maxLength: 6 }), fc.nat(25), (indexes, sought) => {
      const label = (index: number): string => String.fromCharCode(0x61 + index);
      const tree = subtree(...indexes.map((index) => [label(index), leaf(label(index))] as const));
      const peerTree = Cbor.decode<PeerTree>(encodeCbor(treeCbor(tree), true));
      const peer = lookup_path([label(sought)], peerTree);
      expect(lookup([label(sought)], tree).status).toBe(peer.status.toLowerCase());
    }),
  );
});

async function checkVector(vectors: Vectors, vector: VectorCase): Promise<void> {
  const rootKey = rootKeyOf({ network: vector.root_key === 'test' ? 'dev' : 'mainnet' });
  const canisterId = principalFromText(vector.canister);
  const bytes = vectors.file(vector.file);
  const peer = await peerVerdict(bytes, rootKey, canisterId);
  expect([vector.file, peer]).toEqual([vector.file, vector.agent_3_4_3]);
  const ours = ownVerdict(bytes, rootKey, canisterId);
  expect([vector.file, ours === 'ok']).toEqual([vector.file, vector.certificate === 'ok']);
  // Where the agent refuses and we do not, the certificate must be of the one form that it does not know.
  if (ours === 'ok' && peer !== 'ok') expect(vector.file).toMatch(/sharded/);
}

test.each(ownVectors.cases)('vector $file with the $root_key key for $canister', async (vector) => {
  await checkVector(ownVectors, vector);
});

test.skipIf(sharedVectors === undefined)(`real certificates${SHARED_SUFFIX}`, async () => {
  const vectors = sharedVectors as Vectors;
  for (const vector of vectors.cases) await checkVector(vectors, vector);
});

test('a pruned tree is the same to both', async () => {
  const tree = fork(prune(labeled('a', leaf('x'))), labeled('time', timeLeaf(TIME)));
  const certificate = makeCertificate({ tree, secret: DEV_SECRET });
  expect(await peerVerdict(certificate, DEV_KEY, GOVERNANCE_CANISTER_ID)).toBe('ok');
  expect(ownVerdict(certificate, DEV_KEY, GOVERNANCE_CANISTER_ID)).toBe('ok');
});
