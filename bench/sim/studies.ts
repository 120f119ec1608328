/**
 * The questions that the simulation was written for, as flags of run.ts. Several values of a
 * flag make several runs, and each set of a study is multiplied out by itself.
 */

export type Flags = Readonly<Record<string, string>>;

const BOTH_COMPANIES = { company: '0,0.3' };
const LIMITS = { policy: 'one-queue,time-sliced', quantumMs: '3' };

export const STUDIES: Readonly<Record<string, readonly Flags[]>> = {
  /** How does gyre compare with what sends requests or connections by other rules? */
  rivals: [
    { policy: 'hashed,dealt,two-choices,shortest-queue,stealing' },
    LIMITS,
    { spares: '0,2,4' },
  ],
  /** How many spares, for how many CPUs? */
  spares: ['2', '4', '8', '16'].flatMap((machine) => [
    { ...BOTH_COMPANIES, ...LIMITS, machine },
    { ...BOTH_COMPANIES, machine, spares: '0,1,2,3,4,8' },
  ]),
  /** When are spares given connections, and when do they give them back? */
  triggers: [
    { ...BOTH_COMPANIES, spares: '2,4', trigger: 'all-still,none-idle,after' },
    { ...BOTH_COMPANIES, spares: '2,4', giveBack: 'stay,between,idle' },
  ],
  /** How much does a worker that stands still give, and to whom? */
  moves: [
    { machine: '2,8', spares: '0,4', amount: 'half,all,spread' },
    { machine: '2,8', spares: '4,8', accept: 'not-stalled,not-still,in-poll' },
  ],
  /** How often does the governor look, and when does a worker stand still? */
  ticks: [{ spares: '0,4', tickMs: '0.25,0.5,1,2,5', stallTicks: '1,2,3' }],
  /** How does it grow with CPUs, and do near-first rings keep moves inside a cache? */
  growth: [
    { machine: '2,8,2x8', seconds: '20', rings: 'near,anyone' },
    { machine: '2x4x8', seconds: '10', fast: '750', slow: '4', rings: 'near,anyone' },
    { machine: '2x4x8', seconds: '10', fast: '1200', slow: '6.4', rings: 'near,anyone' },
    { machine: '2x4x8', seconds: '10', fast: '1500', slow: '8', rings: 'near,anyone' },
    {
      machine: '2x4x8',
      seconds: '5',
      choice: 'any',
      crowd: '0.25',
      skew: '0,0.3',
      rings: 'near,anyone',
    },
    { machine: '2x16x8', seconds: '2', governors: '1,4', rings: 'near,anyone' },
    {
      machine: '2x16x8',
      seconds: '2',
      fast: '1200',
      slow: '6.4',
      governors: '8',
      rings: 'near,anyone',
    },
    { machine: '2x8x8x8', seconds: '1', governors: '1,16', rings: 'near' },
  ],
};
