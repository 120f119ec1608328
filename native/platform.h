// Which parts of the addon this build has. GYRE_LINUX guards everything that
// needs epoll's system: affinity, thread ids, socket cookies and the balancing
// kind of SO_REUSEPORT. The rest is plain POSIX and libuv.
#ifndef GYRE_PLATFORM_H_
#define GYRE_PLATFORM_H_

#if defined(__linux__) && !defined(GYRE_POSIX_ONLY)
#define GYRE_LINUX 1
#else
#define GYRE_LINUX 0
#endif

#endif  // GYRE_PLATFORM_H_
