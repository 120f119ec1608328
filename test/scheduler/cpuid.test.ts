/** Recorded CPUID answers, and what the manuals say that they mean. */
import fc from 'fast-check';
import t from 'tap';
import { identify, type Processor, type Query, type Tlb } from '../../src/scheduler/cpuid.js';
import { recorded } from '../fixtures/topology/leaves.js';

const SIZES = new Map([
  [4096, '4K'],
  [2 ** 21, '2M'],
  [2 ** 22, '4M'],
  [2 ** 30, '1G'],
]);
/** `L1 data 4K/2M: 64, 4-way` */
function show({ level, type, pagesBytes, entries, ways }: Tlb): string {
  const pages = pagesBytes.map((size) => SIZES.get(size)).join('/');
  const how = ways === 0 ? 'full' : ways === null ? '?' : `${ways}-way`;
  return `${level === null ? '' : `L${level} `}${type} ${pages}: ${entries}, ${how}`;
}
const processor = (name: Parameters<typeof recorded>[0]) => identify(recorded(name)) as Processor;
const caches = ({ caches }: Processor) =>
  caches.map(({ level, type, sizeBytes, lineBytes, ways, sets }) => {
    return [`L${level}`, type, sizeBytes / 1024, lineBytes, ways, sets].join(' ');
  });

t.test('a processor with leaf 18H describes each TLB in a subleaf', async (t) => {
  const found = processor('alder lake');
  t.match(found, {
    ...{ vendor: 'GenuineIntel', brand: '12th Gen Intel(R) Core(TM) i9-12900K' },
    ...{ family: 6, model: 0x97, stepping: 2, hypervisor: null, directCacheAccess: false },
  });
  // Ways × sets entries each; loads and stores have TLBs of their own.
  t.same(found.tlbs.map(show), [
    ...['L1 instruction 4K: 256, 8-way', 'L1 instruction 2M/4M: 32, 8-way'],
    ...['L1 store 4K/2M/4M/1G: 16, full', 'L1 load 4K: 64, 4-way', 'L1 load 2M/4M: 32, 4-way'],
    ...['L1 load 1G: 8, full', 'L2 unified 4K/2M/4M: 1024, 8-way', 'L2 unified 4K/1G: 1024, 8-way'],
  ]);
  t.same(caches(found), [
    ...['L1 data 48 64 12 64', 'L1 instruction 32 64 8 64'],
    ...['L2 unified 1280 64 10 2048', 'L3 unified 30720 64 12 40960'],
  ]);
  t.ok(
    ['avx2', 'waitpkg', 'avx_vnni', 'sha_ni', 'serialize', 'lm'].every((flag) =>
      found.features.includes(flag),
    ),
  );
  t.notOk(['avx512f', 'hypervisor', 'dca', 'svm'].some((flag) => found.features.includes(flag)));
});

t.test('an older one lists descriptor bytes in leaf 2', async (t) => {
  const xeon = processor('cascade lake');
  t.match(xeon, {
    ...{
      brand: 'Intel(R) Xeon(R) Platinum 8269C CPU @ 2.50GHz',
      family: 6,
      model: 85,
      stepping: 6,
    },
    directCacheAccess: true,
  });
  // 63, 03, 76 in eax behind the count; b5 in ebx, where ff and f0 are none; c3 in edx.
  t.same(xeon.tlbs.map(show), [
    ...['data 2M/4M: 32, 4-way', 'data 1G: 4, 4-way', 'data 4K: 64, 4-way'],
    ...['instruction 2M/4M: 8, full', 'instruction 4K: 64, 8-way'],
    ...['L2 unified 4K/2M: 1536, 6-way', 'L2 unified 1G: 16, 4-way'],
  ]);
  t.equal(caches(xeon)[3], 'L3 unified 36608 64 11 53248');
  const core2 = processor('conroe');
  t.match(core2, { family: 6, model: 15, stepping: 6, directCacheAccess: false });
  // b1, b0, 05; 57, 56 behind f0; b4 between 30 and 2c, which are caches.
  t.same(core2.tlbs.map(show), [
    ...['instruction 2M: 8, 4-way', 'instruction 4M: 4, 4-way', 'instruction 4K: 128, 4-way'],
    ...['data 4M: 32, 4-way', 'data 4K: 16, 4-way', 'data 4M: 16, 4-way', 'data 4K: 256, 4-way'],
  ]);
  t.equal(caches(core2)[2], 'L2 unified 4096 64 16 4096');
});

t.test('AMD has pairs of data and instruction TLBs in registers', async (t) => {
  const found = processor('milan');
  t.match(found, {
    ...{ vendor: 'AuthenticAMD', brand: 'AMD EPYC 7713 64-Core Processor' },
    ...{ family: 25, model: 1, stepping: 1, hypervisor: null },
  });
  t.same(found.tlbs.map(show), [
    ...['L1 data 4K: 64, full', 'L1 instruction 4K: 64, full'],
    ...['L1 data 2M: 64, full', 'L1 instruction 2M: 64, full'],
    ...['L1 data 1G: 64, full', 'L1 instruction 1G: 64, full'],
    ...['L2 data 4K: 2048, 8-way', 'L2 instruction 4K: 512, 4-way'],
    ...['L2 data 2M: 2048, 4-way', 'L2 instruction 2M: 512, 2-way', 'L2 data 1G: 64, full'],
  ]);
  t.same(caches(found).slice(2), ['L2 unified 512 64 8 1024', 'L3 unified 32768 64 16 32768']);
  t.ok(found.features.includes('svm'));
});

t.test('where nothing answers there is no processor', async (t) => {
  t.equal(
    identify(() => null),
    null,
  );
  t.same(
    identify(() => [0, 0, 0, 0]),
    null,
    'nor where leaf 1 is missing',
  );
});

t.test('a leaf that the processor does not have is not asked for', async (t) => {
  const asked = new Set<number>();
  const answers = recorded('conroe');
  identify((leaf, subleaf) => {
    asked.add(leaf);
    return answers(leaf, subleaf);
  });
  // It has basic leaves up to 0xa; asked for a higher one it would repeat that one's answer.
  t.same(
    [...asked].filter((leaf) => leaf > 0xa && leaf < 0x8000_0000),
    [],
  );
});

t.test('no answer whatsoever makes it fail or go on forever', async () => {
  const register = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 0xffff_ffff, 0x8000_00ff));
  const answers = fc.func(fc.tuple(register, register, register, register));
  fc.assert(
    fc.property(answers, (answer) => {
      const found = identify(((leaf, subleaf) => answer(leaf, subleaf)) as Query);
      return found === null || found.tlbs.every(({ entries }) => entries > 0);
    }),
  );
});
