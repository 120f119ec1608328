// The connection table as the addon sees it: src/scheduler/connection-table.ts has the rules. Any
// thread reads; only the owner of an entry, or who has paused it, writes.
#ifndef GYRE_CONNECTION_TABLE_H_
#define GYRE_CONNECTION_TABLE_H_

#include <stdint.h>
#include <string.h>

namespace gyre {

// Where the words of a connection's entry are. src/scheduler/layout.ts decides;
// it is passed in, so that no offset is written down twice.
struct TableLayout {
  int32_t entry_words;
  int32_t owner, state, listener, generation, boundary, socket;  // word offsets in an entry
  int32_t fresh, between, in_message, listening, taken;   // values of the state word
  int32_t fd_end;  // moving makes no descriptor from here on
};

struct Table {
  int32_t* words;
  int32_t descriptors;  // entries
  TableLayout layout;
};

// One entry of the table; of a number that is beyond it nobody is the owner, and then nothing else
// may be asked.
class Entry {
 public:
  Entry(const Table& table, int fd)
      : words_(fd >= 0 && fd < table.descriptors ? table.words + int64_t{fd} * table.layout.entry_words
                                                 : nullptr),
        layout_(table.layout) {}
  bool OwnedBy(int32_t owner) const { return words_ != nullptr && Get(layout_.owner) == owner; }
  bool Movable() const {
    int32_t state = Get(layout_.state);
    return state == layout_.fresh || state == layout_.between;
  }
  bool Fresh() const { return Get(layout_.state) == layout_.fresh; }
  bool Listening() const { return Get(layout_.state) == layout_.listening; }
  int32_t listener() const { return Get(layout_.listener); }
  int32_t generation() const { return Get(layout_.generation); }
  // The lower half of the SO_COOKIE of what its owner has there; 0: not known.
  int32_t socket() const { return Get(layout_.socket); }
  double boundary() const {
    double value;
    memcpy(&value, words_ + layout_.boundary, sizeof(value));
    return value;
  }
  void MarkTaken() { Set(layout_.state, layout_.taken); }
  void MarkInMessage() { Set(layout_.state, layout_.in_message); }

 private:
  void Set(int32_t word, int32_t value) { __atomic_store_n(words_ + word, value, __ATOMIC_RELEASE); }
  int32_t Get(int32_t word) const { return __atomic_load_n(words_ + word, __ATOMIC_ACQUIRE); }
  int32_t* words_;
  const TableLayout& layout_;
};

}  // namespace gyre

#endif  // GYRE_CONNECTION_TABLE_H_
