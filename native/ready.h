// What waits in an event loop, and what the kernel says of it: events that its thread could handle now.
//
// Nothing is changed by looking: epoll is level-triggered here. No thread is paused for it, so of
// another thread's loop everything is an estimate, and of one's own it is exact.
#ifndef GYRE_READY_H_
#define GYRE_READY_H_

#include <stdint.h>

#include "connection_table.h"
#include "mail.h"
#include "peer.h"

namespace gyre {

// What a loop has ready right now.
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

// Connections that the peer has opened lately and that have input, of which its loop may not watch
// some yet. `fds` has room for kNewcomers. Returns how many. The caller holds the peer's life.
int ReadyNewcomers(const Peer& peer, int32_t* fds);

// Of what epoll says: input and nothing else. A connection that failed or hung up is left to its owner.
bool OnlyInput(uint32_t events);

// Events that one look at an epoll set tells of; the next tells of others.
constexpr int kEventsMax = 256;

}  // namespace gyre

#endif  // GYRE_READY_H_
