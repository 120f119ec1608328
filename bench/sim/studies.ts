/**
 * The questions that the simulation was written for, as tables of flags. What came out is in
 * docs/simulation.md.
 *
 * Loads are for each CPU: 750 fast requests of 0.3 ms and 4 slow ones of 50 ms a second take
 * 42% of its time, 1,200 and 6.4 take 68%, 1,500 and 8 take 85%. Where cores have two threads, which
 * slow each other down, the loads are lower: 300 and 1.6 take 17% of each CPU, 500 and 2.7 take 28%,
 * 750 and 4 take 42%, of at most 60%.
 */
import type { Flags } from './flags.js';
import type { Table } from './report.js';

export interface Study {
  readonly question: string;
  readonly tables: readonly Table[];
}

const LIGHT = { fast: '750', slow: '4' };
const MEDIUM = { fast: '1200', slow: '6.4' };
const HEAVY = { fast: '1500', slow: '8' };
const LOADS = Object.entries({ '42%': LIGHT, '68%': MEDIUM, '85%': HEAVY });
const SMT_LOADS = Object.entries({
  '17%': { fast: '300', slow: '1.6' },
  '28%': { fast: '500', slow: '2.7' },
  '42%': LIGHT,
});

const FIVE = { seed: '1,2,3,4,5' };
const THREE = { seed: '1,2,3' };
/** As many governors as it takes that they are not what limits. */
const ENOUGH = { perGovernor: '16' };
const BOTH_COMPANIES = { company: '0,0.3' };
const RIVALS = 'hashed,dealt,round-robin,two-choices,shortest-queue,stealing';

/** 64 CPUs in caches of 8, and 256. */
const MIDDLE = { machine: '2x4x8', seconds: '2', warmupSeconds: '0.5', ...ENOUGH };
const LARGE = { machine: '2x2x8x8', seconds: '0.5', warmupSeconds: '0.5', ...ENOUGH };

/** Machines of a series that grows, and for how long each is simulated. */
const SERIES: readonly Flags[] = [
  { machine: '2', seconds: '60' },
  { machine: '8', seconds: '15' },
  { machine: '4x8', seconds: '4' },
  { machine: '2x4x8', seconds: '3' },
  { machine: '2x2x8x8', seconds: '1' },
  { machine: '2x8x8x8', seconds: '0.5', warmupSeconds: '0.25' },
];

/** Asking who could be given something costs nothing, and all are asked. */
const FREE = { peekMs: '0', askMs: '0', candidatesMax: 'Infinity' };

const PLACES_OF_SIBLINGS = 'near,sibling-first,sibling-within,sibling-last';

export const STUDIES: Readonly<Record<string, Study>> = {
  rivals: {
    question: 'how does gyre compare with other rules for who serves what?',
    tables: LOADS.map(([load, flags]) => ({
      title: `64 CPUs, ${load} busy`,
      sets: [{ ...MIDDLE, ...flags, policy: `${RIVALS},gyre,one-queue,time-sliced` }],
    })),
  },
  services: {
    question: 'what if service times are skewed, with or without a second, slow kind?',
    tables: [
      { title: 'one kind, 42% busy', load: { fast: '1417', slow: '0' } },
      { title: 'two kinds, 42% busy', load: LIGHT },
    ].map(({ title, load }) => ({
      title,
      sets: [
        {
          ...MIDDLE,
          ...load,
          fastShape: 'constant,exponential,lognormal,pareto',
          policy: 'hashed,two-choices,shortest-queue,stealing,gyre,one-queue',
        },
      ],
    })),
  },
  skew: {
    question: 'what if few connections carry most requests?',
    tables: [
      { what: 'all are alike', flags: { hot: '1', hotRequests: '1' } },
      { what: 'a tenth carries half', flags: { hot: '0.1', hotRequests: '0.5' } },
      { what: 'a tenth carries nine tenths', flags: { hot: '0.1', hotRequests: '0.9' } },
      { what: 'a quarter of the workers, side by side, has all', flags: { crowd: '0.25' } },
    ].map(({ what, flags }) => ({
      title: `64 CPUs, 42% busy; of the connections ${what}`,
      sets: [
        {
          ...{ ...MIDDLE, choice: 'any', ...flags },
          policy: 'hashed,dealt,two-choices,shortest-queue,stealing,gyre,one-queue',
        },
      ],
    })),
  },
  growth: {
    question: 'how do latencies and moves grow with CPUs?',
    tables: [
      ...[...RIVALS.split(','), 'one-queue'].map((policy) => ({
        title: policy,
        sets: SERIES.map((flags) => ({ policy, ...flags })),
      })),
      { title: 'gyre, one governor', sets: SERIES },
      {
        title: 'gyre, a governor for each 16 CPUs',
        sets: SERIES.map((flags) => ({ ...flags, ...ENOUGH })),
      },
    ],
  },
  near: {
    question:
      'do near-first rings keep moves in a cache, and tails within 10% of moving to anyone?',
    tables: [
      ...[MIDDLE, LARGE].flatMap((machine) =>
        LOADS.map(([load, flags]) => ({
          title: `${machine === MIDDLE ? 64 : 256} CPUs, ${load} busy`,
          sets: [{ ...machine, ...flags, rings: 'anyone,near', ...FIVE }],
          versus: { rings: 'anyone' },
        })),
      ),
      ...[MIDDLE, LARGE].map((machine) => ({
        title: `${machine === MIDDLE ? 64 : 256} CPUs, 42% busy, one governor for all`,
        sets: [{ ...machine, ...LIGHT, perGovernor: 'Infinity', rings: 'anyone,near', ...THREE }],
        versus: { rings: 'anyone' },
      })),
      ...LOADS.slice(0, 2).map(([load, flags]) => ({
        title: `64 CPUs, ${load} busy, if asking cost nothing and all were asked`,
        sets: [{ ...MIDDLE, ...flags, ...FREE, rings: 'anyone,near', ...FIVE }],
        versus: { rings: 'anyone' },
      })),
      {
        title: '256 CPUs, 68% busy, if who stands still gave all that waits, and not half',
        sets: [{ ...LARGE, ...MEDIUM, amount: 'all', rings: 'anyone,near', ...FIVE }],
        versus: { rings: 'anyone' },
      },
      {
        title: '64 CPUs, 68% busy; each connection costs coldMs more from beyond the cache',
        sets: [{ ...MIDDLE, ...MEDIUM, coldMs: '0.03,0.1', rings: 'anyone,near', ...THREE }],
        versus: { rings: 'anyone' },
      },
    ],
  },
  machines: {
    question: 'how far do moves travel on real machines?',
    tables: [
      ['wopr,dumbledore,hybrid', '8', '16 and 24'],
      ['graviton,altra,xeon', '2', '64 and 80'],
      ['epyc-without-SMT,epyc', '1', '128 and 256'],
    ].map(([machine = '', seconds = '', cpus]) => ({
      title: `${cpus} CPUs`,
      sets: [
        {
          ...{ machine, seconds, fast: '500', slow: '2.7', rings: 'anyone,near' },
          ...{ ...ENOUGH, ...THREE },
        },
      ],
      versus: { rings: 'anyone' },
    })),
  },
  search: {
    question: 'how many candidates of a ring are worth asking?',
    tables: ['graviton', '2x4x8'].flatMap((machine) =>
      [LIGHT, MEDIUM].map((load) => ({
        title: `64 CPUs ${machine === 'graviton' ? 'in one ring' : 'in caches of 8'}, ${
          load === LIGHT ? '42%' : '68%'
        } busy`,
        sets: [{ ...MIDDLE, machine, ...load, candidatesMax: 'Infinity,16,8,4,2', ...THREE }],
        versus: { candidatesMax: 'Infinity' },
      })),
    ),
  },
  governor: {
    question: 'how many CPUs can one governor serve?',
    tables: [LIGHT, MEDIUM].map((load) => ({
      title: `workers for each governor, ${load === LIGHT ? '42%' : '68%'} busy`,
      sets: [
        { machine: '8', seconds: '15', ...load, perGovernor: '8' },
        { machine: '2x8', seconds: '8', ...load, perGovernor: '16,8' },
        { machine: '4x8', seconds: '4', ...load, perGovernor: '32,16,8' },
        { machine: '2x4x8', seconds: '3', ...load, perGovernor: '64,32,16,8' },
        { machine: '2x2x8x8', seconds: '1', ...load, perGovernor: '256,64,32,16' },
      ],
    })),
  },
  siblings: {
    question: 'which place have the other threads of the own core?',
    tables: [
      ...SMT_LOADS.map(([load, flags]) => ({
        title: `80 CPUs of 40 cores, ${load} busy; a CPU at smtSpeed while its sibling is busy`,
        sets: [
          {
            ...{ ...MIDDLE, machine: 'xeon', ...flags, smtSpeed: '0.6,1' },
            ...{ rings: PLACES_OF_SIBLINGS, ...THREE },
          },
        ],
        versus: { rings: 'sibling-first' },
      })),
      ...SMT_LOADS.slice(0, 2).map(([load, flags]) => ({
        title: `256 CPUs of 128 cores, ${load} busy`,
        sets: [
          {
            ...{ ...LARGE, machine: 'epyc', ...flags },
            ...{ rings: PLACES_OF_SIBLINGS, ...THREE },
          },
        ],
        versus: { rings: 'sibling-first' },
      })),
    ],
  },
  spares: {
    question: 'how many spares, when are they given connections, and when do they give them back?',
    tables: [
      ...Object.entries({ 2: '60', 4: '30', 8: '15', 16: '8' }).map(([machine, seconds]) => {
        const all = { machine, seconds, ...BOTH_COMPANIES, quantumMs: '3' };
        return {
          title: `${machine} CPUs`,
          sets: [
            { ...all, policy: 'one-queue,time-sliced', spares: '0' },
            { ...all, policy: 'gyre', spares: '0,1,2,4,8' },
          ],
        };
      }),
      {
        title: '2 CPUs, 4 spares: other rules than gyre has, which is the first',
        sets: [
          { ...BOTH_COMPANIES, spares: '4', trigger: 'all-still', giveBack: 'between' },
          { ...BOTH_COMPANIES, spares: '4', trigger: 'none-idle', giveBack: 'between' },
          { ...BOTH_COMPANIES, spares: '4', trigger: 'all-still', giveBack: 'stay' },
        ],
      },
      {
        title: 'how much a worker that stands still gives',
        sets: [
          { machine: '2', spares: '0,4', amount: 'half,all' },
          { machine: '8', seconds: '15', spares: '0,2', amount: 'half,all' },
          { ...MIDDLE, spares: '0', amount: 'half,all' },
        ],
      },
    ],
  },
};
