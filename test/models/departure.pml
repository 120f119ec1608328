/*
 * Putting something into the mailbox of a worker that ends, as in src/workers/outbox.ts and
 * src/runtime/moving.ts: a giver puts and then looks whether the recipient has a peer; main
 * says that it has none and then takes out what is there. The recipient dies at any step,
 * a successor may take its place, and the giver may die as well.
 *
 * Claims: what was put is taken, once, by the recipient, by main or by the successor; and
 * two never read the mailbox at a time.
 *
 * Each M_... is a mistake that the checker must find.
 */
#define PUTS 2

byte box;                 /* entries put and not taken */
byte taken;
byte published;
byte peer = 1;            /* 0: none; 1: the first recipient; 2: its successor */
byte alive = 1;           /* which of them runs; 0: none */
byte wakes[3];
byte left;                /* messages to main: something was put for somebody gone */
bool arrived;             /* message to main: the successor runs */
bool giver_dead;
bool giver_done;
bool main_done;
byte readers;

inline read() {
  readers++;
  assert(readers == 1);
  do
  :: atomic { box > 0 -> box--; taken++ }
  :: else -> break
  od;
  readers--
}

/* The first process after init. */
proctype Giver() provided (!giver_dead) {
  byte n, seen;
  do
  :: n == PUTS -> break
  :: else ->
     n++;
#ifdef M_LOOK_FIRST
     seen = peer;
#endif
     atomic { box++; published++ };
#ifndef M_LOOK_FIRST
     seen = peer;
#endif
     if
#ifndef M_NOT_TOLD
     :: seen == 0 -> left++
#endif
     :: else -> wakes[seen]++
     fi
  od;
  giver_done = true
}

/* The second process after init: the first recipient. */
proctype First() provided (alive == 1) {
  do
  :: wakes[1] > 0 -> wakes[1] = 0; read()
  od
}

/* The third process after init. */
proctype Successor() {
  (alive == 2);
  arrived = true;
  do
  :: wakes[2] > 0 -> wakes[2] = 0; read()
  :: main_done && giver_done && left == 0 && wakes[2] == 0 -> break
  od
}

proctype Main() {
  bool restarts, mourned;
  if
  :: restarts = true
  :: restarts = false
  fi;
  /* The thread of the first ends; what it was reading just then counts as not taken. */
  atomic { alive = 0; readers = 0 };
#ifdef M_TAKE_OUT_FIRST
  read();
  peer = 0;
#else
  peer = 0;
  read();
#endif
  if
  :: restarts -> alive = 2
  :: else
  fi;
  do
  :: arrived ->
     arrived = false;
     peer = 2;
#ifndef M_NO_WAKE_ON_ARRIVAL
     wakes[2]++
#endif
  :: left > 0 ->
     left--;
     if
#ifdef M_MAIN_READS_TOO
     :: true -> read()
#else
     :: alive == 0 -> read()
#endif
     :: else
     fi
  :: giver_dead && !mourned ->
     mourned = true;
#ifndef M_DEATH_UNNOTICED
     if
     :: alive == 0 -> read()
     :: peer == 2 -> wakes[2]++
     :: else
     fi
#endif
  :: !giver_dead && !giver_done -> giver_dead = true; giver_done = true
  :: giver_done && left == 0 && !arrived && (!giver_dead || mourned) && (!restarts || peer == 2) -> break
  od;
  main_done = true
}

init {
  atomic {
    run Giver();
    run First();
    run Successor();
    run Main()
  };
  /* When nobody can go on. */
  timeout;
  assert(main_done);
  assert(box == 0);
  assert(taken == published)
}
