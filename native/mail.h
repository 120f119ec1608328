// A worker's mailbox as the governor sees it: src/scheduler/mailbox.ts has the protocol, and
// test/models/recall.pml why it is right. Wait-free.
#ifndef GYRE_MAIL_H_
#define GYRE_MAIL_H_

#include <stdint.h>

namespace gyre {

// Where everything is; src/scheduler/layout.ts decides, and it is passed in. All in words.
struct MailLayout {
  int32_t givers;       // rings of each recipient
  int32_t capacity;     // entries of a ring; a power of two
  int32_t first_ring;   // HEAD of the ring from giver 0 to recipient 0
  int32_t ring_words;   // from one ring to the next; those of one recipient are together
  int32_t busy, tail, entries;  // offsets from HEAD
  int32_t entry_words;
  int32_t kind, fd, listener, generation, boundary;  // offsets in an entry
  int32_t nothing, connection, accepted;             // values of the kind word
};

struct Mail {
  int32_t* words;
  MailLayout layout;
};

struct MailEntry {
  int32_t kind;
  int32_t fd;
  int32_t listener;
  int32_t generation;
  double boundary;
};

// How many connections wait in the mailbox of `recipient` that could be taken back. Any
// thread; an estimate.
int CountMail(const Mail& mail, int32_t recipient);

// Takes at most `max` connections back out of the mailbox of `recipient`, whose thread the
// caller has paused: its entries become nothing, and the recipient will skip them. The one
// that it is at work with stays. Returns how many. Atomics only.
int RecallMail(const Mail& mail, int32_t recipient, MailEntry* out, int max);

}  // namespace gyre

#endif  // GYRE_MAIL_H_
