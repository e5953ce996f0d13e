import { digestSource } from '../bytes/digest.ts';
import { bytesToHex } from '../bytes/hex.ts';
import { sliceSource } from '../bytes/source.ts';
import { jsonText } from '../bytes/text.ts';
import { EMPTY_CFV_SHA384 } from '../tdx/firmware-events.ts';
import { parseTdvf } from '../tdx/tdvf.ts';
import type { Command } from './command.ts';
import { openFile, resolvePath } from './files.ts';
import { flagOption } from './options.ts';

const hex = (value: number): string => `0x${value.toString(16)}`;

export const command: Command = {
  summary: 'show the sections of a TDX firmware',
  description:
    'Prints the sections of the TDVF descriptor in their order, which is the order of measurement: type, guest address, ' +
    'size, what of it enters MRTD. Says whether the variable store (CFV) is the empty one of dstack images.',
  arguments: [{ name: '<firmware>', description: 'TDX firmware image' }],
  options: [{ flags: '--json', description: 'print one JSON object, also for errors' }],
  run([path = ''], options, io) {
    const firmware = openFile(resolvePath(io, path));
    try {
      const sections = parseTdvf(firmware);
      const rows = sections.map((section) => {
        const sha384 =
          section.rawBytes === 0
            ? undefined
            : bytesToHex(digestSource('sha384', sliceSource(firmware, section.dataOffset, section.rawBytes)));
        return {
          type: section.type,
          address: hex(section.address),
          size: hex(section.sizeBytes),
          dataOffset: hex(section.dataOffset),
          rawSize: hex(section.rawBytes),
          extends: section.extends,
          augmented: section.augmented,
          ...(sha384 === undefined ? {} : { sha384 }),
          ...(section.type === 'CFV' ? { isEmptyVariableStore: sha384 === EMPTY_CFV_SHA384 } : {}),
        };
      });
      if (flagOption(options, 'json')) {
        io.out(`${jsonText({ ok: true, sizeBytes: firmware.sizeBytes, sections: rows })}\n`);
      } else {
        for (const row of rows) {
          const how = row.extends
            ? 'content in MRTD'
            : row.augmented
              ? 'added after launch'
              : 'address in MRTD';
          const store =
            row.isEmptyVariableStore === undefined
              ? ''
              : `; variable store ${row.isEmptyVariableStore ? 'empty, as in dstack images' : 'other than in dstack images'}`;
          io.out(
            `${row.type.padEnd(13)} ${row.address.padStart(11)} ${row.size.padStart(9)}  file ${row.dataOffset} + ${row.rawSize}  ${how}${store}\n`,
          );
        }
      }
    } finally {
      firmware.close();
    }
    return 0;
  },
};
