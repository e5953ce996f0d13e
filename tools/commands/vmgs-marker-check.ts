import { formatError, mismatchError, type Fact } from '../errors.ts';
import { markerFields, type Marker } from '../vmgs/marker.ts';
import type { Command } from './command.ts';
import { withStore } from './vmgs-file.ts';
import { readMarker } from './vmgs-marker-file.ts';
import { MARKER_OPTIONS, markerOptions } from './vmgs-marker-options.ts';
import {
  COMMON_OPTIONS,
  EXIT_CODES_TEXT,
  FILE_ARGUMENT,
  FILE_OPTIONS,
  print,
  vmgsExitCode,
} from './vmgs-options.ts';

export const command: Command = {
  summary: 'check the provisioning marker of a VMGS store',
  description:
    'Good when there is a marker of exactly the seven fields, written to the byte as OpenHCL writes it, with the values ' +
    `that are given. Never writes. ${EXIT_CODES_TEXT}`,
  arguments: [FILE_ARGUMENT],
  options: [...FILE_OPTIONS, ...MARKER_OPTIONS, ...COMMON_OPTIONS],
  exitCode: vmgsExitCode,

  async run(args, options, io) {
    const expected = markerOptions(io, options);
    await withStore(io, args, options, async (store, vmgs) => {
      const { marker, deviations } = readMarker(store, vmgs);
      const [deviation] = deviations;
      if (deviation !== undefined) {
        throw formatError('MARKER_FORM', 'the marker is readable, and not written as OpenHCL writes it', {
          facts: deviations.map((text): Fact => ['differs', text]),
          mend: 'see it with cvm vmgs marker show; cvm vmgs marker write --force writes it anew',
        });
      }
      compare(marker, expected);
      await print(io, options, { marker: markerFields(marker) }, '');
    });
    return 0;
  },
};

/** @throws CvmError mismatch MARKER_MISMATCH */
function compare(marker: Marker, expected: Partial<Marker>): void {
  const found = markerFields(marker);
  const wanted = markerFields({ ...marker, ...expected });
  const facts = Object.keys(found).flatMap((name): Fact[] => {
    const key = name as keyof typeof found;
    return found[key] === wanted[key] ? [] : [[name, `expected ${wanted[key]}, found ${found[key]}`]];
  });
  if (facts.length > 0)
    throw mismatchError('MARKER_MISMATCH', 'the marker has other values than expected', { facts });
}
