// src/scheduler/mailbox.ts, step by step, with the words of src/scheduler/layout.ts. What
// is atomic there is atomic here, and what is plain there is plain here. Who may call
// what is said there.
//
// Each M_... is a mistake that the trial must find.
#ifndef GYRE_TRIAL_MAILBOX_H_
#define GYRE_TRIAL_MAILBOX_H_

#include <stdint.h>

#include <algorithm>
#include <vector>

#include "mail.h"
#include "words.h"

namespace gyre {

// EntryKind.
enum : int32_t { kNothing = 0, kConnection = 1, kDrop = 2, kAccepted = 3 };

struct Note {
  int32_t kind, fd, listener, generation;
  double boundary;
};

enum class Put { kFull, kQueued, kWake };

// Distance of two free-running positions, across the wrap.
inline int32_t Difference(int32_t later, int32_t earlier) {
  return static_cast<int32_t>(static_cast<uint32_t>(later) - static_cast<uint32_t>(earlier));
}

inline int32_t After(int32_t position, int32_t count) {
  return static_cast<int32_t>(static_cast<uint32_t>(position) + static_cast<uint32_t>(count));
}

class Mailboxes {
 public:
  static constexpr int kRowWords = 32;
  static constexpr int kEntryWords = 8;
  static constexpr int kBellBits = 32;

  Mailboxes(int workers, int capacity, int32_t start)
      : workers_(workers), capacity_(capacity), words_(HeadWord(0, workers)) {
    for (int giver = 0; giver < givers(); giver++) {
      for (int recipient = 0; recipient < workers; recipient++) {
        words_.Set(HeadWord(giver, recipient), start);
        words_.Set(HeadWord(giver, recipient) + kRowWords, start);
      }
    }
  }

  int workers() const { return workers_; }
  int givers() const { return workers_ + 2; }
  int capacity() const { return capacity_; }
  int bell_words() const { return (givers() + kBellBits - 1) / kBellBits; }
  Words& words() { return words_; }
  // What native/mail.cc works on.
  Mail native() {
    int first = HeadWord(0, 0);
    return {words_.data(),
            {givers(), capacity_, first, HeadWord(1, 0) - first, BusyWord(0), kRowWords, EntryWord(0, 0),
             kEntryWords, 0, 1, 2, 3, 4, kNothing, kConnection, kAccepted}};
  }

  int BellRow(int recipient) const {
    return kRowWords + recipient * Padded(bell_words());
  }
  int HeadWord(int giver, int recipient) const {
    int ring = 2 * kRowWords + Padded(capacity_ * kEntryWords);
    return BellRow(workers_) + (recipient * givers() + giver) * ring;
  }
  static int BusyWord(int head) { return head + 1; }
  int EntryWord(int head, int32_t position) const {
    return head + 2 * kRowWords + (position & (capacity_ - 1)) * kEntryWords;
  }
  static int Padded(int words) { return (words + kRowWords - 1) / kRowWords * kRowWords; }
  static int32_t Bit(int giver) { return static_cast<int32_t>(uint32_t{1} << (giver % kBellBits)); }

  // After the death of `giver`; the caller then wakes every recipient.
  void RingFor(int giver) {
    for (int recipient = 0; recipient < workers_; recipient++) {
      words_.Or(BellRow(recipient) + giver / kBellBits, Bit(giver));
    }
  }

 private:
  const int workers_;
  const int capacity_;
  Words words_;
};

class MailboxWriter {
 public:
  MailboxWriter(Mailboxes* mailboxes, int giver, int recipient)
      : mailboxes_(*mailboxes),
        words_(mailboxes->words()),
        head_(mailboxes->HeadWord(giver, recipient)),
        tail_(head_ + Mailboxes::kRowWords),
        bell_(mailboxes->BellRow(recipient) + giver / Mailboxes::kBellBits),
        bit_(Mailboxes::Bit(giver)) {}

  int32_t Free() const {
    int32_t tail = words_.Load(tail_);
    return mailboxes_.capacity() - Difference(tail, words_.Load(head_));
  }

  gyre::Put Put(const Note& note) {
    int32_t tail = words_.Load(tail_);
    int32_t head = words_.Load(head_);
    if (Difference(tail, head) == mailboxes_.capacity()) return Put::kFull;
#ifdef M_TAIL_EARLY
    words_.Store(tail_, After(tail, 1));
#endif
    int at = mailboxes_.EntryWord(head_, tail);
    words_.Set(at, note.kind);
    words_.Set(at + 1, note.fd);
    words_.Set(at + 2, note.listener);
    words_.Set(at + 3, note.generation);
    words_.SetDouble(at + 4, note.boundary);
#if defined(M_TAIL_RELAXED)
    words_.Store(tail_, After(tail, 1), __ATOMIC_RELAXED);
#elif !defined(M_TAIL_EARLY)
    words_.Store(tail_, After(tail, 1));
#endif
    return words_.Or(bell_, bit_) == 0 ? Put::kWake : Put::kQueued;
  }

 private:
  Mailboxes& mailboxes_;
  Words& words_;
  const int head_, tail_, bell_;
  const int32_t bit_;
};

class MailboxReader {
 public:
  MailboxReader(Mailboxes* mailboxes, int recipient)
      : mailboxes_(*mailboxes),
        words_(mailboxes->words()),
        recipient_(recipient),
        bell_(mailboxes->BellRow(recipient)),
        rung_(mailboxes->bell_words()) {}

  bool Rung() const {
    for (size_t word = 0; word < rung_.size(); word++) {
      if (words_.Load(bell_ + static_cast<int>(word)) != 0) return true;
    }
    return false;
  }

  // `take(const Note&, int giver)`
  template <typename Take>
  int Drain(const Take& take, int max) {
    return Drain(take, max, false);
  }
  template <typename Take>
  int DrainAll(const Take& take) {
    return Drain(take, INT32_MAX, true);
  }

 private:
  template <typename Take>
  int Drain(const Take& take, int max, bool all) {
    int givers = mailboxes_.givers();
    int words = mailboxes_.bell_words();
    for (int word = 0; word < words; word++) {
#ifdef M_BELL_LATE
      rung_[word] = words_.Load(bell_ + word);
#else
      rung_[word] = words_.Exchange(bell_ + word, 0);
#endif
    }
    for (int giver = 0; all && giver < givers; giver++) {
      rung_[giver / Mailboxes::kBellBits] |= Mailboxes::Bit(giver);
    }
    int first = next_;
    int taken = 0;
    for (int i = 0; i < givers && taken < max; i++) {
      int giver = (first + i) % givers;
      int32_t& rung = rung_[giver / Mailboxes::kBellBits];
      if ((rung & Mailboxes::Bit(giver)) == 0) continue;
      taken += TakeFrom(giver, take, max - taken);
      if (taken < max) {
        rung &= ~Mailboxes::Bit(giver);
      } else {
        next_ = (giver + 1) % givers;
      }
    }
#ifdef M_BELL_LATE
    for (int word = 0; word < words; word++) words_.Exchange(bell_ + word, 0);
#endif
#ifndef M_BELL_FORGOTTEN
    for (int word = 0; word < words; word++) {
      if (rung_[word] != 0) words_.Or(bell_ + word, rung_[word]);
    }
#endif
    return taken;
  }

  template <typename Take>
  int TakeFrom(int giver, const Take& take, int max) {
    int head_at = mailboxes_.HeadWord(giver, recipient_);
    int32_t head = words_.Load(head_at);
    int32_t tail = words_.Load(head_at + Mailboxes::kRowWords);
    int count = std::min(Difference(tail, head), max);
    if (count == 0) return 0;
    words_.Store(Mailboxes::BusyWord(head_at), 1);
    for (int i = 0; i < count; i++) {
      int at = mailboxes_.EntryWord(head_at, After(head, i));
#ifdef M_HEAD_EARLY
      words_.Store(head_at, After(head, i + 1));
#endif
      Note note = {words_.Load(at), words_.Get(at + 1), words_.Get(at + 2), words_.Get(at + 3),
                   words_.GetDouble(at + 4)};
      if (note.kind != kNothing) take(note, giver);
#if defined(M_HEAD_RELAXED)
      words_.Store(head_at, After(head, i + 1), __ATOMIC_RELAXED);
#elif !defined(M_HEAD_EARLY)
      words_.Store(head_at, After(head, i + 1));
#endif
    }
    words_.Store(Mailboxes::BusyWord(head_at), 0);
    return count;
  }

  Mailboxes& mailboxes_;
  Words& words_;
  const int recipient_;
  const int bell_;
  std::vector<int32_t> rung_;
  int next_ = 0;
};

}  // namespace gyre

#endif  // GYRE_TRIAL_MAILBOX_H_
