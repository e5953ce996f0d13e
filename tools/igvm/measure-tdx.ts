import { createHash } from 'node:crypto';
import { largePage, parameterAreaSizes } from './measured-file.ts';
import { RunRecorder } from './measured-runs.ts';
import { wholePage, type DigestWithRuns } from './measure-snp.ts';
import { IGVM_PAGE_BYTES, PAGE_FLAGS, type IgvmFile } from './model.ts';

/** MR.EXTEND takes a page in chunks of this. */
const CHUNK_BYTES = 256;

const RECORD_BYTES = 128;

/**
 * MRTD of a TD that is loaded from the file: one SHA-384 over records of 128 bytes, {operation 16, u64 gpa, zeros}.
 * Every page is a MEM.PAGE.ADD; a measured one is followed by 16 times MR.EXTEND and the 256 bytes it covers. Start
 * states and data types do not count, pages that are shared with the host neither.
 *
 * Source: Intel TDX module specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND.
 * @param mask the platform's bit
 * @throws CvmError format IGVM_LARGE_PAGE | IGVM_TOO_MANY_PAGES
 */
export function measureTdx(file: IgvmFile, mask: number): DigestWithRuns {
  const hash = createHash('sha384');
  const recorder = new RunRecorder(() => undefined);
  const pageAdd = newRecord('MEM.PAGE.ADD');
  const extend = newRecord('MR.EXTEND');
  const zeros = new Uint8Array(IGVM_PAGE_BYTES);
  const areas = parameterAreaSizes(file);
  file.headers.forEach((header, index) => {
    if (
      header.kind === 'page-data' &&
      (header.mask & mask) !== 0 &&
      (header.flags & PAGE_FLAGS.shared) === 0
    ) {
      if ((header.flags & PAGE_FLAGS.is2MbPage) !== 0)
        throw largePage(header, index, 'TDX adds pages of 4 KiB at launch');
      const isMeasured = (header.flags & PAGE_FLAGS.unmeasured) === 0;
      recorder.add(
        isMeasured ? 'Normal' : 'Unmeasured',
        header.gpa,
        IGVM_PAGE_BYTES,
        index,
        isMeasured ? [header.data] : [],
      );
      hash.update(at(pageAdd, header.gpa));
      if (!isMeasured) return;
      const page = header.data === undefined ? zeros : wholePage(header.data);
      for (let from = 0; from < IGVM_PAGE_BYTES; from += CHUNK_BYTES) {
        hash.update(at(extend, header.gpa + from));
        hash.update(page.subarray(from, from + CHUNK_BYTES));
      }
    } else if (header.kind === 'parameter-insert' && (header.mask & mask) !== 0) {
      const sizeBytes = areas.get(header.index) ?? 0;
      recorder.add('Unmeasured', header.gpa, sizeBytes, index);
      for (let from = 0; from < sizeBytes; from += IGVM_PAGE_BYTES)
        hash.update(at(pageAdd, header.gpa + from));
    }
  });
  return { runs: recorder.finish(), digest: new Uint8Array(hash.digest()) };
}

function newRecord(operation: string): DataView {
  const record = new Uint8Array(RECORD_BYTES);
  record.set(new TextEncoder().encode(operation));
  return new DataView(record.buffer);
}

function at(record: DataView, gpa: number): DataView {
  record.setBigUint64(16, BigInt(gpa), true);
  return record;
}
