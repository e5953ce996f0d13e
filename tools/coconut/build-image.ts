import { readAll } from '../bytes/source.ts';
import { formatError, type Fact } from '../errors.ts';
import {
  IGVM_PAGE_BYTES,
  supportedPlatform,
  type IgvmFile,
  type IgvmHeader,
  type PageData,
  type PlatformName,
  type VpContext,
} from '../igvm/model.ts';
import { IGVM_LIMIT_BYTES } from '../igvm/fixed-header.ts';
import { readIgvm } from '../igvm/reader.ts';
import { BLDR_AREAS, bldrDirectives } from './bldr-image.ts';
import type { Firmware } from './firmware.ts';
import { igvmFirmware } from './igvm-firmware.ts';
import { HYPERV_VTOM, maskOfPlatforms, MASKS, type ImageOptions, type ImageParts } from './image-input.ts';
import { ovmfFirmware } from './ovmf-firmware.ts';
import type { Platform } from './recipe.ts';
import { STAGE2_AREAS, stage2Directives } from './stage2-image.ts';

/** In the order in which igvmbuilder writes them. */
const PLATFORM_ORDER: readonly (readonly [Platform, PlatformName])[] = [
  ['snp', 'SEV_SNP'],
  ['tdp', 'TDX'],
  ['vsm', 'VSM_ISOLATION'],
  ['native', 'NATIVE'],
];

/** The highest VTL of a platform that has guest firmware below the SVSM. */
const GUEST_VTL = 2;

/**
 * Builds the IGVM file of one hypervisor target, as the igvmbuilder of the layout's SVSM commit does with --sort: pages
 * stand behind all other directives and ascend, those of one address in the order in which they were made. The bytes of
 * `writeIgvm` are the same to the last one.
 *
 * @throws CvmError format IMAGE_*, OVMF_*, ELF_*, those of `readIgvm`
 */
export function buildImage(options: ImageOptions, parts: ImageParts): IgvmFile {
  if (!options.platforms.includes('snp')) {
    throw formatError('IMAGE_POLICY', 'a guest policy needs the platform snp', {
      facts: [['platforms', options.platforms.join(', ')]],
      mend: 'add snp to the platforms',
    });
  }
  if (parts.stage1 !== undefined && !options.platforms.includes('tdp')) {
    throw formatError('IMAGE_STAGE1_PLATFORM', 'tdx-stage1 is of use to the platform tdp alone', {
      facts: [['platforms', options.platforms.join(', ')]],
      mend: 'leave tdx-stage1 out, or add tdp to the platforms',
    });
  }
  const firmware = importFirmware(options, parts);
  const isStage2 = options.layout.generation === 'stage2';
  const directives = (isStage2 ? stage2Directives : bldrDirectives)(options, parts, firmware);
  const pages = directives.filter(isPage).sort((a, b) => a.gpa - b.gpa);
  requireDistinctPages(pages);
  return {
    // Contexts of native guests came with the second version.
    version: options.platforms.includes('native') ? 2 : 1,
    architecture: 'x64',
    headers: [
      ...platformHeaders(options, firmware),
      { kind: 'guest-policy', policy: options.policy, mask: MASKS.snp },
      ...directives.filter((header) => !isPage(header)),
      ...pages,
    ],
  };
}

function importFirmware(
  { layout, hypervisor, platforms }: ImageOptions,
  { firmware }: ImageParts,
): Firmware | undefined {
  if (firmware === undefined) return undefined;
  const { generation } = layout;
  const mask = maskOfPlatforms(platforms);
  if (hypervisor !== 'hyper-v') return ovmfFirmware(firmware, generation, mask);
  const areas = generation === 'stage2' ? STAGE2_AREAS : BLDR_AREAS;
  return igvmFirmware(readIgvm(readAll(firmware, IGVM_LIMIT_BYTES, 'the firmware')), generation, mask, areas);
}

function platformHeaders(
  { layout, hypervisor, platforms }: ImageOptions,
  firmware: Firmware | undefined,
): IgvmHeader[] {
  const isStage2 = layout.generation === 'stage2';
  const vtom = firmware?.vtom ?? (hypervisor === 'hyper-v' ? HYPERV_VTOM : 0);
  return PLATFORM_ORDER.filter(([platform]) => platforms.includes(platform)).map(([platform, name]) =>
    supportedPlatform(name, MASKS[platform], {
      highestVtl: isStage2 || (firmware !== undefined && platform !== 'native') ? GUEST_VTL : 0,
      sharedGpaBoundary: platform === 'snp' ? vtom : 0,
    }),
  );
}

/** A page, or a VMSA, which is one; start states without an address are none. */
function isPage(header: IgvmHeader): header is PageData | (VpContext & { gpa: number }) {
  return header.kind === 'page-data' || (header.kind === 'vp-context' && header.mask === MASKS.snp);
}

/** Two pages of one platform at one address: the later would hide the earlier. @throws CvmError format IMAGE_OVERLAP */
function requireDistinctPages(pages: readonly (PageData | VpContext)[]): void {
  let seen = 0;
  for (const [i, { gpa, mask }] of pages.entries()) {
    seen = pages[i - 1]?.gpa === gpa ? seen : 0;
    if ((seen & mask) !== 0) {
      const facts: Fact[] = [
        ['address', `0x${gpa.toString(16)}`],
        ['page', `${IGVM_PAGE_BYTES} bytes`],
        ['platform bits', `0x${(seen & mask).toString(16)}`],
      ];
      throw formatError('IMAGE_OVERLAP', 'two parts of an image lie at one address', {
        facts,
        mend: 'make the component or firmware that reaches there smaller, or use another layout',
      });
    }
    seen |= mask;
  }
}
