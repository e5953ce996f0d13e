import { createHash } from 'node:crypto';
import { largePage, parameterAreaSizes } from './measured-file.ts';
import { RunRecorder } from './measured-runs.ts';
import { wholePage, type DigestWithRuns } from './measure-snp.ts';
import { IGVM_PAGE_BYTES, PAGE_FLAGS, type IgvmFile } from './model.ts';

/** MR.EXTEND takes a page in chunks of this. */
const CHUNK_BYTES = 256;

const CHUNKS = IGVM_PAGE_BYTES / CHUNK_BYTES;

const RECORD_BYTES = 128;

const EMPTY = new Uint8Array(IGVM_PAGE_BYTES);

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
  const stream = new PageStream();
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
        isMeasured ? [header] : [],
      );
      if (isMeasured) hash.update(stream.measured(header.gpa, header.data));
      else hash.update(stream.added(header.gpa));
    } else if (header.kind === 'parameter-insert' && (header.mask & mask) !== 0) {
      const sizeBytes = areas.get(header.index) ?? 0;
      recorder.add('Unmeasured', header.gpa, sizeBytes, index);
      for (let from = 0; from < sizeBytes; from += IGVM_PAGE_BYTES)
        hash.update(stream.added(header.gpa + from));
    }
  });
  return { runs: recorder.finish(), digest: new Uint8Array(hash.digest()) };
}

/** What enters the hash of one page, in one buffer: MEM.PAGE.ADD, then 16 times MR.EXTEND and its chunk. */
class PageStream {
  readonly #bytes = new Uint8Array(RECORD_BYTES + CHUNKS * (RECORD_BYTES + CHUNK_BYTES));
  readonly #view = new DataView(this.#bytes.buffer);

  constructor() {
    const encoder = new TextEncoder();
    this.#bytes.set(encoder.encode('MEM.PAGE.ADD'));
    for (let i = 0; i < CHUNKS; i++) this.#bytes.set(encoder.encode('MR.EXTEND'), extendAt(i));
  }

  /** A page that is added and not measured; holds until the next call. */
  added(gpa: number): Uint8Array {
    this.#setAddress(0, gpa);
    return this.#bytes.subarray(0, RECORD_BYTES);
  }

  /** A page that is added and measured; holds until the next call. */
  measured(gpa: number, data: Uint8Array | undefined): Uint8Array {
    this.#setAddress(0, gpa);
    const page = data === undefined ? EMPTY : wholePage(data);
    for (let i = 0; i < CHUNKS; i++) {
      const from = i * CHUNK_BYTES;
      this.#setAddress(extendAt(i), gpa + from);
      this.#bytes.set(page.subarray(from, from + CHUNK_BYTES), extendAt(i) + RECORD_BYTES);
    }
    return this.#bytes;
  }

  #setAddress(record: number, gpa: number): void {
    this.#view.setUint32(record + 16, gpa % 2 ** 32, true);
    this.#view.setUint32(record + 20, Math.floor(gpa / 2 ** 32), true);
  }
}

function extendAt(chunk: number): number {
  return RECORD_BYTES + chunk * (RECORD_BYTES + CHUNK_BYTES);
}
