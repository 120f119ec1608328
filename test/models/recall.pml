/*
 * Taking connections back out of the mailbox of a recipient that stands still, as in
 * src/scheduler/mailbox.ts (#take) and native/mail.cc: a giver puts, the recipient takes, and
 * the governor pauses the recipient at any step and recalls what waits.
 *
 * Claims: each entry is delivered or recalled, never both and never neither; and the
 * recipient comes to the end of the ring.
 *
 * Each M_... is a mistake that the checker must find.
 */
#define CAPACITY 2
#define PUTS     3
#define RECALLS  2
#define WRAP     8    /* free-running positions start over here: a multiple of CAPACITY */
#define START    7

#define AHEAD(later, earlier) ((later + WRAP - earlier) % WRAP)

byte kind[CAPACITY];      /* 1: a connection, 0: nothing (any more) */
byte value[CAPACITY];
byte head = START;
byte tail = START;
bool busy;
bool paused;              /* the recipient */
bool governing = true;
byte delivered[PUTS + 1];
byte recalled[PUTS + 1];
byte put;

proctype Giver() {
  byte at;
  do
  :: put == PUTS -> break
  :: else ->
     atomic { AHEAD(tail, head) < CAPACITY -> at = tail };
     value[at % CAPACITY] = put + 1;
     kind[at % CAPACITY] = 1;
#ifdef M_TAIL_MOVES_BACK
     tail = (tail + 1) % WRAP;
#else
     tail = (at + 1) % WRAP;
#endif
     put++
  od
}

/* The second process after init: a pause stops it between any two steps. */
proctype Recipient() provided (!paused) {
  byte at, until, what, which, ahead;
  do
  :: head != tail ->
     at = head;
     until = tail;
#ifndef M_BUSY_LATE
     busy = true;
#endif
#ifdef M_READ_AHEAD
     ahead = kind[(at + 1) % CAPACITY];
#endif
     do
     :: at == until -> break
     :: else ->
#ifdef M_READ_AHEAD
        if
        :: AHEAD(at, head) == 0 && which == 0 -> what = kind[at % CAPACITY]
        :: else -> what = ahead
        fi;
#else
        what = kind[at % CAPACITY];
#endif
#ifdef M_BUSY_LATE
        busy = true;
#endif
        which = value[at % CAPACITY];
#ifdef M_BUSY_ENDS_EARLY
        busy = false;
#endif
        if
#ifdef M_NOTHING_IS_DELIVERED
        :: true -> delivered[which]++
#else
        :: what == 1 -> delivered[which]++
        :: else
#endif
        fi;
        at = (at + 1) % WRAP;
        head = at
     od;
     busy = false;
     atomic { what = 0; which = 0; ahead = 0 }
  :: put == PUTS && head == tail && !governing -> break
  od
}

proctype Governor() {
  byte at, recalls;
  do
  :: recalls == RECALLS -> break
  :: else ->
     recalls++;
#ifndef M_NO_PAUSE
     paused = true;
#endif
     at = head;
     if
#ifndef M_BUSY_IGNORED
     :: at != tail && busy -> at = (at + 1) % WRAP
#endif
     :: else
     fi;
     do
     :: at == tail -> break
     :: else ->
        if
        :: kind[at % CAPACITY] == 1 ->
           recalled[value[at % CAPACITY]]++;
           kind[at % CAPACITY] = 0
        :: else
        fi;
        at = (at + 1) % WRAP
     od;
#ifdef M_TAIL_MOVES_BACK
     tail = head;
#endif
     paused = false
  od;
  governing = false
}

init {
  byte i = 1;
  atomic {
    run Giver();
    run Recipient();
    run Governor()
  };
  /* When nobody can go on. */
  timeout;
  assert(head == tail && put == PUTS);
  do
  :: i > PUTS -> break
  :: else ->
     assert(delivered[i] + recalled[i] == 1);
     i++
  od
}
