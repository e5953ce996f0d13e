import { buildMiniatureHypervFirmware } from '../miniature/hyperv-firmware.ts';
import type { Command } from './command.ts';
import { resolvePath, writeFileWhole } from './files.ts';
import { requiredText } from './options.ts';

export const command: Command = {
  summary: "make an IGVM file like Hyper-V's guest firmware",
  description:
    "Writes a stand-in for Hyper-V's guest firmware under an SVSM: an IGVM file for SEV-SNP with pages, parameters and a VMSA. It halts where it starts.",
  options: [{ flags: '--output <file>', description: 'the IGVM file', required: true }],
  async run(_args, options, io) {
    await writeFileWhole(resolvePath(io, requiredText(options, 'output')), [buildMiniatureHypervFirmware()]);
    return 0;
  },
};
