import { jsonText } from '../bytes/text.ts';
import { readReport } from '../snp/attestation-report.ts';
import type { Command } from './command.ts';
import { flagOption } from './options.ts';
import { readSmall } from './snp-options.ts';
import { fieldLines, reportFields } from './snp-report-fields.ts';

export const command: Command = {
  summary: 'show what an SEV-SNP attestation report says',
  description:
    'Prints every field of a report of version 2 to 5. Nothing is checked: cvm snp report check does that.',
  arguments: [{ name: '<report>', description: 'attestation report, 1184 bytes' }],
  options: [{ flags: '--json', description: 'print one JSON object, also for errors' }],
  run(args, options, io) {
    const path = args[0] ?? '';
    const fields = reportFields(readReport(readSmall(io, path, 'the report')));
    io.out(flagOption(options, 'json') ? `${jsonText({ ok: true, ...fields })}\n` : fieldLines(fields));
    return 0;
  },
};
