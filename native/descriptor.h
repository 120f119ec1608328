// Descriptors: how they are made, told apart and closed.
//
// Any thread may call, also while it has paused another: system calls only. Every function returns
// a descriptor or 0 on success and -errno on failure. New descriptors are close-on-exec and never 0,
// 1 or 2, which may be closed in a daemon: or the next console.log goes to a client. Whoever
// gets one closes it, once.
#ifndef GYRE_DESCRIPTOR_H_
#define GYRE_DESCRIPTOR_H_

#include <stdint.h>

namespace gyre {

// What `fd`, which the caller has just got, refers to, under a number from 3 on. `fd` is closed if it
// was another, also on failure. Of a `fd` below 0, that.
int AwayFromStdio(int fd);

int Duplicate(int fd);

// Takes a connection, non-blocking, from the accept queue of a listening socket.
int AcceptOne(int listening_fd);

// The lowest number that is free, which may be below 3. `any` is open.
int NextDescriptor(int any);

int Close(int fd);

// The kernel's 64-bit name of a socket itself, the same through every descriptor that refers to
// it and never used again (SO_COOKIE, Linux 4.12).
int CookieOf(int fd, uint64_t* cookie);

// The lower half of it; 0: it has none. One system call.
int32_t SocketOf(int fd);

// Closes `fd` only if it refers to the socket that `cookie` names. The caller
// must know that no other thread can close or reuse this number meanwhile.
// Returns 1 if it closed, 0 if the number now means something else.
int CloseIfSame(int fd, uint64_t cookie);

}  // namespace gyre

#endif  // GYRE_DESCRIPTOR_H_
