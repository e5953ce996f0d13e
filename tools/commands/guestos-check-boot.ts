import { bytesToHex, hexToBytes } from '../bytes/hex.ts';
import { jsonText, showText } from '../bytes/text.ts';
import { mismatchError, usageError } from '../errors.ts';
import { openExt4 } from '../ext4/reader.ts';
import { checkBoot, type Attested, type BootCheck } from '../guestos/boot-check.ts';
import { ROOT_HASH_OFFSET } from '../guestos/layout.ts';
import { CHIP_ID_BYTES, MEASUREMENT_BYTES } from '../proposal/facts.ts';
import { readReport } from '../snp/attestation-report.ts';
import { verifyVerity } from '../verity/verify.ts';
import type { Command, Io, OptionValues } from './command.ts';
import { resolvePath } from './files.ts';
import {
  NETWORK_OPTION,
  networkOption,
  PLAN_OPTIONS,
  planOption,
  readSmallFile,
  rootHashOption,
} from './guestos-options.ts';
import { hasMember, openImage } from './image-files.ts';
import { flagOption, textOption } from './options.ts';

const OUTCOMES: Readonly<Record<BootCheck['boots'], string>> = {
  normal: 'boots, by its command line',
  recovery: 'boots, by the proposal',
  no: 'does not boot',
};

export const command: Command = {
  summary: 'say whether a node would boot an image',
  description:
    "Replays what the node's boot code does: the root hash of the command line; if that does not open the root partition, the proposal " +
    'on the boot partition, its certificate, the chip, the launch measurement and the guest policy of the attestation report, and ' +
    "the proposal's root hash. What the node attests comes from --report, or from --chip-id and --measurement. Exit codes: 0 it boots, or " +
    'would if what is not given fits; 5 it does not.',
  arguments: [{ name: '<image>', description: 'update-img.tar.zst, or a boot partition with --root-hash' }],
  options: [
    {
      flags: '--root-hash <hash>',
      description:
        "verity root hash of the node's root partition, or a file with it; an update image has its own",
    },
    NETWORK_OPTION,
    { flags: '--report <file>', description: 'attestation report of the node, as its firmware gave it' },
    { flags: '--chip-id <hex>', description: "the node's chip id, 128 hex digits" },
    {
      flags: '--measurement <hex>',
      description: 'the launch measurement that the node attests, 96 hex digits',
    },
    ...PLAN_OPTIONS,
    { flags: '--json', description: 'one JSON object on standard output' },
  ],
  async run([path = ''], options, io) {
    const attested = attestedOption(options, io);
    const image = resolvePath(io, path);
    const rootHash = await rootHashOf(image, options, io);
    const boot = await openImage(image, 'boot.img');
    let check: BootCheck;
    try {
      check = checkBoot({
        boot: openExt4(boot),
        rootHash,
        network: networkOption(options),
        attested,
        plan: planOption(options),
      });
    } finally {
      boot.close();
    }
    if (flagOption(options, 'json')) io.out(`${jsonText(check, 2)}\n`);
    else io.out(show(check));
    return check.boots === 'no' ? 5 : 0;
  },
};

/** @throws CvmError usage OPTION_CONFLICT; format HEX_INVALID | HEX_LENGTH, and those of the report */
function attestedOption(options: OptionValues, io: Io): Attested {
  const report = textOption(options, 'report');
  const chipId = textOption(options, 'chipId');
  const measurement = textOption(options, 'measurement');
  if (report === undefined) {
    return {
      chipId: chipId === undefined ? undefined : hexToBytes(chipId, '--chip-id', CHIP_ID_BYTES),
      measurement:
        measurement === undefined ? undefined : hexToBytes(measurement, '--measurement', MEASUREMENT_BYTES),
      policy: undefined,
    };
  }
  if (chipId !== undefined || measurement !== undefined) {
    throw usageError('OPTION_CONFLICT', '--report says chip id and measurement itself', {
      mend: 'give the report, or the values',
    });
  }
  return readReport(readSmallFile(io, report, 'the attestation report'));
}

/** @throws CvmError usage OPTION_MISSING; mismatch ROOT_HASH_MISMATCH, and those of `verifyVerity` */
async function rootHashOf(image: string, options: OptionValues, io: Io): Promise<string> {
  const text = textOption(options, 'rootHash');
  const given = text === undefined ? undefined : rootHashOption(io, text);
  if (!(await hasMember(image, 'root.img'))) {
    if (given !== undefined) return given;
    throw usageError('OPTION_MISSING', '--root-hash is required, since the image has no root partition', {
      mend: 'give partition-root-hash of the build, or the image with its root partition',
    });
  }
  const root = await openImage(image, 'root.img');
  try {
    const found = bytesToHex(verifyVerity(root, ROOT_HASH_OFFSET).rootHash);
    if (given === undefined || given === found) return found;
    throw mismatchError('ROOT_HASH_MISMATCH', 'the root partition of the image has another root hash', {
      facts: [
        ['--root-hash', given],
        ['in the image', found],
      ],
      mend: 'leave --root-hash out, or take the image that belongs to it',
    });
  } finally {
    root.close();
  }
}

function show({ boots, complete, steps }: BootCheck): string {
  const width = Math.max(...steps.map(({ name }) => name.length));
  const rows = steps.map(
    ({ name, status, detail }) => `${status.padEnd(7)}  ${name.padEnd(width)}  ${showText(detail)}\n`,
  );
  const condition = boots === 'no' || complete ? '' : ', if what is unknown fits';
  return `${rows.join('')}\n${OUTCOMES[boots]}${condition}\n`;
}
