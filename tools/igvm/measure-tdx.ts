import { MrtdStream } from '../tdx/mrtd-stream.ts';
import { largePage, parameterAreaSizes } from './measured-file.ts';
import { RunRecorder } from './measured-runs.ts';
import { wholePage, type DigestWithRuns } from './measure-snp.ts';
import { IGVM_PAGE_BYTES, PAGE_FLAGS, type IgvmFile } from './model.ts';

const EMPTY = new Uint8Array(IGVM_PAGE_BYTES);

/**
 * MRTD of a TD that is loaded from the file, see {@link MrtdStream}: every page is added, and measured at once if it is
 * measured at all. Start states and data types do not count, pages that are shared with the host neither.
 *
 * @param mask the platform's bit
 * @throws CvmError format IGVM_LARGE_PAGE | IGVM_TOO_MANY_PAGES
 */
export function measureTdx(file: IgvmFile, mask: number): DigestWithRuns {
  const recorder = new RunRecorder(() => undefined);
  const stream = new MrtdStream();
  const areas = parameterAreaSizes(file);
  file.headers.forEach((header, index) => {
    if (!('mask' in header) || (header.mask & mask) === 0) return;
    if (header.kind === 'page-data' && (header.flags & PAGE_FLAGS.shared) === 0) {
      const { gpa, flags } = header;
      if ((flags & PAGE_FLAGS.is2MbPage) !== 0)
        throw largePage(header, index, 'TDX adds pages of 4 KiB at launch');
      const isMeasured = (flags & PAGE_FLAGS.unmeasured) === 0;
      recorder.add(
        isMeasured ? 'Normal' : 'Unmeasured',
        gpa,
        IGVM_PAGE_BYTES,
        index,
        isMeasured ? [header] : [],
      );
      stream.add(gpa);
      if (!isMeasured) return;
      const { data } = header;
      stream.extend(gpa, data === undefined ? EMPTY : wholePage(data));
    } else if (header.kind === 'parameter-insert') {
      const sizeBytes = areas.get(header.index) ?? 0;
      recorder.add('Unmeasured', header.gpa, sizeBytes, index);
      for (let from = 0; from < sizeBytes; from += IGVM_PAGE_BYTES) stream.add(header.gpa + from);
    }
  });
  return { runs: recorder.finish(), digest: stream.digest() };
}
