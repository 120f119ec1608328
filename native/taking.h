// Taking connections out of another thread's event loop, while that thread stands still.
//
// The table, the mail and the quota are memory that the caller keeps. Nothing here closes what was
// taken: it is the caller's, who must find an owner for it. What a victim's number leads to
// after that is a socket that is never readable; the victim closes it when it is told to.
#ifndef GYRE_TAKING_H_
#define GYRE_TAKING_H_

#include <stdint.h>

#include "mail.h"
#include "ready.h"

namespace gyre {

// One thing taken: a mailbox entry, and where it comes from.
struct Taken {
  MailEntry entry;     // its fd is the descriptor that the recipient gets
  int32_t old_fd;      // the victim's descriptor, now a socket that is never readable; or:
};
enum : int32_t { kFromQueue = -1, kFromMail = -2 };

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
