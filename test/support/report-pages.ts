/** Reports of small images, good, bad and hostile ones. */
import { bytesToHex } from '../../tools/bytes/hex.ts';
import { digestSource } from '../../tools/bytes/digest.ts';
import { rawFromUtf8, utf8Bytes } from '../../tools/bytes/text.ts';
import { examine, type ExamineInput } from '../../tools/report/examine.ts';
import type { FileFact, Report } from '../../tools/report/model.ts';
import { writeLock, type Lock } from '../../tools/lock/lock.ts';
import type { DevProposal } from '../nns/proposal-reply.ts';
import { recovery, rootPartition, type Recovery } from './guestos-images.ts';

export const LABEL = '//ic-os/guestos/envs/sev-recovery:update-img.tar.zst';

/** Stands in for the digest of the packed image, which the command alone computes. */
const IMAGE: FileFact = { name: 'update-img.tar.zst', sizeBytes: 1_607_491, sha256: 'ab'.repeat(32) };

/** What a report of a recovery image is made from. */
export function recoveryInput(parts: Recovery, over: Partial<ExamineInput> = {}): ExamineInput {
  return {
    label: LABEL,
    network: 'dev',
    boot: parts.boot,
    root: parts.root,
    base: {
      boot: parts.base,
      file: {
        name: 'update-img.tar.zst',
        sizeBytes: parts.base.sizeBytes,
        sha256: bytesToHex(digestSource('sha256', parts.base)),
      },
    },
    request: parts.request,
    lock: { name: 'pins.lock.json', text: writeLock(TARGETS) },
    chipIds: [],
    version: '0123456789abcdef0123456789abcdef01234567-dev',
    vcpus: [64],
    vcpuTypes: ['EPYC-v4'],
    ...over,
  };
}

const TARGETS: Lock = {
  network: 'dev',
  base: { target: '//ic-os/guestos/envs/dev:update-img.tar.zst' },
  proposal: { target: '//ic-os/guestos/envs/sev-recovery:dev-proposal' },
};

/** The report of it, with a digest where an image is packed. */
export function reportOf(input: ExamineInput): Report {
  const examined = examine(input);
  const isImage = examined.outcome.kind === 'blessed' || examined.outcome.kind === 'release';
  return { ...examined, image: isImage ? IMAGE : null };
}

const text = (...lines: readonly string[]): Uint8Array => utf8Bytes(`${lines.join('\n')}\n`);

/** A small file of the base and what became of it. */
const GRUB = Array.from({ length: 40 }, (_, i) => `menu line ${i}`);
const GRUB_CHANGED = GRUB.with(7, 'menu line seven').toSpliced(30, 2);

export const goodRecovery = (): Recovery =>
  recovery(
    {},
    {
      base: { files: { 'grub.cfg': text(...GRUB), 'config-1': text('CONFIG_A=y') } },
      boot: { files: { 'grub.cfg': text(...GRUB_CHANGED), 'note.txt': text('one', 'two') } },
    },
  );

export const goodReport = (): Report => reportOf(recoveryInput(goodRecovery()));

/** Nothing is blessed, but would be with another number of vCPUs. */
export const nearMissReport = (): Report => reportOf(recoveryInput(recovery(), { vcpus: [8] }));

const COMMIT = 'ba5e'.repeat(10);

/** Before the vote. */
export function unvotedReport(): Report {
  const parts = recovery({}, { base: { version: `${COMMIT}\n` } });
  return reportOf(
    recoveryInput(parts, {
      boot: undefined,
      request: undefined,
      version: null,
      network: 'mainnet',
      lock: {
        name: 'pins.lock.json',
        text: writeLock({
          network: 'mainnet',
          base: {
            commit: COMMIT,
            urls: ['https://example.com/update-img.tar.zst'],
            sha256: bytesToHex(digestSource('sha256', parts.base)),
            size: parts.base.sizeBytes,
          },
          proposal: null,
        }),
      },
    }),
  );
}

/** A release of its own. */
export function releaseReport(): Report {
  const parts = recovery();
  return reportOf(
    recoveryInput(parts, {
      boot: parts.base,
      root: rootPartition(1).image,
      base: undefined,
      request: undefined,
      lock: undefined,
    }),
  );
}

/** What a browser must never take for more than text. `alert` and `report` would be noticed. */
export const HOSTILE_TEXTS = [
  '</script><script>alert(1)</script>',
  '</style><style>*{display:none}</style>',
  '<img src=x onerror=alert(2)>',
  '"><svg onload=alert(3)>',
  "' onmouseover='alert(4)",
  '` onfocus=alert(5) autofocus tabindex=1 `',
  'javascript:alert(6)',
  'https://evil.example/?q=1',
  '<a href="https://evil.example/">click</a>',
  '<!-- --> <![CDATA[ ]]> <!doctype>',
  '&lt;b&gt; &amp; &#60;i&#62;',
  '\u202egnp.exe\u202c \u2066isolated\u2069 \u200bzero\u200dwidth\ufeff',
  'line\u2028separator\u2029paragraph',
  'bell\u0007escape\u001b[31mred\u001b]8;;https://evil.example\u0007link',
  '\u{e0041}tag characters\u{e007f}',
  'lone \ud800 surrogate',
  '{{constructor.constructor("alert(7)")()}}',
  '</title></head><body onload=alert(8)>',
  '\u0000nul',
] as const;

const HOSTILE = HOSTILE_TEXTS.join('\n');

/** Candid carries no lone surrogates, command lines and names no NUL. */
const plain = (value: string): string => value.replace(/\ud800/g, '?').replace(/\0/g, '?');

/** Names that may stand on a disk: bytes but slash and NUL, at most 255. */
const hostileNames = (): string[] =>
  HOSTILE_TEXTS.map((value, i) =>
    rawFromUtf8(`${i}${plain(value).replaceAll('/', '\u2044')}`).slice(0, 120),
  ).concat('not utf-8 \xff\xfe<b>');

function hostileParts(): Recovery {
  const { proposal } = recovery();
  const measurements = [
    ...proposal.measurements,
    ...HOSTILE_TEXTS.map((value, i) => ({
      measurement: new Uint8Array(48).fill(i + 1),
      kernelCmdline: `dfinity.system=${plain(value)} root_hash=${plain(value)}`,
      vcpuType: plain(value).slice(0, 30),
    })),
  ];
  const names = hostileNames();
  const files = (content: string): Record<string, Uint8Array> =>
    Object.fromEntries(names.map((name) => [name, utf8Bytes(content)]));
  return recovery(
    {
      title: plain(HOSTILE),
      summary: plain(HOSTILE).repeat(3),
      url: 'javascript:alert(document.domain)',
      measurements,
    },
    {
      base: {
        files: files(`before\n${plain(HOSTILE).replaceAll('?', '')}\n`),
        version: `${plain(HOSTILE)}\n`,
      },
      boot: { files: files(`after\n<script>alert(9)</script>\n`) },
    },
  );
}

/** Everything that may come from outside is hostile, and the image is good. */
export const hostileReport = (): Report =>
  reportOf(recoveryInput(hostileParts(), { version: plain(HOSTILE_TEXTS[0]), label: null }));

/** The same, refused. */
export const hostileRefusal = (): Report => {
  const parts = hostileParts();
  const lines = HOSTILE_TEXTS.map((value) => plain(value).replace(/["`$\\\n]/g, '')).join(' ');
  const bootArgs = ['A', 'B']
    .map((slot) => `BOOT_ARGS_TEE_${slot}="${lines} dfinity.system=${slot}"\n`)
    .join('');
  const proposal: Partial<DevProposal> = {
    ...parts.proposal,
    measurements: parts.proposal.measurements.slice(2),
  };
  return reportOf(recoveryInput(recovery(proposal, { base: { bootArgs } }), { vcpus: [8], label: null }));
};
