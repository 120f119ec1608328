/**
 * Offers: a firing is begun by one worker, whatever main and the workers do at the same time and
 * whoever dies. The source itself, in every interleaving.
 */
import t from 'tap';
import { misalignmentOf } from '../../src/native.js';
import {
  BLOCK,
  OFFER_PLACES,
  offerPlaces,
  offerWordsFor,
  ROW_BYTES,
  ROW_WORDS,
} from '../../src/scheduler/layout.js';
import { type Offer, OfferGiver, Offers } from '../../src/scheduler/offers.js';
import {
  type Edit,
  explore,
  type Scenario,
  type Stepping,
  stepping,
  type Thread,
} from '../support/stepping.js';

const NUMBER_MAX = 0x7fffffff;

t.test('no two words overlap, and each worker has rows of its own', async (t) => {
  const seen = new Set<number>(Object.values(BLOCK));
  for (let worker = 0; worker < 3; worker++) {
    const first = offerPlaces(worker);
    t.equal(first % ROW_WORDS, 0);
    for (let place = 0; place < OFFER_PLACES; place++) {
      if (seen.has(first + place)) t.fail(`${worker} ${place}`);
      if (first + place >= offerWordsFor(3)) t.fail('outside');
      seen.add(first + place);
    }
  }
  const { words } = Offers.create(3, misalignmentOf);
  t.equal(misalignmentOf?.(words, ROW_BYTES) ?? 0, 0, 'rows are aligned in memory');
  t.throws(() => Offers.attach(new Int32Array(new SharedArrayBuffer(4_096))), RangeError);
  for (const workers of [0, 1.5, 1e9]) t.throws(() => Offers.create(workers, null), RangeError);
});

t.test('an offer is begun once, or taken back once', async (t) => {
  const offers = Offers.create(2, misalignmentOf);
  const giver = offers.giver(1);
  const taker = Offers.attach(offers.words).taker(1);
  const offer = giver.offer() as Offer;
  t.notOk(giver.hasBegun(offer));
  t.ok(taker.begin(offer));
  t.ok(giver.hasBegun(offer));
  t.notOk(taker.begin(offer), 'not twice');
  t.notOk(giver.takeBack(offer), 'not after that');
  giver.free(offer);
  const next = giver.offer() as Offer;
  t.equal(next.place, offer.place);
  t.notOk(taker.begin(offer), 'a message that comes late finds another offer');
  t.ok(giver.takeBack(next));
  t.notOk(taker.begin(next));
  t.notOk(offers.taker(0).begin(next), 'other workers have other places');
});

t.test('places are bounded, and numbers go on after overflow', async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(4 * offerWordsFor(1)));
  const giver = new OfferGiver(words, offerPlaces(0), NUMBER_MAX - 1);
  const all = Array.from({ length: OFFER_PLACES }, () => giver.offer() as Offer);
  t.equal(giver.room, 0);
  t.equal(giver.offer(), null);
  t.same(
    all.slice(0, 3).map(({ number }) => number),
    [NUMBER_MAX, 1, 2],
  );
  t.equal(new Set(all.map(({ place }) => place)).size, OFFER_PLACES);
  for (const offer of all) giver.free(offer);
  t.equal(giver.room, OFFER_PLACES);
  t.ok(words.every((word) => word === 0));
});

// --- Every interleaving ---------------------------------------------------------------

interface SteppingOffers {
  OfferGiver: new (
    words: Int32Array,
    first: number,
    last: number,
  ) => {
    offer(): Stepping<Offer | null>;
    hasBegun(offer: Offer): Stepping<boolean>;
    takeBack(offer: Offer): Stepping<boolean>;
    free(offer: Offer): Stepping<void>;
  };
  OfferTaker: new (words: Int32Array, first: number) => { begin(offer: Offer): Stepping<boolean> };
}

interface Plan {
  readonly last: number;
  /** Whether worker 0 dies, at any step. */
  readonly dies: boolean;
}

/**
 * Main offers firing 0 to worker 0, takes it back at some moment and offers it to worker 1, and
 * offers firing 1 to worker 0 then, whose place may be the one that firing 0 had.
 */
function scenario({ OfferGiver, OfferTaker }: SteppingOffers, { last, dies }: Plan): Scenario {
  const words = new Int32Array(new SharedArrayBuffer(4 * offerWordsFor(2)));
  const givers = [0, 1].map((worker) => new OfferGiver(words, offerPlaces(worker), last));
  /** Messages that are on their way to a worker. */
  const posted: { firing: number; offer: Offer }[][] = [[], []];
  const begun = [0, 0];
  const lost = [0, 0];
  let dead = false;
  let over = false;

  function* offer(worker: number, firing: number): Generator<undefined, Offer> {
    const given = (yield* (givers[worker] as (typeof givers)[0]).offer()) as Offer;
    yield;
    posted[worker]?.push({ firing, offer: given });
    return given;
  }
  function* main(): Thread {
    const [first, second] = givers as [(typeof givers)[0], (typeof givers)[0]];
    const given = new Map<number, Offer>([[0, yield* offer(0, 0)]]);
    if (yield* first.takeBack(given.get(0) as Offer)) {
      given.delete(0);
      yield* offer(1, 0);
    }
    given.set(1, yield* offer(0, 1));
    if (dies) {
      yield;
      dead = true;
      for (const [firing, at] of given) {
        const hadBegun = yield* first.hasBegun(at);
        yield* first.free(at);
        if (hadBegun) lost[firing] = (lost[firing] as number) + 1;
        else yield* offer(1, firing);
      }
    }
    void second;
    yield;
    over = true;
  }
  function* worker(index: number): Thread {
    const taker = new OfferTaker(words, offerPlaces(index));
    const isDead = () => index === 0 && dead;
    for (;;) {
      yield () => isDead() || (posted[index]?.length ?? 0) > 0 || over;
      if (isDead()) return;
      const message = posted[index]?.shift();
      if (message === undefined) return;
      const begin = taker.begin(message.offer);
      let step = begin.next();
      while (!step.done) {
        yield;
        if (isDead()) return;
        step = begin.next();
      }
      // It counts from the step that it is begun in: the thread may die right after.
      if (step.value) begun[message.firing] = (begun[message.firing] as number) + 1;
    }
  }
  return {
    threads: [main(), worker(0), worker(1)],
    state() {
      const used = [0, 1].flatMap((index) => [
        ...words.slice(offerPlaces(index) + OFFER_PLACES - 3, offerPlaces(index) + OFFER_PLACES),
        ...words.slice(offerPlaces(index), offerPlaces(index) + 3),
      ]);
      return `${used}|${JSON.stringify(posted)}|${begun}|${lost}|${dead}|${over}`;
    },
    end() {
      if (begun.some((times) => times !== 1)) throw new Error(`begun ${begun}, lost ${lost}`);
      if (lost.some((times, firing) => times > (begun[firing] as number))) {
        throw new Error(`lost ${lost}`);
      }
    },
  };
}

const PLANS: Record<string, Plan> = {
  'taken back while it is begun': { last: 0, dies: false },
  'numbers next to overflow': { last: NUMBER_MAX - 1, dies: false },
  'a worker that dies': { last: 0, dies: true },
};

function exploreAll(edits: readonly Edit[] = []) {
  const module = stepping<SteppingOffers>('offers', 'every access', edits);
  return Object.entries(PLANS).map(([name, plan]) => ({
    name,
    ...explore(() => scenario(module, plan)),
  }));
}

t.test('in every interleaving each firing is begun once', async (t) => {
  for (const { name, failure, states, ends } of exploreAll()) {
    t.equal(failure, null, `${name}: ${states} states, ${ends} ends`);
  }
});

const MUTANTS: Record<string, Edit> = {
  'a worker that begins without looking': [
    'return Atomics.compareExchange(this.words, at, number, -number) === number;',
    'if (Atomics.load(this.words, at) !== number) return false;\n    Atomics.store(this.words, at, -number);\n    return true;',
  ],
  'main takes back without looking': [
    'if (Atomics.compareExchange(this.words, at, number, 0) !== number) return false;',
    'if (Atomics.load(this.words, at) !== number) return false;\n    Atomics.store(this.words, at, 0);',
  ],
  'places whose offers all have one number': [
    'this.#last = this.#last === NUMBER_MAX ? 1 : this.#last + 1;',
    'this.#last = 1;',
  ],
  'what was begun looks as if it were not': [
    'return Atomics.load(this.words, this.#first + place) === -number;',
    'return Atomics.load(this.words, this.#first + place) === number + 1;',
  ],
};

for (const [name, edit] of Object.entries(MUTANTS)) {
  t.test(`a mistake is found: ${name}`, async (t) => {
    const found = exploreAll([edit]).some(({ failure }) => failure !== null);
    t.ok(found);
  });
}
