import { usageError } from '../errors.ts';
import { findResource } from '../pe/resources.ts';
import { nearestWord } from '../nearest.ts';
import { GUEST_FIRMWARE_ID } from '../vmgs/file-ids.ts';
import { writeFile } from '../vmgs/update.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { applyAndPrint, withStore } from './vmgs-file.ts';
import {
  aliasedFlag,
  aliasedText,
  COMMON_OPTIONS,
  DATA_PATH_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  OVERWRITE_OPTIONS,
  required,
  vmgsExitCode,
} from './vmgs-options.ts';
import { requireFree, requireNotStale } from './vmgs-write.ts';

/** The type of resources that hold firmware, and the ids of the kinds. Source: openvmm, `vmgstool copy-igvmfile`. */
const RESOURCE_TYPE = 'VMFW';
const RESOURCE_IDS = {
  NONCONFIDENTIAL: 13_510,
  SNP: 13_515,
  SNP_NO_HCL: 13_516,
  TDX: 13_520,
  TDX_NO_HCL: 13_521,
} as const;
const CODES = Object.keys(RESOURCE_IDS) as (keyof typeof RESOURCE_IDS)[];

/** What vmgstool takes, too. */
const FIRMWARE_MAX_BYTES = 256 * 1024 * 1024;

export const command: Command = {
  summary: 'copy an IGVM file out of a DLL into a VMGS store',
  description:
    `Takes the IGVM file that a Windows DLL carries as a resource of type ${RESOURCE_TYPE}, and writes it, plain, as file ` +
    `${GUEST_FIRMWARE_ID}, GUEST_FIRMWARE. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [
    ...FILE_OPTIONS,
    ...DATA_PATH_OPTIONS('the DLL'),
    { flags: '-r, --resource-code <code>', description: `which firmware: ${CODES.join(', ')}` },
    { flags: '--resourcecode <code>', description: '--resource-code' },
    ...OVERWRITE_OPTIONS,
    ...COMMON_OPTIONS,
  ],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const path = resolvePath(io, required(aliasedText(options, 'dataPath', 'datapath'), '--data-path'));
    const code = resourceCode(
      required(aliasedText(options, 'resourceCode', 'resourcecode'), '--resource-code'),
    );
    await withStore(io, args, options, async (store, vmgs) => {
      requireFree(store, GUEST_FIRMWARE_ID, aliasedFlag(options, 'allowOverwrite', 'allowoverwrite'));
      requireNotStale(store, GUEST_FIRMWARE_ID);
      const image = openFile(path);
      try {
        const content = findResource(
          image,
          { type: RESOURCE_TYPE, id: RESOURCE_IDS[code] },
          FIRMWARE_MAX_BYTES,
        );
        const change = writeFile(store, { id: GUEST_FIRMWARE_ID, content, encrypt: false });
        const facts = { id: GUEST_FIRMWARE_ID, resource: code, sizeBytes: content.sizeBytes };
        await applyAndPrint(io, options, vmgs, change, facts);
      } finally {
        image.close();
      }
    });
    return 0;
  },
};

/** @throws CvmError usage OPTION_RESOURCE_CODE */
function resourceCode(text: string): keyof typeof RESOURCE_IDS {
  const found = CODES.find((code) => code === text.toUpperCase());
  if (found !== undefined) return found;
  const nearest = nearestWord(text.toUpperCase(), CODES);
  throw usageError('OPTION_RESOURCE_CODE', 'there is no firmware of this code', {
    facts: [
      ['found', text],
      ['codes', CODES.join(', ')],
    ],
    ...(nearest === undefined ? {} : { nearest }),
  });
}
