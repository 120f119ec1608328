/** What a giver has made is noted until it is somebody else's, and then no longer counted by it. */
import t from 'tap';
import { Hand } from '../../src/scheduler/hand.js';
import { Hands } from '../../src/scheduler/hands.js';
import { ENTRY_WORDS, EntryKind, HAND_ACCEPTED } from '../../src/scheduler/layout.js';

const [HAND, COUNT] = [0, 1];

t.test('a hand has what was made, until that is published', async (t) => {
  const words = Int32Array.of(0, 5);
  const hand = new Hand(words, HAND, COUNT);
  t.equal(
    hand.make(() => 9),
    9,
  );
  t.same([...words], [9, 5]);
  hand.pass(() => t.same([...words], [9, 5], 'it is still the giver’s while it is published'));
  t.same([...words], [0, 4], 'and then neither in the hand nor counted');
});

t.test('a call that fails leaves nothing to close', async (t) => {
  const words = Int32Array.of(0, 5);
  const hand = new Hand(words, HAND, COUNT);
  hand.make(() => -24);
  t.ok((words[HAND] as number) <= 0);
  hand.accept(() => -11);
  t.equal(words[HAND], 0);
});

t.test('what was accepted for somebody else says so', async (t) => {
  const words = Int32Array.of(0, 5);
  const accepted = Int32Array.of(7);
  const hand = new Hand(words, HAND, null);
  hand.accept(() => 8);
  t.equal(words[HAND], 8 | HAND_ACCEPTED);
  hand.receive(7, accepted);
  t.same([words[HAND], accepted[0]], [7 | HAND_ACCEPTED, -1], 'it has one owner');
  hand.pass(() => {});
  t.same([...words], [0, 5], 'where it is not counted nothing is');
});

t.test('what is discarded is closed before the hand is empty', async (t) => {
  const words = Int32Array.of(0, 5);
  const hand = new Hand(words, HAND, COUNT);
  hand.make(() => 9);
  hand.discard((fd) => t.same([fd, words[HAND]], [9, 9]));
  t.same([...words], [0, 5], 'its connection is still the giver’s');
});

t.test(
  'the governor’s hands say what is in them, on any thread, until it is passed on',
  async (t) => {
    const hands = Hands.create(3);
    t.equal(hands.entries.length, 3 * ENTRY_WORDS, 'there is room for three');
    const seen = Hands.attach(hands.words);
    t.equal(seen.count, 0);
    hands.victim = 2;
    hands.hold(() => {
      // As native/taking.h has it: kind, fd, old fd, listener, generation, unused, boundary.
      hands.entries.set([EntryKind.CONNECTION, 30, 20, 4, 6], ENTRY_WORDS);
      new Float64Array(hands.words.buffer, hands.entries.byteOffset, 8).set([2 ** 40], 7);
      return 2;
    });
    t.same([seen.victim, seen.count], [2, 2]);
    const taken = { fd: 30, oldFd: 20, listener: 4, generation: 6, boundary: 2 ** 40 };
    t.same(seen.at(1), { kind: EntryKind.CONNECTION, ...taken });
    hands.hand(1).pass(() => {});
    t.same(
      seen.at(1),
      { kind: EntryKind.NOTHING, ...taken },
      'its old number is still to be told of',
    );
    hands.empty();
    t.equal(seen.count, 0);
  },
);
