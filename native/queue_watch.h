// A door: the accept queue of a listening socket, watched by the loop of a worker.
#ifndef GYRE_QUEUE_WATCH_H_
#define GYRE_QUEUE_WATCH_H_

#include <napi.h>

#include "uv_api.h"

namespace gyre {

// Tells JavaScript when connections wait in the accept queue of a listening socket, while it
// is started, and accepts one when asked. libuv's own listening streams accept by themselves,
// cannot be asked to wait, and where descriptors run out they accept and close whatever waits.
//
// Created, used and destroyed on the loop's own thread. As long as it is started and
// referenced it keeps the loop alive. Without JavaScript nothing is accepted: not while the
// thread comes to its end, either.
//
// Ownership: it closes its descriptor, and deletes itself when its handle has closed, which
// Close() or the environment's teardown begins, whichever comes first. Nothing may be called after
// Close().
class QueueWatch {
 public:
  // `on_ready` is called once in each iteration of the loop in which something waits. Not
  // started at first. Returns null and sets *error to -errno if libuv refuses; then `fd`
  // is still the caller's.
  //
  // `accepted` is one word: what Accept() returned last, until the caller has found an owner
  // for it and writes -1. The thread may be terminated in between, and then it is closed here.
  static QueueWatch* Create(Napi::Env env, int fd, Napi::Int32Array accepted, Napi::Function on_ready,
                            int* error);

  // 0 or -errno.
  int Start();
  void Stop();
  void Ref();
  void Unref();
  // A connection, or -errno.
  int Accept();
  // The descriptor is free when this returns.
  void Close();

 private:
  QueueWatch() = default;
  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnClosed(uv_handle_t* handle);
  static void OnTeardown(napi_async_cleanup_hook_handle, void* data);
  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(poll_); }

  napi_env env_ = nullptr;
  napi_ref on_ready_ = nullptr;
  napi_ref accepted_array_ = nullptr;  // pins the word below
  int32_t* accepted_ = nullptr;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  int fd_ = -1;
  bool closing_ = false;
};

}  // namespace gyre

#endif  // GYRE_QUEUE_WATCH_H_
