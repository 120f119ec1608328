// Addresses of sockets, in words. Any thread; nothing but its arguments is touched.
#ifndef GYRE_ADDRESS_H_
#define GYRE_ADDRESS_H_

#include <sys/socket.h>

#include <string>

namespace gyre {

struct Address {
  int family = 0;  // 4, 6, or 1 for a Unix socket
  int port = 0;
  std::string text;  // address, or path; an abstract one begins with NUL
};

// What the kernel has written into `name`, `length` bytes of it. IPv6 without its zone. 0, or
// -EAFNOSUPPORT.
int ReadAddress(const sockaddr_storage& name, socklen_t length, Address* address);

}  // namespace gyre

#endif  // GYRE_ADDRESS_H_
