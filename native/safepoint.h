// Pausing another thread at an instruction boundary, so that its connections can
// be taken from it while none of its system calls is in flight. A signal stops it and a futex holds
// it (signal(7), futex(2)); test/models/pause.pml and test/native/pause.cc have the protocol.
//
// Several threads may pause others at once. Who is paused stands still until Resume(), so whoever
// forgets that, or ends before it, stops a thread for good.
#ifndef GYRE_SAFEPOINT_H_
#define GYRE_SAFEPOINT_H_

#include <stdint.h>

#include "peer.h"

namespace gyre {

// Installs the SIGURG handler of the process unless it is installed; the one that was
// there before is called for signals that are not ours. Returns 0 or -errno.
int InstallSafepoint();

// Called once on each thread that loads the addon, before it could get such a signal.
void PrepareThread();

// The peer that the calling thread is, or null: what its handler pauses for.
void SetPausable(Peer* peer);
Peer* ThisPeer();

// Pauses `peer`, whose life the caller has locked. Returns 0 when it is paused, and
// -ETIMEDOUT when it did not reach its handler within `timeout_us` (uninterruptible
// sleep, signal blocked): then it is not paused and will not be.
//
// From success until Resume() the caller makes system calls only. The paused
// thread may hold any lock that is not the caller's, the allocator's among them.
int Pause(Peer* peer, int timeout_us);
void Resume(Peer* peer);

// Whether the peer's thread runs, or is where a signal reaches it: it is paused for a moment. False
// for one that is gone, and for one that nobody lets go on.
bool Responds(uint32_t peer_id, int timeout_us);

}  // namespace gyre

#endif  // GYRE_SAFEPOINT_H_
