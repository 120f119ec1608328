// Makes a loop change its epoll set by epoll_ctl(2), one call for each change.
//
// libuv 1.45 and later, where the kernel has io_uring, submits its changes to a ring in batches. The kernel makes
// a change at once if nobody holds the epoll set just then; else a kernel thread makes it later, and libuv waits
// for that, but not if a signal comes. We do both: other threads look into the set, and signal the
// loop's thread to pause it. Then a change is made while the thread is paused, or after its descriptor was
// closed; libuv finds that the change failed, and aborts the process.
#ifndef GYRE_BATCHING_H_
#define GYRE_BATCHING_H_

#include "uv_api.h"

namespace gyre {

// Closes the ring of `loop`, whose thread calls, and not from within its poll phase's own code: any callback
// is right. False if none was found, neither open nor closed.
bool StopBatching(uv_loop_t* loop);

// Whether a loop of this process has a ring: then one in which none was found may have one that was not
// recognized. Reads the table of descriptors.
bool AnyBatches();

}  // namespace gyre

#endif  // GYRE_BATCHING_H_
