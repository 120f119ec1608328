/**
 * What an x86 processor says of itself: CPUID's registers, read. Pure: whoever asks brings a
 * function that executes the instruction, or looks up what a machine answered once.
 *
 * Sources: Intel's Software Developer's Manual, volume 2, CPUID, with table 3-12 for leaf 2;
 * AMD's Architecture Programmer's Manual, volume 3, appendix E. Flags have the
 * names of Linux's /proc/cpuinfo. A register with undefined bits is no error: what is
 * nonsense is left out.
 */

/** eax, ebx, ecx, edx, each from 0 to 2^32 - 1. */
export type Registers = readonly [number, number, number, number];

/** Answers CPUID for a leaf and subleaf, or null where there is no answer. */
export type Query = (leaf: number, subleaf: number) => Registers | null;

/** A buffer of translated addresses. */
export interface Tlb {
  /** 1 is nearest to the core; null where leaf 2 does not say. */
  readonly level: number | null;
  /** What it translates for. */
  readonly type: 'data' | 'instruction' | 'unified' | 'load' | 'store';
  /** Sizes of pages that it translates, as bytes. */
  readonly pagesBytes: readonly number[];
  /** How many translations it holds. */
  readonly entries: number;
  /** 0: fully associative; null: not said. */
  readonly ways: number | null;
}

/** A cache as the processor describes it: without saying which CPUs share it. */
export interface ProcessorCache {
  /** 1 is nearest to the core. */
  readonly level: number;
  /** What it holds. */
  readonly type: 'data' | 'instruction' | 'unified';
  /** All of it. */
  readonly sizeBytes: number;
  /** A line of it. */
  readonly lineBytes: number;
  /** 0: fully associative. */
  readonly ways: number;
  /** Sets of lines. */
  readonly sets: number;
}

/** What an x86 processor says of itself (CPUID). */
export interface Processor {
  /** `GenuineIntel`, `AuthenticAMD`, … */
  readonly vendor: string;
  /** As the processor prints it; empty if it does not. */
  readonly brand: string;
  /** As the vendor counts, extension included. */
  readonly family: number;
  /** As the vendor counts, extension included. */
  readonly model: number;
  /** 0 to 15. */
  readonly stepping: number;
  /** What the hypervisor calls itself; null on bare metal. */
  readonly hypervisor: string | null;
  /** Nearest first. */
  readonly tlbs: readonly Tlb[];
  /** Nearest first; also where the system hides them. */
  readonly caches: readonly ProcessorCache[];
  /** Whether devices may write straight into its caches (Intel's DCA). */
  readonly directCacheAccess: boolean;
  /** Flags, in the order of their bits. */
  readonly features: readonly string[];
}

const KB = 1024;
const MB = 1024 * KB;
const GB = 1024 * MB;

/** Bits `low` to `high` of a register. */
function bits(register: number, low: number, high: number): number {
  return Math.floor(register / 2 ** low) % 2 ** (high - low + 1);
}

/** The characters in registers. */
function characters(registers: readonly number[]): string {
  const bytes = registers.flatMap((register) =>
    [0, 8, 16, 24].map((at) => bits(register, at, at + 7)),
  );
  const end = bytes.indexOf(0);
  return String.fromCharCode(...(end === -1 ? bytes : bytes.slice(0, end)))
    .replace(/[^\x20-\x7e]/g, '')
    .trim();
}

const SHORT = [4 * KB];
const LARGE = [2 * MB, 4 * MB];
const FULLY = 0;

type Descriptor = readonly [Tlb['type'], readonly number[], number, number | null];

/**
 * Leaf 2's descriptor bytes that are TLBs: type, pages, entries, ways. A level is in none
 * of them except for the shared second-level ones.
 */
const DESCRIPTORS: Readonly<Record<number, readonly Descriptor[]>> = {
  1: [['instruction', SHORT, 32, 4]],
  2: [['instruction', [4 * MB], 2, FULLY]],
  3: [['data', SHORT, 64, 4]],
  4: [['data', [4 * MB], 8, 4]],
  5: [['data', [4 * MB], 32, 4]],
  11: [['instruction', [4 * MB], 4, 4]],
  79: [['instruction', SHORT, 32, null]],
  80: [['instruction', [...SHORT, ...LARGE], 64, null]],
  81: [['instruction', [...SHORT, ...LARGE], 128, null]],
  82: [['instruction', [...SHORT, ...LARGE], 256, null]],
  85: [['instruction', LARGE, 7, FULLY]],
  86: [['data', [4 * MB], 16, 4]],
  87: [['data', SHORT, 16, 4]],
  89: [['data', SHORT, 16, FULLY]],
  90: [['data', LARGE, 32, 4]],
  91: [['data', [4 * KB, 4 * MB], 64, null]],
  92: [['data', [4 * KB, 4 * MB], 128, null]],
  93: [['data', [4 * KB, 4 * MB], 256, null]],
  97: [['instruction', SHORT, 48, FULLY]],
  99: [
    ['data', LARGE, 32, 4],
    ['data', [GB], 4, 4],
  ],
  100: [['data', SHORT, 512, 4]],
  106: [['data', SHORT, 64, 8]],
  107: [['data', SHORT, 256, 8]],
  108: [['data', LARGE, 128, 8]],
  109: [['data', [GB], 16, FULLY]],
  118: [['instruction', LARGE, 8, FULLY]],
  160: [['data', SHORT, 32, FULLY]],
  176: [['instruction', SHORT, 128, 4]],
  177: [
    ['instruction', [2 * MB], 8, 4],
    ['instruction', [4 * MB], 4, 4],
  ],
  178: [['instruction', SHORT, 64, 4]],
  179: [['data', SHORT, 128, 4]],
  180: [['data', SHORT, 256, 4]],
  181: [['instruction', SHORT, 64, 8]],
  182: [['instruction', SHORT, 128, 8]],
  186: [['data', SHORT, 64, 4]],
  192: [['data', [4 * KB, 4 * MB], 8, 4]],
  193: [['unified', [4 * KB, 2 * MB], 1024, 8]],
  194: [['data', [4 * KB, 2 * MB], 16, 4]],
  195: [
    ['unified', [4 * KB, 2 * MB], 1536, 6],
    ['unified', [GB], 16, 4],
  ],
  196: [['data', LARGE, 32, 4]],
  202: [['unified', SHORT, 512, 4]],
};

/** Leaf 2. Each register whose highest bit is clear holds four bytes; al is a count, always 1. */
function tlbsOfLeaf2(registers: Registers): Tlb[] {
  return registers
    .filter((register) => bits(register, 31, 31) === 0)
    .flatMap((register) => [0, 8, 16, 24].map((at) => bits(register, at, at + 7)))
    .slice(bits(registers[0], 31, 31) === 0 ? 1 : 0)
    .flatMap((byte) => DESCRIPTORS[byte] ?? [])
    .map(([type, pagesBytes, entries, ways]) => ({
      level: type === 'unified' ? 2 : null,
      ...{ type, pagesBytes, entries, ways },
    }));
}

const LEAF_18_TYPES = [null, 'data', 'instruction', 'unified', 'load', 'store'] as const;
const LEAF_18_PAGES = [4 * KB, 2 * MB, 4 * MB, GB];
/** The processors that have leaf 18H list 8 to 10; this bounds what a broken one can claim. */
const SUBLEAVES_MAX = 64;

/** Leaf 18H: one TLB in each subleaf. */
function tlbsOfLeaf18(query: Query): Tlb[] {
  const last = Math.min(query(0x18, 0)?.[0] ?? 0, SUBLEAVES_MAX);
  return Array.from({ length: last + 1 }, (_, at) => query(0x18, at)).flatMap((registers) => {
    const [, ebx, sets, edx] = registers ?? [0, 0, 0, 0];
    const type = LEAF_18_TYPES[bits(edx, 0, 4)] ?? null;
    const ways = bits(ebx, 16, 31);
    if (type === null || ways * sets === 0) return [];
    const pagesBytes = LEAF_18_PAGES.filter((_, bit) => bits(ebx, bit, bit) === 1);
    const fully = bits(edx, 8, 8) === 1;
    return [
      {
        level: bits(edx, 5, 7),
        type,
        pagesBytes,
        entries: ways * sets,
        ways: fully ? FULLY : ways,
      },
    ];
  });
}

/** AMD's four-bit codes. Of 5 it is only said that there are 6 or 7, of 9 that leaf 1DH tells. */
const AMD_WAYS = [null, 1, 2, 3, 4, 6, 8, null, 16, null, 32, 48, 64, 96, 128, FULLY] as const;

/** Two TLBs of AMD: data in the upper half of a register, instructions in the lower one. */
function amdPair(level: number, pagesBytes: readonly number[], register: number): Tlb[] {
  const half = (low: number, type: Tlb['type']): Tlb[] => {
    if (level === 1 && pagesBytes[0] !== GB) {
      const entries = bits(register, low, low + 7);
      const ways = bits(register, low + 8, low + 15);
      return entries === 0
        ? []
        : [{ level, type, pagesBytes, entries, ways: ways === 255 ? FULLY : ways }];
    }
    const entries = bits(register, low, low + 11);
    const ways = AMD_WAYS[bits(register, low + 12, low + 15)] ?? null;
    return entries === 0 ? [] : [{ level, type, pagesBytes, entries, ways }];
  };
  return [...half(16, 'data'), ...half(0, 'instruction')];
}

/** Leaves 8000_0005, 6 and 19. A 4 MB page takes two entries of those for 2 MB. */
function tlbsOfAmd(query: Query): Tlb[] {
  const [first, second, third] = [0x8000_0005, 0x8000_0006, 0x8000_0019].map((leaf) =>
    query(leaf, 0),
  );
  return [
    ...amdPair(1, SHORT, first?.[1] ?? 0),
    ...amdPair(1, [2 * MB], first?.[0] ?? 0),
    ...amdPair(1, [GB], third?.[0] ?? 0),
    ...amdPair(2, SHORT, second?.[1] ?? 0),
    ...amdPair(2, [2 * MB], second?.[0] ?? 0),
    ...amdPair(2, [GB], third?.[1] ?? 0),
  ];
}

const CACHE_TYPES = [null, 'data', 'instruction', 'unified'] as const;

/** Leaf 4, or AMD's 8000_001D, which is the same: one cache in each subleaf, until one has no type. */
function cachesOf(query: Query, leaf: number): ProcessorCache[] {
  const caches: ProcessorCache[] = [];
  for (let subleaf = 0; subleaf < SUBLEAVES_MAX; subleaf++) {
    const [eax, ebx, ecx] = query(leaf, subleaf) ?? [0, 0, 0];
    const type = CACHE_TYPES[bits(eax, 0, 4)] ?? null;
    if (type === null) break;
    const lineBytes = bits(ebx, 0, 11) + 1;
    const partitions = bits(ebx, 12, 21) + 1;
    const ways = bits(ebx, 22, 31) + 1;
    const sets = ecx + 1;
    caches.push({
      ...{ level: bits(eax, 5, 7), type, sizeBytes: lineBytes * partitions * ways * sets },
      ...{ lineBytes, ways: bits(eax, 9, 9) === 1 ? FULLY : ways, sets },
    });
  }
  return caches;
}

/** Where flags are: leaf, subleaf, register, and a name for each bit; `-` for none that Linux shows. */
const FLAGS: readonly (readonly [number, number, number, string])[] = [
  [
    1,
    0,
    3,
    `fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts
    acpi mmx fxsr sse sse2 ss ht tm ia64 pbe`,
  ],
  [
    1,
    0,
    2,
    `pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid
    dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor`,
  ],
  [
    7,
    0,
    1,
    `fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f
    avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni
    avx512bw avx512vl`,
  ],
  [
    7,
    0,
    2,
    `- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni
    avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri
    movdir64b enqcmd`,
  ],
  [
    7,
    0,
    3,
    `- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize -
    tsxldtrk - pconfig arch_lbr - - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d
    arch_capabilities`,
  ],
  [7, 1, 0, '- - - - avx_vnni avx512_bf16'],
  [
    0x8000_0001,
    0,
    3,
    `- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp
    - lm 3dnowext 3dnow`,
  ],
  [
    0x8000_0001,
    0,
    2,
    `lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs
    xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc
    perfctr_llc mwaitx`,
  ],
];

function featuresOf(query: Query): string[] {
  return FLAGS.flatMap(([leaf, subleaf, register, names]) => {
    const value = query(leaf, subleaf)?.[register] ?? 0;
    return names.split(/\s+/).filter((name, bit) => name !== '-' && bits(value, bit, bit) === 1);
  });
}

/** Leaf 0 and, for what begins with `base`, how many leaves follow it. */
function hasLeaf(query: Query, leaf: number): boolean {
  const base = leaf - (leaf % 2 ** 16);
  const last = query(base, 0)?.[0] ?? 0;
  // A processor asked for a leaf that it does not have answers with another one.
  return last >= leaf && last < base + 2 ** 16;
}

/** The processor that answers `execute`, or null if it does not answer. */
export function identify(execute: Query): Processor | null {
  const query: Query = (leaf, subleaf) => (hasLeaf(execute, leaf) ? execute(leaf, subleaf) : null);
  const basic = query(0, 0);
  const version = query(1, 0);
  if (basic === null || version === null) return null;
  const [, ebx, ecx, edx] = basic;
  const vendor = characters([ebx, edx, ecx]);
  const [signature, , flags] = version;
  const family = bits(signature, 8, 11);
  const extended = family === 15 || (family === 6 && vendor !== 'AuthenticAMD');
  const inVm = bits(flags, 31, 31) === 1;
  const hypervisor = inVm ? execute(0x4000_0000, 0) : null;
  const amd = vendor === 'AuthenticAMD' || vendor === 'HygonGenuine';
  const leaf2 = query(2, 0) ?? [0, 0, 0, 0];
  const byLeaf18 = tlbsOfLeaf18(query);
  return {
    vendor,
    brand: characters([2, 3, 4].flatMap((at) => query(0x8000_0000 + at, 0) ?? [])),
    family: family === 15 ? family + bits(signature, 20, 27) : family,
    model: bits(signature, 4, 7) + (extended ? 16 * bits(signature, 16, 19) : 0),
    stepping: bits(signature, 0, 3),
    hypervisor: hypervisor === null ? null : characters(hypervisor.slice(1)),
    tlbs: amd ? tlbsOfAmd(query) : byLeaf18.length > 0 ? byLeaf18 : tlbsOfLeaf2(leaf2),
    caches: cachesOf(query, amd ? 0x8000_001d : 4),
    directCacheAccess: bits(flags, 18, 18) === 1,
    features: featuresOf(query),
  };
}
