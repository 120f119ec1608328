// The few libuv functions that the addon calls. node-api-headers ships no uv.h,
// and gyre downloads no headers, so they are declared here. Every one is
// exported by the node executable and is part of libuv's stable 1.x ABI.
//
// Handles are opaque: their size comes from uv_handle_size() at run time, so no
// struct layout is assumed here. The handle types are stable since libuv 1.0.
#ifndef GYRE_UV_API_H_
#define GYRE_UV_API_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <netinet/in.h>

extern "C" {
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_async_s uv_async_t;
typedef struct uv_check_s uv_check_t;
typedef struct uv_prepare_s uv_prepare_t;
typedef struct uv_poll_s uv_poll_t;

// Values of uv_handle_type in libuv 1.x.
enum { GYRE_UV_ASYNC = 1, GYRE_UV_CHECK = 2, GYRE_UV_POLL = 8, GYRE_UV_PREPARE = 9 };
// Of uv_poll_event. Events are a sum of this and 2, writable.
enum { GYRE_UV_READABLE = 1 };

typedef void (*uv_close_cb)(uv_handle_t*);
typedef void (*uv_async_cb)(uv_async_t*);
typedef void (*uv_check_cb)(uv_check_t*);
typedef void (*uv_prepare_cb)(uv_prepare_t*);
typedef void (*uv_poll_cb)(uv_poll_t*, int status, int events);

size_t uv_handle_size(int type);
void uv_handle_set_data(uv_handle_t*, void*);
void* uv_handle_get_data(const uv_handle_t*);
void uv_close(uv_handle_t*, uv_close_cb);
void uv_ref(uv_handle_t*);
void uv_unref(uv_handle_t*);
uint64_t uv_now(const uv_loop_t*);
uint64_t uv_hrtime(void);
int uv_backend_fd(const uv_loop_t*);
uint64_t uv_metrics_idle_time(uv_loop_t*);

// libuv 1.45, which is in Node 20.3.
typedef struct {
  uint64_t loop_count;
  uint64_t events;
  uint64_t events_waiting;
  uint64_t* reserved[13];
} uv_metrics_t;
int uv_metrics_info(uv_loop_t*, uv_metrics_t*);

int uv_async_init(uv_loop_t*, uv_async_t*, uv_async_cb);
int uv_async_send(uv_async_t*);
int uv_check_init(uv_loop_t*, uv_check_t*);
int uv_check_start(uv_check_t*, uv_check_cb);
int uv_prepare_init(uv_loop_t*, uv_prepare_t*);
int uv_prepare_start(uv_prepare_t*, uv_prepare_cb);
int uv_poll_init(uv_loop_t*, uv_poll_t*, int fd);
int uv_poll_start(uv_poll_t*, int events, uv_poll_cb);
int uv_poll_stop(uv_poll_t*);

int uv_ip4_addr(const char* ip, int port, struct sockaddr_in*);
int uv_ip6_addr(const char* ip, int port, struct sockaddr_in6*);
}

#endif  // GYRE_UV_API_H_
