// Readiness of one descriptor, told to JavaScript: what libuv calls a poll handle. Plain POSIX.
#ifndef GYRE_READINESS_H_
#define GYRE_READINESS_H_

#include <napi.h>

#include "uv_api.h"

namespace gyre {

// Watches one descriptor in the event loop of the environment that creates it, for whoever
// reads from it or writes to it. It reads nothing and owns no descriptor: whoever has `fd`
// keeps it open until Close() has returned or the environment has ended. Two loops may
// watch one descriptor; one loop may not watch it twice.
//
// Created and called on the loop's own thread. It never keeps the loop alive. It deletes
// itself when its handle has closed, which Close() or the environment's teardown begins,
// whichever comes first.
class PollHandle {
 public:
  // `on_ready(status, events)` is called on each iteration of the loop while the descriptor
  // is ready for what Start() names: events as Start() takes them, or status -errno when the
  // descriptor has failed, after which nothing is watched. Makes the descriptor non-blocking.
  // Null, and *error -errno, if it cannot be polled (EPERM for a file) or is watched (EEXIST).
  static PollHandle* Create(Napi::Env env, int fd, Napi::Function on_ready, int* error);
  // 1: readable, 2: writable, 3: both. 0 or -errno.
  int Start(int events);
  void Stop();
  void Close();

 private:
  PollHandle() = default;
  ~PollHandle() = default;
  struct Callbacks;

  napi_env env_ = nullptr;
  uv_poll_t* handle_ = nullptr;
  napi_ref on_ready_ = nullptr;
  bool closing_ = false;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

// What `fd` is ready for now, without waiting: the sum of 1 (readable; not at the end of what has
// hung up), 2 (writable) and 4 (the other end has hung up or writes no more, or it has failed or is
// not open), or -errno. Any thread.
int PollNow(int fd);

}  // namespace gyre

#endif  // GYRE_READINESS_H_
