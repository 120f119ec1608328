#include "mail.h"

#include <string.h>

namespace gyre {

namespace {

int32_t Load(const int32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

// Calls `visit` for each entry of each ring that holds a connection which the recipient has
// not begun to read, until it returns false.
//
// While the recipient is paused this is exact: it reads the entry at HEAD only while
// BUSY is set, advances HEAD when it is done with it, and looks at the next one only then.
// Givers may put meanwhile, behind the TAIL that was read here. What main has put, the last
// giver, stays: it found no other worker for it.
template <typename Visit>
void ForEachWaiting(const Mail& mail, int32_t recipient, Visit visit) {
  const MailLayout& layout = mail.layout;
  for (int32_t giver = 0; giver < layout.givers - 1; giver++) {
    int32_t* head = mail.words + layout.first_ring +
                    (int64_t{recipient} * layout.givers + giver) * layout.ring_words;
    uint32_t tail = static_cast<uint32_t>(Load(head + layout.tail));
    uint32_t at = static_cast<uint32_t>(Load(head));
    if (at != tail && Load(head + layout.busy) != 0) at++;
    // Unpaused, the three loads may be of different moments, and the distance is nonsense.
    if (tail - at > static_cast<uint32_t>(layout.capacity)) continue;
    for (; at != tail; at++) {
      int32_t place = static_cast<int32_t>(at & static_cast<uint32_t>(layout.capacity - 1));
      int32_t* entry = head + layout.entries + int64_t{place} * layout.entry_words;
      int32_t kind = Load(entry + layout.kind);
      if (kind != layout.connection && kind != layout.accepted) continue;
      if (!visit(entry, kind)) return;
    }
  }
}

}  // namespace

int CountMail(const Mail& mail, int32_t recipient) {
  int count = 0;
  ForEachWaiting(mail, recipient, [&](const int32_t*, int32_t) {
    count++;
    return true;
  });
  return count;
}

int RecallMail(const Mail& mail, int32_t recipient, MailEntry* out, int max) {
  const MailLayout& layout = mail.layout;
  int count = 0;
  if (max <= 0) return 0;
  ForEachWaiting(mail, recipient, [&](int32_t* entry, int32_t kind) {
    MailEntry& taken = out[count++];
    taken.kind = kind;
    taken.fd = entry[layout.fd];
    taken.listener = entry[layout.listener];
    taken.generation = entry[layout.generation];
    memcpy(&taken.boundary, entry + layout.boundary, sizeof(double));
    __atomic_store_n(entry + layout.kind, layout.nothing, __ATOMIC_RELEASE);
    return count < max;
  });
  return count;
}

}  // namespace gyre
