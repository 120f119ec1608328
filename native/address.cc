#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

namespace gyre {

int ReadAddress(const sockaddr_storage& name, socklen_t length, Address* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (name.ss_family == AF_INET) {
    auto* in = reinterpret_cast<const sockaddr_in*>(&name);
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    *address = {4, ntohs(in->sin_port), text};
  } else if (name.ss_family == AF_INET6) {
    auto* in6 = reinterpret_cast<const sockaddr_in6*>(&name);
    inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
    *address = {6, ntohs(in6->sin6_port), text};
  } else if (name.ss_family == AF_UNIX) {
    auto* un = reinterpret_cast<const sockaddr_un*>(&name);
    size_t size = length > offsetof(sockaddr_un, sun_path) ? length - offsetof(sockaddr_un, sun_path) : 0;
    bool abstract = size > 0 && un->sun_path[0] == '\0';
    *address = {1, 0, std::string(un->sun_path, abstract ? size : strnlen(un->sun_path, size))};
  } else {
    return -EAFNOSUPPORT;
  }
  return 0;
}

}  // namespace gyre
