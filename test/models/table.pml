/*
 * The connection table, the kernel's descriptors and mailboxes, as in
 * src/scheduler/connection-table.ts and native/taking.cc: two workers accept, serve and
 * close; a governor pauses worker 0 and moves connections to worker 1; and worker 0 gives
 * one away by itself.
 *
 * Claims: a connection is taken between two messages only, and from its owner only; one
 * worker reads it at a time; a DROP closes only what was taken; and in the end each
 * connection has one descriptor, whose entry names its owner.
 *
 * Each M_... is a mistake that the checker must find.
 */
#define NUMBERS 3         /* descriptor numbers */
#define SOCKETS 2         /* connections that are ever accepted, numbered from 1 */
#define PLUG    9         /* the socket that is never readable */
#define NOBODY  9
#define MOVES   2
#define SERVES  1         /* messages of each worker */

mtype = { UNTRACKED, FRESH, BETWEEN, IN_MESSAGE, TAKEN, GIVING };
mtype = { CONNECTION, DROP };

byte kernel[NUMBERS];     /* socket that a number refers to; 0: none */
byte accepted;            /* connections so far */
byte consumed[SOCKETS + 1];
bool message[SOCKETS + 1];                 /* truth: inside a message */
byte holder[SOCKETS + 1] = NOBODY;         /* truth: worker with a wrapper of it */
bool closed[SOCKETS + 1];

/* The table. */
byte owner[NUMBERS] = NOBODY;
mtype state[NUMBERS] = UNTRACKED;
byte generation[NUMBERS];
byte boundary[NUMBERS];

bool paused;              /* worker 0 */
bool governing = true;
bool finished[2];
chan mail[2] = [4] of { mtype, byte, byte, byte };   /* kind, number, generation, boundary */

inline lowest(fd, socket) {
  fd = 0;
  do
  :: kernel[fd] == 0 -> kernel[fd] = socket; break
  :: else -> fd++; assert(fd < NUMBERS)
  od
}

inline open(fd, who, at, how) {
  owner[fd] = NOBODY;
  generation[fd]++;
  boundary[fd] = at;
  state[fd] = how;
  owner[fd] = who
}

inline shut(fd) {
  atomic { assert(kernel[fd] != 0); if :: kernel[fd] != PLUG -> closed[kernel[fd]] = true; holder[kernel[fd]] = NOBODY :: else fi; kernel[fd] = 0 }
}

inline close(fd) {
#ifdef M_CLOSE_LATE
  shut(fd);
  state[fd] = UNTRACKED;
  owner[fd] = NOBODY;
#else
  state[fd] = UNTRACKED;
  owner[fd] = NOBODY;
  shut(fd);
#endif
  atomic { mine = 0; version = 0; fd = 0 }
}

/* One wrapper at a time is enough: `fd` and `mine`, its socket and generation. */
/* The first process after init is worker 0. */
proctype Worker(byte me) provided (_pid != 1 || !paused) {
  byte fd, mine, version, serves;
  byte number, which, at;
  bool gave;
  mtype was;
  do
  :: atomic { mine == 0 && accepted < SOCKETS && nfull(mail[me]) ->
       accepted++; mine = accepted; lowest(fd, mine); holder[mine] = me };
     open(fd, me, 0, FRESH);
     version = generation[fd]
  :: mine != 0 && serves < SERVES ->
     serves++;
     atomic {
       if
       :: kernel[fd] == mine ->
          assert(holder[mine] == me);
          consumed[mine]++;
          message[mine] = true
       :: else                             /* EAGAIN */
       fi
     };
     if
     :: message[mine] && kernel[fd] == mine ->
        state[fd] = IN_MESSAGE;
        assert(kernel[fd] == mine && holder[mine] == me);
        message[mine] = false;             /* the response is written */
        boundary[fd] = consumed[mine];
        state[fd] = BETWEEN
     :: else
     fi
  :: me == 0 && mine != 0 && !gave && nfull(mail[1]) ->
     gave = true;
     was = state[fd];
     if
     :: was == FRESH || was == BETWEEN ->
        /* Compare and exchange. */
        atomic {
          if
          :: state[fd] == was -> which = 1;
#ifndef M_GIVE_UNMARKED
             state[fd] = GIVING
#endif
          :: else -> which = 0
          fi
        };
        if
        :: which == 1 ->
           if
           :: consumed[mine] == boundary[fd] ->
              /* dup(2); then the wrapper is dropped, and the entry before its descriptor. */
              atomic { lowest(number, kernel[fd]); at = boundary[fd] };
              mail[1]!CONNECTION(number, 0, at);
              state[fd] = UNTRACKED;
              owner[fd] = NOBODY;
              atomic {
                assert(kernel[fd] != PLUG);
                if
                :: holder[kernel[fd]] == me -> holder[kernel[fd]] = NOBODY
                :: else
                fi;
                kernel[fd] = 0; mine = 0; version = 0; fd = 0
              }
           :: else -> state[fd] = IN_MESSAGE
           fi
        :: else
        fi
     :: else
     fi;
     atomic { number = 0; which = 0; at = 0; was = 0 }
  :: mine != 0 -> close(fd)                /* a time-out, or the peer has gone */
  :: mine == 0 && mail[me]?[CONNECTION] ->
     mail[me]?CONNECTION(number, which, at);
     fd = number;
     atomic { mine = kernel[fd]; assert(mine != 0 && mine != PLUG); holder[mine] = me };
     open(fd, me, at, BETWEEN);
     version = generation[fd];
     atomic { number = 0; which = 0; at = 0 }
  :: mail[me]?[DROP] ->
     mail[me]?DROP(number, which, at);
     if
#ifdef M_NO_GENERATION
     :: mine != 0 && number == fd ->
#else
     :: mine != 0 && number == fd && which == version ->
#endif
        assert(kernel[fd] == PLUG);
        close(fd)
     :: else
     fi;
     atomic { number = 0; which = 0; at = 0 }
  :: !governing && (me == 0 || finished[0]) && empty(mail[me]) && (mine == 0 || kernel[fd] != PLUG) -> break
  od;
  finished[me] = true
}

proctype Governor() {
  byte moves, fd, copy, socket, which, at;
  do
  :: moves == MOVES -> break
  :: else ->
     moves++;
     if
     :: fd = 0
     :: fd = 1
     :: fd = 2
     fi;
     paused = true;
     if
#ifdef M_NO_OWNER
     :: owner[fd] != NOBODY && (state[fd] == FRESH || state[fd] == BETWEEN) ->
#else
     :: owner[fd] == 0 && (state[fd] == FRESH || state[fd] == BETWEEN) ->
#endif
        atomic { socket = kernel[fd]; which = generation[fd]; at = boundary[fd] };
        if
#ifndef M_NO_KERNEL
        :: socket == PLUG || socket == 0 || consumed[socket] != at -> socket = 0
#endif
        :: else ->
#ifndef M_DUP_LATE
           assert(holder[socket] == 0);
           assert(!message[socket]);
           atomic { lowest(copy, socket); holder[socket] = NOBODY };
#ifndef M_NO_PLUG
           kernel[fd] = PLUG;
#endif
#endif
           state[fd] = TAKEN
        fi
     :: else
     fi;
     paused = false;
#ifdef M_DUP_LATE
     if
     :: socket != 0 ->
        assert(kernel[fd] == socket);
        assert(!message[socket]);
        atomic { lowest(copy, socket); holder[socket] = NOBODY };
        kernel[fd] = PLUG
     :: else
     fi;
#endif
     if
     :: socket != 0 ->
        mail[1]!CONNECTION(copy, 0, at);
        mail[0]!DROP(fd, which, 0)
     :: else
     fi;
     atomic { fd = 0; copy = 0; socket = 0; which = 0; at = 0 }
  od;
  governing = false
}

init {
  byte fd, socket;
  atomic {
    run Worker(0);
    run Worker(1);
    run Governor()
  };
  /* When nobody can go on. */
  timeout;
  assert(finished[0] && finished[1]);
  do
  :: fd == NUMBERS -> break
  :: else ->
     socket = kernel[fd];
     assert(socket != PLUG);
     if
     :: socket != 0 ->
        assert(!closed[socket]);
        assert(owner[fd] == holder[socket] && state[fd] != UNTRACKED)
     :: else -> assert(state[fd] == UNTRACKED || state[fd] == TAKEN)
     fi;
     fd++
  od
}
