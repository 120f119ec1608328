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
const LIMITS = { policy: 'one-queue,time-sliced' };
const RIVALS = 'hashed,dealt,round-robin,two-choices,shortest-queue,stealing';

/** Machines of a series that grows, and for how long each is simulated. */
const SERIES: readonly Flags[] = [
  { machine: '2', seconds: '120' },
  { machine: '4', seconds: '60' },
  { machine: '8', seconds: '30' },
  { machine: '2x8', seconds: '16' },
  { machine: '4x8', seconds: '8' },
  { machine: '2x4x8', seconds: '4' },
  { machine: '2x8x8', seconds: '2' },
  { machine: '2x2x8x8', seconds: '1' },
  { machine: '2x4x8x8', seconds: '1', warmupSeconds: '0.5' },
  { machine: '2x8x8x8', seconds: '0.5', warmupSeconds: '0.5' },
];

const FREE = { peekMs: '0', askMs: '0', candidatesMax: 'Infinity' };

export const STUDIES: Readonly<Record<string, Study>> = {
  rivals: {
    question: 'how does gyre compare with other rules for who serves what?',
    tables: [
      ...LOADS.map(([load, flags]) => ({
        title: `64 CPUs, ${load} busy`,
        sets: [
          { machine: '2x4x8', seconds: '3', ...flags, ...ENOUGH, policy: `${RIVALS},gyre` },
          { machine: '2x4x8', seconds: '3', ...flags, ...ENOUGH, ...LIMITS },
        ],
      })),
      {
        title: '2 CPUs, 42% busy, with spares',
        sets: [
          { policy: RIVALS, spares: '0' },
          { policy: 'gyre', spares: '0,2,4' },
          { ...LIMITS, spares: '0' },
        ],
      },
    ],
  },
  services: {
    question: 'what if service times are skewed, with or without a second, slow kind?',
    tables: ['1417,0', '750,4'].map((load) => {
      const [fast = '', slow = ''] = load.split(',');
      return {
        title: slow === '0' ? 'one kind, 42% busy' : 'two kinds, 42% busy',
        sets: [
          {
            ...{ machine: '2x4x8', seconds: '3', fast, slow, ...ENOUGH },
            fastShape: 'constant,exponential,lognormal,pareto',
            policy: 'hashed,two-choices,shortest-queue,stealing,gyre,one-queue',
          },
        ],
      };
    }),
  },
  skew: {
    question: 'what if few connections carry most requests?',
    tables: [
      ['all alike', { hot: '1', hotRequests: '1' }],
      ['a tenth carries half', { hot: '0.1', hotRequests: '0.5' }],
      ['a tenth carries nine tenths', { hot: '0.1', hotRequests: '0.9' }],
      ['a fiftieth carries four fifths', { hot: '0.02', hotRequests: '0.8' }],
      ['a quarter of the workers, side by side, has all connections', { crowd: '0.25' }],
    ].map(([title, flags]) => ({
      title: `64 CPUs, 42% busy; of the connections ${title}`,
      sets: [
        {
          ...{ machine: '2x4x8', seconds: '3', choice: 'any', ...ENOUGH, ...(flags as Flags) },
          policy: 'hashed,dealt,two-choices,shortest-queue,stealing,gyre,one-queue',
        },
      ],
    })),
  },
  growth: {
    question: 'how do latencies and moves grow with CPUs?',
    tables: [
      ...['hashed', 'round-robin', 'two-choices', 'shortest-queue', 'stealing', 'one-queue'].map(
        (policy) => ({ title: policy, sets: SERIES.map((flags) => ({ policy, ...flags })) }),
      ),
      { title: 'gyre, one governor', sets: SERIES },
      {
        title: 'gyre, a governor for each 16 CPUs',
        sets: SERIES.map((flags) => ({ ...flags, ...ENOUGH })),
      },
      {
        title: 'gyre, a governor for each 16 CPUs, moving to anyone',
        sets: SERIES.map((flags) => ({ ...flags, ...ENOUGH, rings: 'anyone' })),
      },
    ],
  },
  machines: {
    question: 'how far do moves travel on real machines?',
    tables: [
      ['recombinator,virtual-machine', '60', '2'],
      ['wopr,dumbledore,offline,hybrid', '10', '16 to 24'],
      ['container', '30', '4'],
      ['graviton,altra,xeon', '2', '64 to 80'],
      ['epyc-without-SMT,epyc', '1', '128 and 256'],
      ['giant', '0.5', '1,024'],
    ].map(([machine = '', seconds = '', cpus]) => ({
      title: `${cpus} CPUs`,
      sets: [
        {
          ...{ machine, seconds, fast: '500', slow: '2.7', rings: 'anyone,near' },
          ...{ ...ENOUGH, ...(machine === 'giant' ? { warmupSeconds: '0.5' } : THREE) },
        },
      ],
      versus: { rings: 'anyone' },
    })),
  },
  near: {
    question:
      'do near-first rings keep moves in a cache, and tails within 10% of moving to anyone?',
    tables: [
      ...['2x4x8', '2x2x8x8'].flatMap((machine) =>
        LOADS.map(([load, flags]) => ({
          title: `${machine === '2x4x8' ? 64 : 256} CPUs, ${load} busy`,
          sets: [
            {
              ...{ machine, seconds: machine === '2x4x8' ? '3' : '1', ...flags },
              ...{ rings: 'anyone,near', ...ENOUGH, ...FIVE },
            },
          ],
          versus: { rings: 'anyone' },
        })),
      ),
      ...LOADS.map(([load, flags]) => ({
        title: `64 CPUs, ${load} busy, if asking cost nothing and all were asked`,
        sets: [
          {
            machine: '2x4x8',
            rings: 'anyone',
            reserve: '0',
            seconds: '3',
            ...flags,
            ...ENOUGH,
            ...FREE,
            ...FIVE,
          },
          {
            ...{ machine: '2x4x8', rings: 'near', reserve: '0,0.15,0.3' },
            ...{ seconds: '3', ...flags, ...ENOUGH, ...FREE, ...FIVE },
          },
        ],
        versus: { rings: 'anyone', reserve: '0' },
      })),
    ],
  },
  cold: {
    question: 'what must a far move cost for near-first rings to pay?',
    tables: LOADS.slice(0, 2).map(([load, flags]) => ({
      title: `64 CPUs, ${load} busy; each connection costs coldMs more from beyond the cache`,
      sets: [
        {
          ...{ machine: '2x4x8', seconds: '3', ...flags, coldMs: '0,0.03,0.1,0.3' },
          ...{ rings: 'anyone,near', ...ENOUGH, ...FREE, ...THREE },
        },
      ],
      versus: { rings: 'anyone' },
    })),
  },
  search: {
    question: 'how many candidates of a ring are worth asking?',
    tables: (
      [
        ['64 CPUs, one ring', { machine: 'graviton' }],
        ['80 CPUs, rings of 38 and 40', { machine: 'xeon', smtSpeed: '1' }],
        ['64 CPUs in caches of 8', { machine: '2x4x8' }],
      ] as const
    ).flatMap(([title, machine]) =>
      [{ fast: '600', slow: '3.2' }, MEDIUM].map((load) => ({
        title: `${title}, ${load === MEDIUM ? '68%' : '34%'} busy`,
        sets: [
          {
            ...{ ...machine, ...load, candidatesMax: 'Infinity,16,8,4,2', seconds: '3' },
            ...{ ...ENOUGH, ...THREE },
          },
        ],
        versus: { candidatesMax: 'Infinity' },
      })),
    ),
  },
  governor: {
    question: 'how many CPUs can one governor serve, and what helps when it cannot?',
    tables: [
      ...[LIGHT, MEDIUM].map((load) => ({
        title: `workers for each governor, ${load === LIGHT ? '42%' : '68%'} busy`,
        sets: [
          { machine: '8', seconds: '30', ...load, perGovernor: 'Infinity' },
          { machine: '2x8', seconds: '15', ...load, perGovernor: 'Infinity,8' },
          { machine: '4x8', seconds: '6', ...load, perGovernor: 'Infinity,16,8' },
          { machine: '2x4x8', seconds: '3', ...load, perGovernor: 'Infinity,32,16,8' },
          { machine: '2x2x8x8', seconds: '1', ...load, perGovernor: 'Infinity,128,64,32,16,8' },
        ],
      })),
      {
        title: '256 CPUs, one governor: how often it looks, how much it moves, whom it asks',
        sets: [
          { tickMs: '0.5,1,2,4,8', amount: 'half', candidatesMax: '8' },
          { tickMs: '1', amount: 'all,spread', candidatesMax: '8' },
          { tickMs: '1', amount: 'half', candidatesMax: '2,Infinity' },
        ].map((flags) => ({ machine: '2x2x8x8', seconds: '1', ...flags })),
      },
      {
        title: '256 CPUs, a governor for each 32',
        sets: [
          { tickMs: '0.5,1,2,4', amount: 'half' },
          { tickMs: '1', amount: 'all,spread' },
        ].map((flags) => ({ machine: '2x2x8x8', seconds: '1', perGovernor: '32', ...flags })),
      },
    ],
  },
  siblings: {
    question:
      'which place have the other threads of the own core, and should idle cores come first?',
    tables: [
      ...SMT_LOADS.map(([load, flags]) => ({
        title: `80 CPUs of 40 cores, ${load} busy; a CPU at smtSpeed while its sibling is busy`,
        sets: [
          {
            ...{ machine: 'xeon', seconds: '3', ...flags, smtSpeed: '0.6,0.75,1' },
            rings: 'sibling-first,sibling-within,sibling-second,sibling-last',
            ...{ ...ENOUGH, ...FIVE },
          },
        ],
        versus: { rings: 'sibling-first' },
      })),
      ...SMT_LOADS.map(([load, flags]) => ({
        title: `256 CPUs of 128 cores, ${load} busy`,
        sets: [
          {
            ...{ machine: 'epyc', seconds: '1', ...flags },
            rings: 'sibling-first,sibling-within,sibling-second,sibling-last',
            ...{ ...ENOUGH, ...THREE },
          },
        ],
        versus: { rings: 'sibling-first' },
      })),
      ...SMT_LOADS.map(([load, flags]) => ({
        title: `80 CPUs of 40 cores, ${load} busy; workers on idle cores first`,
        sets: [
          {
            ...{ machine: 'xeon', seconds: '3', ...flags },
            ...{ idleCores: 'ignored,in-ring,anywhere', ...ENOUGH, ...FIVE },
          },
        ],
        versus: { idleCores: 'ignored' },
      })),
    ],
  },
  spares: {
    question: 'how many spares, for how many CPUs?',
    tables: ['2', '4', '8', '16'].map((machine) => ({
      title: `${machine} CPUs`,
      sets: [
        { machine, ...BOTH_COMPANIES, ...LIMITS, quantumMs: '3', spares: '0' },
        { machine, ...BOTH_COMPANIES, policy: 'gyre', quantumMs: '3', spares: '0,1,2,3,4,8' },
      ],
    })),
  },
  triggers: {
    question: 'when are spares given connections, and when do they give them back?',
    tables: [
      {
        title: '2 CPUs: when they are given some',
        sets: [{ ...BOTH_COMPANIES, spares: '2,4', trigger: 'all-still,none-idle,after' }],
      },
      {
        title: '2 CPUs: when they give back',
        sets: [{ ...BOTH_COMPANIES, spares: '2,4', giveBack: 'stay,between,idle' }],
      },
    ],
  },
  moves: {
    question: 'how much does a worker that stands still give, and to whom?',
    tables: [
      { title: 'how much', sets: [{ machine: '2,8', spares: '0,4', amount: 'half,all,spread' }] },
      {
        title: 'to whom',
        sets: [{ machine: '2,8', spares: '4,8', accept: 'not-stalled,not-still,in-poll' }],
      },
    ],
  },
  ticks: {
    question: 'how often does the governor look, and when is a worker stuck?',
    tables: [
      {
        title: '2 CPUs; stuckTicks: CPU time without progress, in ticks',
        sets: [{ spares: '0,4', tickMs: '0.25,0.5,1,2,5', stuckTicks: '0.5,1,2' }],
      },
    ],
  },
};
