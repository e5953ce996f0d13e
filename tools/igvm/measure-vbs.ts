import { createHash } from 'node:crypto';
import { formatError } from '../errors.ts';
import { largePage, parameterAreaSizes } from './measured-file.ts';
import { RunRecorder } from './measured-runs.ts';
import type { DigestWithRuns } from './measure-snp.ts';
import { IGVM_PAGE_BYTES, PAGE_DATA_TYPES, PAGE_FLAGS, type IgvmFile, type VpContext } from './model.ts';
import { readVbsRegisters } from './vp-context.ts';

const PAGE_HEADER_BYTES = 32;
const PAGE_CHUNK_BYTES = PAGE_HEADER_BYTES + IGVM_PAGE_BYTES;
const PAGE_CHUNK_TYPE = 2;
const REGISTER_CHUNK_BYTES = 48;
const UNMEASURED = 4n;
const READABLE_AND_WRITABLE = 3n;

/**
 * Boot digest of a VBS (Hyper-V VSM isolated) guest: D = SHA-256(D | chunk) from 32 zero bytes. Little-endian chunks:
 *
 *   page      u32 4128, u32 2, u64 0, u64 metadata, u64 page number, 4096 bytes (zeros where not measured)
 *   register  u32 48, u32 0, u64 0, u32 0, u8 vtl, 7 × u8 0, u32 name, 16 bytes value
 *
 * Metadata: bits 0 to 1 acceptance, bit 2 not measured. Registers come after all pages.
 * Source: microsoft/igvm, igvm/src/measurement/vbs.rs at e6c3ff1.
 *
 * @param mask the platform's bit
 * @throws CvmError format IGVM_VBS_DATA_TYPE | IGVM_LARGE_PAGE | IGVM_TOO_MANY_PAGES
 */
export function measureVbs(file: IgvmFile, mask: number): DigestWithRuns {
  let digest: Uint8Array = new Uint8Array(32);
  const recorder = new RunRecorder(() => digest);
  const extend = (chunk: Uint8Array): void => {
    digest = new Uint8Array(createHash('sha256').update(digest).update(chunk).digest());
  };
  const chunk = new Uint8Array(PAGE_CHUNK_BYTES);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, PAGE_CHUNK_BYTES, true);
  view.setUint32(4, PAGE_CHUNK_TYPE, true);
  const extendPages = (gpa: number, sizeBytes: number, metadata: bigint, data?: Uint8Array): void => {
    view.setBigUint64(16, metadata, true);
    chunk.fill(0, PAGE_HEADER_BYTES);
    if (data !== undefined) chunk.set(data, PAGE_HEADER_BYTES);
    for (let at = 0; at < sizeBytes; at += IGVM_PAGE_BYTES) {
      view.setBigUint64(24, BigInt((gpa + at) / IGVM_PAGE_BYTES), true);
      extend(chunk);
    }
  };

  const areas = parameterAreaSizes(file);
  const contexts: VpContext[] = [];
  file.headers.forEach((header, index) => {
    if (!('mask' in header) || (header.mask & mask) === 0) return;
    if (header.kind === 'page-data') {
      if (header.dataType !== PAGE_DATA_TYPES.NORMAL) {
        throw formatError('IGVM_VBS_DATA_TYPE', 'a page of a VBS guest is not normal data', {
          facts: [
            ['header', index],
            ['gpa', `0x${header.gpa.toString(16)}`],
          ],
          mend: 'secrets and CPUID pages belong to SEV-SNP: take the platform out of their mask',
        });
      }
      if ((header.flags & PAGE_FLAGS.is2MbPage) !== 0)
        throw largePage(header, index, 'VBS measures pages of 4 KiB');
      if ((header.flags & PAGE_FLAGS.shared) !== 0) return;
      const isMeasured = (header.flags & PAGE_FLAGS.unmeasured) === 0;
      const contents = isMeasured ? [header] : [];
      recorder.add(isMeasured ? 'Normal' : 'Unmeasured', header.gpa, IGVM_PAGE_BYTES, index, contents);
      if (isMeasured) extendPages(header.gpa, IGVM_PAGE_BYTES, 0n, header.data);
      else extendPages(header.gpa, IGVM_PAGE_BYTES, UNMEASURED);
    } else if (header.kind === 'parameter-insert') {
      const sizeBytes = areas.get(header.index) ?? 0;
      recorder.add('Unmeasured', header.gpa, sizeBytes, index);
      extendPages(header.gpa, sizeBytes, UNMEASURED);
    } else if (header.kind === 'error-range') {
      recorder.add('Error range', header.gpa, header.sizeBytes, index);
      extendPages(header.gpa, header.sizeBytes, UNMEASURED | READABLE_AND_WRITABLE);
    } else if (header.kind === 'vp-context') {
      contexts.push(header);
    }
  });
  const runs = recorder.finish();
  for (const context of contexts) {
    for (const { vtl, name, value } of readVbsRegisters(context.data)) {
      const record = new Uint8Array(REGISTER_CHUNK_BYTES);
      const fields = new DataView(record.buffer);
      fields.setUint32(0, REGISTER_CHUNK_BYTES, true);
      fields.setUint8(20, vtl);
      fields.setUint32(28, name, true);
      record.set(value, 32);
      extend(record);
    }
  }
  return { runs, digest };
}
