#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptor.h"
#include "platform.h"
#include "uv_api.h"

#if GYRE_LINUX
#include <linux/filter.h>
#endif

namespace gyre {

namespace {

int NewSocket(int domain, int type) {
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
  int fd = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
#else
  int fd = socket(domain, type, 0);
  if (fd < 0) return -errno;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
#endif
  return AwayFromStdio(fd);
}

int Fail(int fd) {
  int error = errno;
  close(fd);
  return -error;
}

int Bound(int type, const sockaddr* name, socklen_t length, int domain, bool ipv6_only, bool reuse_port) {
  int fd = NewSocket(domain, type);
  if (fd < 0) return fd;
  int on = 1;
  // Of a datagram socket it would let others take the port.
  if (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) return Fail(fd);
  if (reuse_port) {
#if GYRE_LINUX
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) return Fail(fd);
#else
    close(fd);
    return -ENOTSUP;
#endif
  }
  if (domain == AF_INET6) {
    int only = ipv6_only ? 1 : 0;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0) return Fail(fd);
  }
  if (bind(fd, name, length) != 0) {
    // libuv says EINVAL for an address of the wrong family, as Windows does.
    if (errno == EAFNOSUPPORT) errno = EINVAL;
    return Fail(fd);
  }
  return fd;
}

// A bound socket of `type`. Arguments as in OpenTcp().
int Open(int type, const char* address, int port, int family, int flags) {
  sockaddr_storage name;
  memset(&name, 0, sizeof(name));
  int domain = family == 6 ? AF_INET6 : AF_INET;
  socklen_t length = family == 6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  int parsed = family == 6 ? uv_ip6_addr(address, port, reinterpret_cast<sockaddr_in6*>(&name))
                           : uv_ip4_addr(address, port, reinterpret_cast<sockaddr_in*>(&name));
  if (parsed != 0) return parsed;
  const sockaddr* where = reinterpret_cast<const sockaddr*>(&name);
  bool ipv6_only = (flags & kIpv6Only) != 0;

  // Port 0 needs no probe: the kernel never picks a port that anybody has bound.
  if ((flags & kProbe) != 0 && port != 0) {
    int probe = Bound(type, where, length, domain, ipv6_only, false);
    if (probe < 0) return probe;
    close(probe);
  }
  return Bound(type, where, length, domain, ipv6_only, (flags & kReusePort) != 0);
}

}  // namespace

int OpenTcp(const char* address, int port, int family, int flags, int backlog) {
  int fd = Open(SOCK_STREAM, address, port, family, flags);
  if (fd < 0) return fd;
  if (listen(fd, backlog) != 0) return Fail(fd);
  return fd;
}

int OpenUdp(const char* address, int port, int family, int flags, int receive_buffer) {
  int fd = Open(SOCK_DGRAM, address, port, family, flags);
  if (fd < 0 || receive_buffer == 0) return fd;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer)) != 0) return Fail(fd);
  return fd;
}

int OpenUnix(const std::string& path, int backlog) {
  sockaddr_un name;
  memset(&name, 0, sizeof(name));
  name.sun_family = AF_UNIX;
  bool abstract = !path.empty() && path[0] == '\0';
  // A pathname keeps its terminating NUL inside sun_path; an abstract name has none.
  if (path.empty() || path.size() + (abstract ? 0 : 1) > sizeof(name.sun_path)) return -EINVAL;
  memcpy(name.sun_path, path.data(), path.size());
  socklen_t length = abstract
                         ? static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size())
                         : static_cast<socklen_t>(sizeof(name));
  int fd = NewSocket(AF_UNIX, SOCK_STREAM);
  if (fd < 0) return fd;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&name), length) != 0) {
    // libuv reports a missing directory as EACCES, as Windows does; so does node.
    if (errno == ENOENT) errno = EACCES;
    return Fail(fd);
  }
  if (listen(fd, backlog) != 0) {
    int error = Fail(fd);
    if (!abstract) unlink(path.c_str());
    return error;
  }
  return fd;
}

int Listen(int fd, int backlog) { return listen(fd, backlog) == 0 ? 0 : -errno; }

int DropHandshakes(int fd) {
#if GYRE_LINUX
  // What a TCP socket's filter sees begins with the TCP header.
  constexpr uint32_t kFlagsAt = 13;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsAt),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TH_SYN, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),           // bytes to keep: none
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),  // all
  };
  sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0 ? 0 : -errno;
#else
  (void)fd;
  return -ENOSYS;
#endif
}

int StopListening(int fd) { return shutdown(fd, SHUT_RDWR) == 0 ? 0 : -errno; }

namespace {

int NameOfType(int fd, int wanted, Address* address) {
  int type = 0;
  socklen_t type_length = sizeof(type);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) != 0) return -errno;
  if (type != wanted) return -ESOCKTNOSUPPORT;
  sockaddr_storage name;
  memset(&name, 0, sizeof(name));
  socklen_t length = sizeof(name);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) return -errno;
  return ReadAddress(name, length, address);
}

}  // namespace

int NameOf(int fd, Address* address) { return NameOfType(fd, SOCK_STREAM, address); }
int UdpNameOf(int fd, Address* address) { return NameOfType(fd, SOCK_DGRAM, address); }

int QueueOf(int fd, QueueState* queue) {
#if GYRE_LINUX
  int listens = 0;
  socklen_t size = sizeof(listens);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) return -errno;
  if (listens == 0) return -EINVAL;
  tcp_info info;
  socklen_t length = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -errno;
  queue->length = info.tcpi_unacked;
  queue->limit = info.tcpi_sacked;
  int64_t dropped = DroppedAt(fd);
  if (dropped < 0) return static_cast<int>(dropped);
  queue->dropped = static_cast<uint32_t>(dropped);
  return 0;
#else
  (void)fd;
  (void)queue;
  return -ENOSYS;
#endif
}

int64_t DroppedAt(int fd) {
#if GYRE_LINUX && defined(SO_MEMINFO)
  // Nine words, of which SK_MEMINFO_DROPS of linux/sock_diag.h is the last.
  constexpr size_t kDrops = 8;
  uint32_t numbers[kDrops + 1] = {};
  socklen_t length = sizeof(numbers);
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &length) != 0) return -errno;
  return numbers[kDrops];
#else
  (void)fd;
  return -ENOSYS;
#endif
}

}  // namespace gyre
