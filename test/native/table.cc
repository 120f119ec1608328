// Trial of native/taking.cc and the connection table: two workers accept and serve real
// connections, a governor takes them from one by Take(), out of its mailbox as well, and
// gives them to the other, and now and then a worker gives one by itself.
//
// Claims:
// - a client gets each byte back once and in order, whoever serves it;
// - a connection whose owner holds it is not taken;
// - what was taken and accepted is counted as such;
// - whoever has a connection watches it, also where the victim's epoll set takes nothing in;
// - what a note speaks of is what it was sent for: a connection in transit is adopted,
//   and only what was taken is dropped;
// - no access to the table is a data race (ThreadSanitizer), though most are plain.
//
// Peek() and snapshots are not part of it. They read a table that is in use: JavaScript
// has a rule for that, a word is not torn, and C++ has none.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include <memory>
#include <thread>
#include <vector>

#include "mailbox.h"
#include "peer.h"
#include "safepoint.h"
#include "table.h"
#include "taking.h"
#include "trial.h"

namespace gyre {
namespace {

// Of the governor's thread: whether its next EPOLL_CTL_ADD is refused, and how many were.
thread_local Chance* refuses = nullptr;
thread_local int64_t refused = 0;

}  // namespace
}  // namespace gyre

// The linker has the addon call this one (--wrap).
extern "C" int __real_epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event);
extern "C" int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
  // Half of them, so that one which is to undo another is refused as well.
  if (operation == EPOLL_CTL_ADD && gyre::refuses != nullptr && gyre::refuses->OneIn(2)) {
    gyre::refused++;
    errno = ENOMEM;
    return -1;
  }
  return __real_epoll_ctl(epoll_fd, operation, fd, event);
}

namespace gyre {
namespace {

constexpr int kDescriptors = 128;
constexpr int kWorkers = 2;
constexpr int kClients = 8;

// What a client sends, and gets back: messages of 1 to 4 bytes.
uint8_t ByteAt(int64_t at) { return static_cast<uint8_t>(at * 31 + 7); }
int LengthOf(uint8_t first) { return 1 + first % 4; }
int64_t BytesOfConnection() {
  int64_t bytes = 0;
  while (bytes < 120) bytes += LengthOf(ByteAt(bytes));
  return bytes;
}
const int64_t kBytes = BytesOfConnection();

// The kernel gives a number only after it was closed: what its last owner wrote before
// is ordered before what the next does after. The sanitizer does not know that.
#ifdef __SANITIZE_THREAD__
char numbers[kDescriptors];
#endif
void KernelGave(int fd) {
  if (fd >= kDescriptors) Violation("descriptor %d", fd);
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(&numbers[fd]);
#endif
}
void CloseNumber(int fd) {
#ifdef __SANITIZE_THREAD__
  __tsan_release(&numbers[fd]);
#endif
  close(fd);
}

struct World {
  ConnectionTable table{kDescriptors};
  Words newcomers[kWorkers] = {Words(1 + kNewcomers), Words(1 + kNewcomers)};
  // Small, so that it is full at times and the governor takes less.
  Mailboxes mailboxes{kWorkers, 4, INT32_MAX - 5};
  std::atomic<uint32_t> peers[kWorkers] = {};
  int listeners[kWorkers];
  sockaddr_in addresses[kWorkers];
  std::atomic<bool> stopping{false};
  // Connections of which their owners knew, when they closed them, that they had been taken.
  std::atomic<int64_t> known{0};
  Watch watch{kWorkers + 2};
};

class Worker {
 public:
  Worker(World* world, int index, uint64_t seed)
      : world_(*world), table_(world->table), index_(index), chance_(seed), efd_(epoll_create1(EPOLL_CLOEXEC)) {}

  void Run() {
    PrepareThread();
    auto peer = std::make_shared<Peer>();
    peer->tid = static_cast<int>(syscall(SYS_gettid));
    peer->epoll_fd = efd_;
    peer->newcomers = world_.newcomers[index_].data();
    SetPausable(peer.get());
    int listener = world_.listeners[index_];
    table_.Open(listener, index_, index_, 0, kListening);
    Register(listener);
    world_.peers[index_].store(AddPeer(peer), std::memory_order_relaxed);
    MailboxReader reader(&world_.mailboxes, index_);
    while (!world_.stopping.load(std::memory_order_relaxed)) {
      epoll_event events[4];
      int count = epoll_wait(efd_, events, 4, 1);
      for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        if (fd == listener) {
          Accept(listener);
        } else if (connections_[fd].open) {
          Serve(fd);
        }
      }
      reader.Drain([this](const Note& note, int) { Receive(note); }, 4);
      if (chance_.OneIn(16)) SeeWhatIsWatched();
      world_.watch.Step(index_);
    }
    RemovePeer(peer);
    SetPausable(nullptr);
    for (int fd = 0; fd < kDescriptors; fd++) {
      if (connections_[fd].open) End(fd);
    }
    reader.DrainAll([](const Note& note, int) {
      if (note.kind != kDrop) CloseNumber(note.fd);
    });
    close(efd_);
    world_.watch.End(index_);
  }

 private:
  struct Connection {
    bool open = false;
    int32_t generation = 0;
    int64_t consumed = 0;
  };

  void Register(int fd) {
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(efd_, EPOLL_CTL_ADD, fd, &event) != 0) Violation("epoll_ctl: %d", errno);
  }

  // Without, it would be served only because somebody takes it again.
  void SeeWhatIsWatched() {
    for (int fd = 0; fd < kDescriptors; fd++) {
      epoll_event event = {};
      event.events = EPOLLIN;
      event.data.fd = fd;
      if (!connections_[fd].open || epoll_ctl(efd_, EPOLL_CTL_MOD, fd, &event) == 0) continue;
      if (table_.StateOf(fd) != kTaken) Violation("nobody watches descriptor %d", fd);
    }
  }

  void Adopt(int fd, int32_t listener, int64_t consumed, State state) {
    connections_[fd] = {true, table_.Open(fd, index_, listener, static_cast<double>(consumed), state), consumed};
    Words& newcomers = world_.newcomers[index_];
    int32_t opened = newcomers.Load(0);
    newcomers.Store(1 + opened % kNewcomers, fd);
    newcomers.Store(0, opened + 1);
    if (chance_.OneIn(4)) sched_yield();  // what its loop does before it watches
    // It may have been taken, and then the socket under its number is watched.
    Register(fd);
  }

  void Accept(int listener) {
    int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    KernelGave(fd);
    Adopt(fd, index_, 0, kFresh);
  }

  void End(int fd) {
    connections_[fd].open = false;
    // As libuv does. Without, the socket under this number would stay in the set.
    epoll_ctl(efd_, EPOLL_CTL_DEL, fd, nullptr);
#ifdef M_CLOSE_LATE
    CloseNumber(fd);
    int32_t state = table_.Close(fd);
#else
    int32_t state = table_.Close(fd);
    CloseNumber(fd);
#endif
    if (state == kTaken) world_.known.fetch_add(1, std::memory_order_relaxed);
  }

  void Receive(const Note& note) {
    if (note.kind != kDrop) {
      if (!table_.IsInTransit(note.fd, note.generation)) Violation("descriptor %d is not in transit", note.fd);
      Adopt(note.fd, note.listener, static_cast<int64_t>(note.boundary), note.kind == kAccepted ? kFresh : kBetween);
      // It was taken just before its last owner would have closed it.
      if (connections_[note.fd].consumed == kBytes) End(note.fd);
      return;
    }
    const Connection& connection = connections_[note.fd];
#ifdef M_NO_GENERATION
    if (!connection.open) return;
#else
    if (!connection.open || connection.generation != note.generation) return;
#endif
    if (table_.StateOf(note.fd) != kTaken) Violation("descriptor %d was not taken", note.fd);
    End(note.fd);
  }

  // One message. A connection that was taken has nothing to read.
  void Serve(int fd) {
    Connection& connection = connections_[fd];
    uint8_t message[4];
    ssize_t got = recv(fd, message, 1, 0);
    if (got < 0 && errno == EAGAIN) {
      // It was closed for a reason of the application's just when it was taken.
      if (chance_.OneIn(4)) End(fd);
      return;
    }
    if (got <= 0) return End(fd);
    if (chance_.OneIn(8)) sched_yield();  // a parser's time
    table_.Begin(fd);
    int length = LengthOf(message[0]);
    for (int read = 1; read < length;) {
      pollfd ready = {fd, POLLIN, 0};
      got = recv(fd, message + read, static_cast<size_t>(length - read), 0);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return End(fd);
      if (got > 0) read += static_cast<int>(got);
      if (read < length && poll(&ready, 1, 5000) == 0) Violation("the rest of a message is gone");
    }
    for (int i = 0; i < length; i++) {
      if (message[i] != ByteAt(connection.consumed++)) Violation("byte %lld is another", (long long)connection.consumed);
    }
    if (send(fd, message, static_cast<size_t>(length), MSG_NOSIGNAL) != length) return End(fd);
    table_.Between(fd, static_cast<double>(connection.consumed));
    if (chance_.OneIn(4) && table_.Hold(fd)) {
      sched_yield();
      if (!table_.Release(fd, static_cast<double>(connection.consumed))) Violation("taken though it was held");
    }
    if (connection.consumed == kBytes) {
      End(fd);
    } else if (chance_.OneIn(8)) {
      Give(fd);
    }
  }

  // As src/workers/rounds.ts.
  void Give(int fd) {
    int32_t state = 0;
    if (outbox_.Free() == 0 || !table_.TryGive(fd, &state)) return;
    double boundary = table_.BoundaryOf(fd);
    if (!AtBoundary(fd, boundary, state == kFresh)) return table_.Keep(fd, kInMessage);
    int copy = dup(fd);
    if (copy < 0) Violation("dup: %d", errno);
    KernelGave(copy);
    outbox_.Put({kConnection, copy, index_, table_.Send(copy, index_, boundary), boundary});
    End(fd);
  }

  World& world_;
  ConnectionTable& table_;
  const int index_;
  Chance chance_;
  const int efd_;
  MailboxWriter outbox_{&world_.mailboxes, index_, 1 - index_};
  Connection connections_[kDescriptors];
};

struct Counts {
  int64_t moved = 0, accepted = 0, recalled = 0, mismatches = 0, failures = 0, refused = 0, timeouts = 0;
};

// As src/workers/governor.ts.
void Govern(World* world, uint64_t seed, Counts* counts) {
  Chance chance(seed);
  int never[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, never) != 0) Violation("socketpair: %d", errno);
  int governor = kWorkers;
  MailboxWriter writers[] = {{&world->mailboxes, governor, 0}, {&world->mailboxes, governor, 1}};
  int32_t places = 0;
  int32_t lost = 0;
  while (!world->stopping.load(std::memory_order_relaxed)) {
    world->watch.Step(kWorkers);
    int victim = chance.Below(kWorkers);
    int recipient = 1 - victim;
    int max = std::min(writers[victim].Free(), writers[recipient].Free());
    uint32_t id = world->peers[victim].load(std::memory_order_relaxed);
    Taken taken[kTakeMax];
    TakeResult result;
    Shared shared = {world->table.native(), world->mailboxes.native()};
    refuses = chance.OneIn(4) ? &chance : nullptr;
    int error = max == 0 ? -EAGAIN
                         : Take(id, victim, shared, never[0], max, {&places, INT32_MAX, max, &lost},
                                chance.OneIn(8) ? 0 : 20000, chance.OneIn(2) ? 0 : -1, taken, &result);
    if (error != 0) {
      if (error == -ETIMEDOUT) counts->timeouts++;
      sched_yield();
      continue;
    }
    counts->mismatches += result.mismatches;
    counts->failures += result.failures;
    for (int i = 0; i < result.taken; i++) {
      const MailEntry& each = taken[i].entry;
      int old_fd = taken[i].old_fd;
      int32_t generation = each.generation;
      if (old_fd == kFromMail) {
        counts->recalled++;
      } else {
        KernelGave(each.fd);
        generation = world->table.Send(each.fd, each.listener, each.boundary);
        (each.kind == kAccepted ? counts->accepted : counts->moved)++;
      }
      writers[recipient].Put({each.kind, each.fd, each.listener, generation, each.boundary});
      if (old_fd >= 0) writers[victim].Put({kDrop, old_fd, each.listener, each.generation, 0});
    }
    // Let the connections get somewhere in between.
    if (chance.OneIn(2)) poll(nullptr, 0, 1);
  }
  if (places != counts->accepted) Violation("%d places for %lld accepted", places, (long long)counts->accepted);
  if (lost != counts->moved) Violation("%d lost, %lld moved", lost, (long long)counts->moved);
  counts->refused = refused;
  close(never[0]);
  close(never[1]);
  world->watch.End(kWorkers);
}

// Accepted sockets inherit it.
void SendAtOnce(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// Sends in pieces, and reads what comes back. Ends after `steps` connections.
void Ask(World* world, uint64_t seed, int64_t steps, int64_t bound_ms, int64_t* cut) {
  Chance chance(seed);
  struct Client {
    int fd = -1;
    int64_t sent = 0, received = 0;
    std::chrono::steady_clock::time_point since;
  } clients[kClients];
  for (int64_t done = 0; done < steps;) {
    world->watch.Step(kWorkers + 1);
    pollfd ready[kClients];
    for (int i = 0; i < kClients; i++) {
      Client& client = clients[i];
      if (client.fd < 0) {
        client = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 0, 0, std::chrono::steady_clock::now()};
        SendAtOnce(client.fd);
        auto* address = reinterpret_cast<sockaddr*>(&world->addresses[chance.Below(kWorkers)]);
        if (connect(client.fd, address, sizeof(sockaddr_in)) != 0) Violation("connect: %d", errno);
      }
      int64_t some = std::min<int64_t>(kBytes - client.sent, chance.Below(6));
      uint8_t bytes[8];
      for (int64_t j = 0; j < some; j++) bytes[j] = ByteAt(client.sent + j);
      if (client.sent - client.received < 16 && some > 0) {
        // What fails is seen by recv(), too.
        ssize_t sent = send(client.fd, bytes, static_cast<size_t>(some), MSG_NOSIGNAL);
        if (sent > 0) client.sent += sent;
      }
      ready[i] = {client.fd, POLLIN, 0};
    }
    poll(ready, kClients, 1);
    for (int i = 0; i < kClients; i++) {
      Client& client = clients[i];
      uint8_t bytes[64];
      ssize_t got = recv(client.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
      auto now = std::chrono::steady_clock::now();
      if (got > 0) {
        for (ssize_t j = 0; j < got; j++) {
          if (bytes[j] != ByteAt(client.received++)) Violation("the client got another byte");
        }
        client.since = now;
      } else if (got == 0 || errno != EAGAIN) {
        if (client.received != kBytes) ++*cut;
        close(client.fd);
        client.fd = -1;
        done++;
      } else if (now - client.since > std::chrono::milliseconds(bound_ms)) {
        Violation("nobody serves a connection after byte %lld", (long long)client.received);
      }
    }
  }
  for (Client& client : clients) {
    if (client.fd >= 0) close(client.fd);
  }
  world->stopping.store(true, std::memory_order_relaxed);
  world->watch.End(kWorkers + 1);
}

void Listen(World* world, int index) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  SendAtOnce(fd);
  auto* name = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, name, length) != 0 || listen(fd, 64) != 0 || getsockname(fd, name, &length) != 0) {
    Violation("listen: %d", errno);
  }
  world->listeners[index] = fd;
  world->addresses[index] = address;
}

int Run(int count, char** values) {
  Arguments arguments(count, values, 2000);
  if (InstallSafepoint() != 0) Violation("no handler");
  World world;
  for (int i = 0; i < kWorkers; i++) Listen(&world, i);
  Counts counts;
  int64_t cut = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kWorkers; i++) {
    threads.emplace_back([&world, i, seed = arguments.seed + i] { Worker(&world, i, seed).Run(); });
  }
  threads.emplace_back(Govern, &world, arguments.seed + 10, &counts);
  threads.emplace_back(Ask, &world, arguments.seed + 11, arguments.steps, arguments.bound_ms, &cut);
  world.watch.AwaitEnd(arguments.bound_ms);
  for (auto& thread : threads) thread.join();
  for (int listener : world.listeners) close(listener);

  printf("%lld connections, %lld moved, %lld from accept queues, %lld from mailboxes, %lld not at their boundary, "
         "%lld pauses given up\n",
         (long long)arguments.steps, (long long)counts.moved, (long long)counts.accepted,
         (long long)counts.recalled, (long long)counts.mismatches, (long long)counts.timeouts);
  if (world.known != counts.moved) Violation("%lld of them known to their owners", (long long)world.known);
  if (cut != 0) Violation("%lld connections closed before their end", (long long)cut);
  // Where both are refused the connection is taken all the same.
  if (counts.failures > counts.refused) Violation("%lld system calls failed", (long long)counts.failures);
  if (counts.moved == 0 || counts.accepted == 0 || counts.recalled == 0 || counts.failures == 0 ||
      counts.refused == counts.failures) {
    Violation("too few steps to show anything");
  }
  return 0;
}

}  // namespace
}  // namespace gyre

int main(int count, char** values) { return gyre::Run(count, values); }
