/*
 * Mailboxes and doorbell, as in src/scheduler/mailbox.ts: two givers, one recipient that
 * parks, and main, which may find that giver 0 has died at any step.
 *
 * Claims: every published entry is taken, once, whole and in its giver's order; and
 * nobody sleeps while something waits for it.
 *
 * Each M_... is a mistake that the checker must find.
 */
#define GIVERS   2
#define CAPACITY 2
#define PUTS(g)  (3 - 2 * g)
#define MAX      2    /* entries that one drain takes at most */
#define WRAP     8    /* free-running positions start over here: a multiple of CAPACITY */
#define START    7

#ifdef M_OVERFULL
#define ROOM (CAPACITY + 1)
#else
#define ROOM CAPACITY
#endif

#define AHEAD(later, earlier) ((later + WRAP - earlier) % WRAP)
#define PLACE(g, position)    (g * CAPACITY + position % CAPACITY)

/* An entry is two words, so that one which is half written shows. */
byte low[GIVERS * CAPACITY];
byte high[GIVERS * CAPACITY];
byte head[GIVERS] = START;
byte tail[GIVERS] = START;
byte bell;
byte wakes;               /* what the recipient parks on: a wake adds one */
bool dead;                /* giver 0 */
byte published[GIVERS];
byte taken[GIVERS];
byte done;

inline publish(g) {
  atomic { tail[g] = (tail[g] + 1) % WRAP; published[g]++ }
}

inline ring(g) {
#ifdef M_RING_BY_STORE
  before = bell;
  bell = before | (1 << g)
#else
  atomic { before = bell; bell = before | (1 << g) }
#endif
}

inline wake() {
  wakes++
}

/* The first process after init is giver 0. */
proctype Giver(byte g) provided (_pid != 1 || !dead) {
  byte n = 1;
  byte before, at;
  do
  :: n > PUTS(g) -> break
  :: else ->
     /* A full ring refuses; the giver comes again when there is room. */
     atomic { AHEAD(tail[g], head[g]) < ROOM -> at = tail[g] };
#ifdef M_PUBLISH_FIRST
     publish(g);
#endif
     low[PLACE(g, at)] = n;
     high[PLACE(g, at)] = n;
#ifdef M_RING_FIRST
     ring(g);
     publish(g);
#else
#ifndef M_PUBLISH_FIRST
     publish(g);
#endif
     ring(g);
#endif
     atomic {
       if
       :: before == 0 -> wake()
       :: else
       fi;
       before = 0;
       at = 0;
       n++
     }
  od;
  done++
}

proctype Recipient() {
  byte seen, rung, g, left, at, until, a, b;
  do
  ::
#ifndef M_NO_RECHECK
     seen = wakes;
#endif
#ifdef M_CLEAR_LATE
     atomic { rung = bell; left = MAX; g = 0 };
#else
#ifdef M_CLEAR_BY_STORE
     rung = bell;
     atomic { bell = 0; left = MAX; g = 0 };
#else
     atomic { rung = bell; bell = 0; left = MAX; g = 0 };
#endif
#endif
     do
     :: atomic { g < GIVERS && left > 0 && (rung & (1 << g)) -> at = head[g]; until = tail[g] };
        do
        :: at != until && left > 0 ->
#ifdef M_FREE_EARLY
           head[g] = (at + 1) % WRAP;
#endif
           a = low[PLACE(g, at)];
           b = high[PLACE(g, at)];
           d_step {
             assert(a == b);
             assert(a == taken[g] + 1);
             taken[g]++;
             left--;
             a = 0;
             b = 0;
             at = (at + 1) % WRAP;
             head[g] = at
           }
        :: atomic { at == until || left == 0 ->
             if
             :: left > 0 -> rung = rung & ~(1 << g)
             :: else
             fi;
             at = 0;
             until = 0;
             g++;
             break
           }
        od
     :: atomic { g < GIVERS && left > 0 && !(rung & (1 << g)) -> g++ }
     :: atomic { g == GIVERS || left == 0 -> g = 0; left = 0; break }
     od;
#ifdef M_CLEAR_LATE
     bell = 0;
#endif
     atomic {
#ifndef M_NO_RERING
       bell = bell | rung;
#endif
       rung = 0
     };
     if
     :: bell != 0
     :: else ->
#ifdef M_NO_RECHECK
        seen = wakes;
#endif
        (wakes != seen)   /* Atomics.wait: compares and sleeps in one step */
     fi
  od
}

proctype Main() {
  byte before;
  if
  :: skip
  :: dead = true;
#ifndef M_NO_RING_FOR
     ring(0);
#endif
     wake()
  fi;
  done++
}

init {
  atomic {
    run Giver(0);
    run Giver(1);
    run Recipient();
    run Main()
  };
  /* When nobody can go on. */
  timeout;
  assert(taken[0] == published[0]);
  assert(taken[1] == PUTS(1));
  assert(dead || (done == 3 && taken[0] == PUTS(0)))
}
