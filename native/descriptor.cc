#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform.h"

#if GYRE_LINUX
#include <sys/eventfd.h>
#endif

namespace gyre {

namespace {

constexpr int kDescriptorMin = 3;

}  // namespace

int AwayFromStdio(int fd) {
  if (fd < 0 || fd >= kDescriptorMin) return fd;
  int moved = Duplicate(fd);
  close(fd);
  return moved;
}

int Duplicate(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, kDescriptorMin);
  return copy >= 0 ? copy : -errno;
}

int AcceptOne(int listening_fd) {
#if GYRE_LINUX
  int fd = accept4(listening_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return -errno;
#else
  int fd = accept(listening_fd, nullptr, nullptr);
  if (fd < 0) return -errno;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
#endif
  return AwayFromStdio(fd);
}

int NextDescriptor(int any) {
#if GYRE_LINUX
  // Not a duplicate: of a listening socket main would take it for what a dead thread has left open.
  (void)any;
  int fd = eventfd(0, EFD_CLOEXEC);
#else
  int fd = fcntl(any, F_DUPFD_CLOEXEC, 0);
#endif
  if (fd < 0) return -errno;
  close(fd);
  return fd;
}

int Close(int fd) {
  // After EINTR Linux has closed the descriptor already; closing again could
  // hit a number that another thread was just given.
  if (close(fd) != 0 && errno != EINTR) return -errno;
  return 0;
}

int CookieOf(int fd, uint64_t* cookie) {
#if GYRE_LINUX && defined(SO_COOKIE)
  socklen_t length = sizeof(*cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &length) == 0 ? 0 : -errno;
#else
  (void)fd;
  (void)cookie;
  return -ENOSYS;
#endif
}

int32_t SocketOf(int fd) {
  uint64_t cookie = 0;
  return CookieOf(fd, &cookie) == 0 ? static_cast<int32_t>(static_cast<uint32_t>(cookie)) : 0;
}

int CloseIfSame(int fd, uint64_t cookie) {
  uint64_t now = 0;
  if (CookieOf(fd, &now) != 0 || now != cookie) return 0;
  int error = Close(fd);
  return error == 0 ? 1 : error;
}

}  // namespace gyre
