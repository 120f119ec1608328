// Trial of the mailboxes: three givers put into the rings of two recipients, who sleep
// when their bell is silent, and who are now and then replaced by a successor.
//
// Claims:
// - each entry is taken once, whole, and in its giver's order;
// - no recipient sleeps over one: the trial would stand still;
// - none of the plain accesses to an entry is a data race (ThreadSanitizer).
#include <limits.h>
#include <sched.h>
#include <time.h>

#include <memory>
#include <thread>
#include <vector>

#include "mailbox.h"
#include "peer.h"
#include "trial.h"
#include "uv.h"

namespace gyre {
namespace {

// Two words of bell. The givers are worker 0, worker 31 (the sign bit) and main; the
// others are silent.
constexpr int kWorkers = 32;
constexpr int kGivers[] = {0, 31, kWorkers + 1};
constexpr int kRecipients[] = {0, kWorkers - 1};
constexpr int kRings = 3;

struct Recipient {
  // Peer of its present life. Sequentially consistent, like the bell: a giver who still
  // finds the peer of a life that ended has rung before the next life looked.
  std::atomic<uint32_t> peer{0};
  int64_t taken[kRings] = {};
  int64_t lives = 0;
  int64_t parks = 0;
};

struct Post {
  Mailboxes mailboxes;
  Recipient recipients[2];
  const int64_t entries;  // of each ring
  Watch watch;

  Post(int capacity, int64_t steps)
      // So that every position wraps after a few entries.
      : mailboxes(kWorkers, capacity, INT_MAX - 5), entries(steps), watch(2 + kRings) {}
};

Note NoteOf(int ring, int64_t number) {
  return {1 + static_cast<int32_t>(number % 3), static_cast<int32_t>(number), kGivers[ring],
          static_cast<int32_t>(~number), static_cast<double>(number) * 1.5};
}

void Check(Recipient* recipient, const Note& note, int giver) {
  int ring = 0;
  while (ring < kRings && kGivers[ring] != giver) ring++;
  if (ring == kRings) Violation("an entry of %d, who gave none", giver);
  Note due = NoteOf(ring, recipient->taken[ring]++);
  if (note.fd != due.fd) Violation("entry %d of giver %d instead of %d", note.fd, giver, due.fd);
  if (note.kind != due.kind || note.listener != due.listener || note.generation != due.generation ||
      note.boundary != due.boundary) {
    Violation("entry %d of giver %d is torn", note.fd, giver);
  }
}

void Give(Post* post, int ring, uint64_t seed) {
  Chance chance(seed);
  MailboxWriter writers[] = {{&post->mailboxes, kGivers[ring], kRecipients[0]},
                             {&post->mailboxes, kGivers[ring], kRecipients[1]}};
  int64_t put[2] = {0, 0};
  while (put[0] < post->entries || put[1] < post->entries) {
    int to = chance.Below(2);
    if (put[to] == post->entries) to = 1 - to;
    switch (writers[to].Put(NoteOf(ring, put[to]))) {
      case Put::kFull:
        sched_yield();
        continue;
      case Put::kWake:
        WakePeer(post->recipients[to].peer.load());
        break;
      case Put::kQueued:
        break;
    }
    put[to]++;
    post->watch.Step(2 + ring);
    if (chance.OneIn(512)) {
      // As main does after a giver's death: one look too many.
      post->mailboxes.RingFor(kGivers[ring]);
      for (auto& recipient : post->recipients) WakePeer(recipient.peer.load());
    }
    // Let them find nothing, and sleep.
    timespec nap = {0, 1000};
    if (chance.OneIn(256)) nanosleep(&nap, nullptr);
  }
  post->watch.End(2 + ring);
}

void Live(Post* post, int index, uint64_t seed) {
  Chance chance(seed);
  Recipient* self = &post->recipients[index];
  uv_async_s async;
  auto peer = std::make_shared<Peer>();
  peer->async = &async;
  self->peer.store(AddPeer(peer));
  MailboxReader reader(&post->mailboxes, kRecipients[index]);
  auto take = [&](const Note& note, int giver) { Check(self, note, giver); };
  auto all = [&] {
    int64_t sum = 0;
    for (int64_t taken : self->taken) sum += taken;
    return sum == kRings * post->entries;
  };
  reader.DrainAll(take);
  while (!all()) {
    int32_t wakes = WakesOf(&async);
    while (reader.Rung()) reader.Drain(take, 1 + chance.Below(3));
    post->watch.Step(index);
    if (all() || chance.OneIn(2000)) break;
    // Leave the processor to a giver, or this would seldom be silent.
    if (reader.Rung()) continue;
    self->parks++;
    Park(&async, wakes);
  }
  RemovePeer(peer);
  self->lives++;
  if (!all()) return;
  self->peer.store(0);
}

int Run(int count, char** values) {
  Arguments arguments(count, values, 200000);
  for (int capacity : {2, 4}) {
    Post post(capacity, arguments.steps);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; i++) {
      threads.emplace_back([&post, i, seed = arguments.seed + 1000 * (i + 1)] {
        int64_t life = 0;
        do {
          std::thread(Live, &post, i, seed + life++).join();
        } while (post.recipients[i].peer.load() != 0);
        post.watch.End(i);
      });
    }
    for (int ring = 0; ring < kRings; ring++) threads.emplace_back(Give, &post, ring, arguments.seed + ring);
    post.watch.AwaitEnd(arguments.bound_ms);
    for (auto& thread : threads) thread.join();
    int64_t parks = 0;
    for (auto& recipient : post.recipients) {
      for (int64_t taken : recipient.taken) {
        if (taken != post.entries) Violation("%lld taken", (long long)taken);
      }
      parks += recipient.parks;
    }
    printf("capacity %d: %lld entries, %lld sleeps, %lld lives\n", capacity,
           (long long)(2 * kRings * post.entries), (long long)parks,
           (long long)(post.recipients[0].lives + post.recipients[1].lives));
    if (parks == 0) Violation("too few steps to show anything");
  }
  return 0;
}

}  // namespace
}  // namespace gyre

int main(int count, char** values) { return gyre::Run(count, values); }
