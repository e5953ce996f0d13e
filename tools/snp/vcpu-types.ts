import { usageError } from '../errors.ts';
import { nearestWord } from '../nearest.ts';

/** One family, model and stepping with all of QEMU's names for it, the plain name first. */
export interface VcpuModel {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  /** CPUID Fn0000_0001 EAX. */
  readonly sig: number;
  readonly names: readonly string[];
}

function vcpuModel(family: number, model: number, stepping: number, names: readonly string[]): VcpuModel {
  return { family, model, stepping, sig: cpuSignature(family, model, stepping), names };
}

/**
 * QEMU's EPYC models. Versions of a model change feature bits, never family, model or stepping, and feature bits do
 * not enter the digest. Source: QEMU target/i386/cpu.c; names of virtee/sev-snp-measure 0.0.13 and later QEMU ones.
 */
export const VCPU_MODELS: readonly VcpuModel[] = [
  vcpuModel(23, 1, 2, ['EPYC', 'EPYC-v1', 'EPYC-v2', 'EPYC-IBPB', 'EPYC-v3', 'EPYC-v4', 'EPYC-v5']),
  vcpuModel(23, 49, 0, [
    'EPYC-Rome',
    'EPYC-Rome-v1',
    'EPYC-Rome-v2',
    'EPYC-Rome-v3',
    'EPYC-Rome-v4',
    'EPYC-Rome-v5',
  ]),
  vcpuModel(25, 1, 1, ['EPYC-Milan', 'EPYC-Milan-v1', 'EPYC-Milan-v2', 'EPYC-Milan-v3']),
  vcpuModel(25, 17, 0, ['EPYC-Genoa', 'EPYC-Genoa-v1', 'EPYC-Genoa-v2']),
  vcpuModel(26, 0, 0, ['EPYC-Turin', 'EPYC-Turin-v1', 'EPYC-Turin-v2']),
];

export const VCPU_TYPES: readonly string[] = VCPU_MODELS.flatMap((model) => model.names);

/**
 * CPUID Fn0000_0001 EAX of a family, model and stepping (AMD 25481): families above 15 use the extended field.
 * Fields wider than the register's are cut, as the processor's own encoding does.
 */
export function cpuSignature(family: number, model: number, stepping: number): number {
  const baseFamily = Math.min(family, 15);
  const extendedFamily = Math.max(family - 15, 0) & 0xff;
  const extendedModel = (model >> 4) & 0xf;
  return (
    ((extendedFamily << 20) |
      (extendedModel << 16) |
      (baseFamily << 8) |
      ((model & 0xf) << 4) |
      (stepping & 0xf)) >>>
    0
  );
}

/** QEMU's model of a signature, undefined when none has it. */
export function vcpuSignatureModel(sig: number): VcpuModel | undefined {
  return VCPU_MODELS.find((model) => model.sig === sig);
}

/**
 * The signature behind a QEMU CPU model name; names are case-sensitive, as in QEMU.
 * @throws CvmError usage VCPU_TYPE_UNKNOWN
 */
export function vcpuTypeSignature(name: string): number {
  const model = VCPU_MODELS.find(({ names }) => names.includes(name));
  if (model !== undefined) return model.sig;
  const lower = name.toLowerCase();
  const near =
    VCPU_TYPES.find((known) => known.toLowerCase() === lower) ??
    VCPU_TYPES.find((known) => known.toLowerCase() === `epyc-${lower}`) ??
    nearestWord(name, VCPU_TYPES);
  throw usageError('VCPU_TYPE_UNKNOWN', 'the vCPU type is not a known EPYC model', {
    facts: [
      ['found', name],
      ['known', VCPU_TYPES.join(', ')],
    ],
    ...(near === undefined ? {} : { nearest: near }),
    mend: 'name a model as QEMU does after -cpu, or give its CPUID signature with --vcpu-sig',
  });
}
