// Looking into another thread's event loop, and taking connections out of it.
#ifndef GYRE_TAKING_H_
#define GYRE_TAKING_H_

#include <stddef.h>
#include <stdint.h>

#include "mail.h"
#include "peer.h"

namespace gyre {

// Where the words of a connection's entry are. src/scheduler/layout.ts decides;
// it is passed in, so that no offset is written down twice.
struct TableLayout {
  int32_t entry_words;
  int32_t owner, state, listener, generation, boundary;  // word offsets in an entry
  int32_t fresh, between, in_message, listening, taken;   // values of the state word
  int32_t fd_end;  // moving makes no descriptor from here on
};

struct Table {
  int32_t* words;
  int32_t descriptors;  // entries
  TableLayout layout;
};

// What a loop has ready right now. Taken without pausing it, so only an estimate.
struct Ready {
  int32_t movable = 0;  // connections with input, at their boundary as far as the table says
  int32_t queued = 0;   // length of the accept queues of its ready listening sockets
  int32_t other = 0;    // anything else: connections inside a message, wake-ups, …
  int32_t mail = 0;     // connections in its mailbox
};

// The shared memory that the governor works on.
struct Shared {
  Table table;
  Mail mail;
};

// One thing taken: a mailbox entry, and where it comes from.
struct Taken {
  MailEntry entry;     // its fd is the descriptor that the recipient gets
  int32_t old_fd;      // the victim's descriptor, now a socket that is never readable; or:
};
enum : int32_t { kFromQueue = -1, kFromMail = -2 };

// Any thread. 0, or -ESRCH if the peer is gone.
int Peek(uint32_t peer_id, int32_t worker, const Shared& shared, Ready* ready);

// What the loop behind `epoll_fd`, the calling thread's own, has ready. `fds` gets the
// movable connections, oldest first, and then the listening sockets that have a queue, as
// many as there is room for; their numbers are in `connections` and `listeners`.
struct OwnReady {
  Ready ready;
  int32_t connections = 0;
  int32_t listeners = 0;
};
OwnReady PeekOwn(int epoll_fd, int32_t owner, const Table& table, int32_t* fds, int max);

// Whether the kernel confirms that exactly `boundary` bytes of `fd` were consumed. Of a
// `fresh` connection also that nothing was written: a server that speaks first would do
// so again elsewhere.
bool AtBoundary(int fd, double boundary, bool fresh);

// How connections are counted (src/scheduler/places.ts): words of the scoreboard.
struct Quota {
  int32_t* places;      // taken of all workers together; read-modify-write
  int32_t places_max;   // none is taken beyond these
  int32_t accept_max;   // most connections to accept
  int32_t* taken;       // taken from this worker; written while it is paused
};

struct TakeResult {
  int taken = 0;
  int mismatches = 0;     // candidates inside a message after all, which the table now says
  int failures = 0;       // system calls that failed; those connections stayed
  int64_t pause_ns = 0;   // how long the victim stood still; 0 if it was not paused
};

// Pauses the peer, takes at most `max` (<= kTakeMax) of its ready connections, then of those
// that are so new that its loop does not watch them yet, then of its mailbox, then of its
// accept queues as far as `quota` allows, then, if `idle_from` >= 0, of its idle connections with
// descriptors from there on, and lets it go on. `never_fd` is a socket that is never
// readable. Returns 0, -ESRCH (gone) or -ETIMEDOUT (could not be paused): then
// nothing was taken.
constexpr int kTakeMax = 256;
// Entries of the table that one pause looks at for idle connections.
constexpr int kIdleScanMax = 1024;
int Take(uint32_t peer_id, int32_t worker, const Shared& shared, int never_fd, int max,
         const Quota& quota, int timeout_us, int idle_from, Taken* out, TakeResult* result);

// Pauses the peer and takes its listening descriptor `fd` away for good, if that still is the
// socket that the kernel names `cookie` (SO_COOKIE): another socket, on which nothing ever arrives,
// is under that number then, and out of the peer's epoll set. The peer's thread is about to end, and
// would accept what it no longer can serve. 0, -ESRCH (gone), -ETIMEDOUT (could not be paused),
// -ENOENT (another socket), or -errno; then it is as it was.
int Withdraw(uint32_t peer_id, int fd, uint64_t cookie, int timeout_us);

}  // namespace gyre

#endif  // GYRE_TAKING_H_
