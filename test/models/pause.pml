/*
 * The safepoint, as in native/safepoint.cc: a governor pauses a thread by a word and a
 * signal, may give up after a time, and the thread may exit.
 *
 * Claims: while the governor acts, the thread stands in its handler; afterwards it goes
 * on; no signal is sent to a thread that is gone; and nobody waits for ever.
 *
 * Each M_... is a mistake that the checker must find.
 */
#define ROUNDS 3

mtype = { NONE, REQUESTED, PAUSED };
mtype pause = NONE;
bool pending;             /* SIGURG: many are one */
bool victim_asleep;       /* in futex(2) */
bool governor_asleep;
bool held;                /* the thread is between its CAS and the end of its wait */
bool life;                /* the mutex Peer::life */
bool alive = true;        /* Peer::alive */
bool gone;                /* the thread itself */
bool governor_done;

inline handler() {
  pending = false;
#ifdef M_HANDLER_STORE
  pause = PAUSED; mine = true; held = true;
#else
  atomic {
    if
    :: pause == REQUESTED -> pause = PAUSED; mine = true; held = true
    :: else -> mine = false
    fi
  };
#endif
  if
  :: mine ->
     governor_asleep = false;
     do
     :: pause != PAUSED -> break
     :: else ->
#ifdef M_WAIT_BLIND
        victim_asleep = true;
#else
        atomic {   /* futex(2) compares and sleeps in one step */
          if
          :: pause == PAUSED -> victim_asleep = true
          :: else
          fi
        };
#endif
        !victim_asleep
     od;
     held = false;
     mine = false
  :: else
  fi
}

active proctype Victim() {
  bool mine, busy;
  do
  :: pending -> handler()
  :: busy = !busy            /* an instruction */
  :: break
  od;
  /* RemovePeer: signals still arrive while it waits for the mutex. */
#ifndef M_NO_LIFE
  do
  :: atomic { !life -> life = true }; break
  :: pending -> handler()
  od;
#endif
  alive = false;
  life = false;
  do
  :: pending -> handler()
  :: atomic { gone = true; break }
  od
}

active proctype Governor() {
  byte round;
  bool got;
  do
  :: round == ROUNDS -> break
  :: else ->
     round++;
     got = false;
     atomic { !life -> life = true };
     if
     :: !alive
     :: else ->
        atomic {
          assert(pause == NONE);
          pause = REQUESTED
        };
        if
        :: assert(!gone); pending = true;    /* tgkill(2) */
           do
           :: pause != REQUESTED -> got = true; break
           :: pause == REQUESTED ->
              atomic {
                if
                :: pause == REQUESTED -> governor_asleep = true
                :: else
                fi
              };
              if
              :: !governor_asleep
              :: governor_asleep = false;    /* it took too long */
#ifdef M_CANCEL_STORE
                 pause = NONE;
#else
                 atomic {
                   if
                   :: pause == REQUESTED -> pause = NONE
                   :: else -> got = true
                   fi
                 };
#endif
#ifdef M_CANCEL_IGNORED
                 got = false;
#endif
#ifdef M_ACT_AFTER_CANCEL
                 got = true;
#endif
                 break
              fi
           od
        :: skip;                             /* tgkill(2) failed */
#ifdef M_FAILURE_STORE
           pause = NONE
#else
           atomic {
             if
             :: pause == REQUESTED -> pause = NONE
             :: else -> got = true           /* an older signal came just now */
             fi
           }
#endif
        fi;
        if
        :: got ->
           assert(held);
           skip;                             /* its system calls */
           assert(held);
           pause = NONE;
#ifndef M_RESUME_SILENT
           victim_asleep = false
#endif
        :: else
        fi
     fi;
     life = false
  od;
  governor_done = true
}

active proctype Monitor() {
  timeout;
  assert(gone && governor_done && pause == NONE)
}
