/**
 * What an Arm core says of itself: its Main ID Register, as the kernel shows it. Pure; any thread. What
 * is malformed is null.
 */

/** Arm's Main ID Register. */
export interface Midr {
  /** 8 bits. */
  readonly implementer: number;
  /** 4 bits. */
  readonly variant: number;
  /** 12 bits. */
  readonly part: number;
  /** 4 bits. */
  readonly revision: number;
  /** Who made it and what it is, where this file knows. */
  readonly name: string | null;
}

/** Arm's own implementer codes and those of servers (Arm DDI 0487, MIDR_EL1). */
const IMPLEMENTERS: Readonly<Record<number, string>> = Object.freeze({
  65: 'Arm',
  66: 'Broadcom',
  67: 'Cavium',
  70: 'Fujitsu',
  72: 'HiSilicon',
  78: 'NVIDIA',
  80: 'APM',
  81: 'Qualcomm',
  97: 'Apple',
  109: 'Microsoft',
  192: 'Ampere',
});

/** Parts of Arm itself that servers have (the technical reference manuals' MIDR_EL1). */
const ARM_PARTS: Readonly<Record<number, string>> = Object.freeze({
  3336: 'Cortex-A72',
  3340: 'Neoverse N1',
  3392: 'Neoverse V1',
  3401: 'Neoverse N2',
  3407: 'Neoverse V2',
});

/** The register in `text`, or null. */
export function midrIn(text: string | null): Midr | null {
  if (text === null || !/^0x[0-9a-f]{1,16}$/i.test(text)) return null;
  const value = Number(BigInt(text) & 0xffff_ffffn);
  const implementer = value >>> 24;
  const part = (value >>> 4) & 0xfff;
  const maker = IMPLEMENTERS[implementer];
  const model = (implementer === 65 ? ARM_PARTS[part] : undefined) ?? `part 0x${part.toString(16)}`;
  return {
    implementer,
    variant: (value >>> 20) & 0xf,
    part,
    revision: value & 0xf,
    name: maker === undefined ? null : `${maker} ${model}`,
  };
}
