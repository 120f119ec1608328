// Keys and values in memory that all workers share: a hash table in an arena, of fixed size.
//
// It is a cache: a bucket has room for eight keys, and a ninth takes the place of one of them. Each bucket
// has a lock, which a thread spins for. It is held for some microseconds; but a thread that the system takes
// off its CPU meanwhile makes others wait as long, and one that dies at that moment, out of heap, leaves it
// locked. The real Redis, a process of its own, has no such trouble, and keeps more than fits here.
const { arena, records } = require('gyre/arena');

const BUCKETS = 8_192;
const WAYS = 8;
/** Of key and value together, at most. */
const BYTES_MAX = 248;

// A bucket: lock, and who is replaced next; then for each key the lengths of key and value, plus one each so
// that 0 is nothing, and their bytes, four in a word.
const LOCK = 0;
const NEXT = 1;
const WAY_WORDS = 1 + BYTES_MAX / 4;
const BUCKET_WORDS = 2 + WAYS * WAY_WORDS;

const { memory } = arena('redis', {
  memory: records(BUCKETS * BUCKET_WORDS, { word: 'int32' }, { packed: true }),
});
const { word } = memory.fields;

/** FNV-1a. */
function hash(bytes) {
  let value = 0x811c9dc5;
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}

function read(at, from, length) {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) {
    bytes[i] = word.get(at + ((from + i) >> 2)) >> (8 * ((from + i) & 3));
  }
  return bytes;
}

function write(at, bytes) {
  for (let i = 0; i < bytes.length; i += 4) {
    let value = 0;
    for (let k = Math.min(3, bytes.length - i - 1); k >= 0; k--)
      value = (value << 8) | bytes[i + k];
    word.set(at + (i >> 2), value);
  }
}

/** Calls `use` with the bucket of `key`, the way that has the key, or -1, and its value, or null. */
function locked(key, use) {
  const bucket = (hash(key) % BUCKETS) * BUCKET_WORDS;
  while (word.compareExchange(bucket + LOCK, 0, 1) !== 0);
  try {
    for (let way = 0; way < WAYS; way++) {
      const at = bucket + 2 + way * WAY_WORDS;
      const lengths = word.get(at);
      const keyLength = (lengths & 0xffff) - 1;
      if (keyLength !== key.length || !read(at + 1, 0, keyLength).equals(key)) continue;
      return use(bucket, at, read(at + 1, keyLength, (lengths >>> 16) - 1));
    }
    return use(bucket, -1, null);
  } finally {
    word.set(bucket + LOCK, 0);
  }
}

function put(bucket, found, key, value) {
  let at = found;
  for (let way = 0; at < 0 && way < WAYS; way++) {
    const free = bucket + 2 + way * WAY_WORDS;
    if (word.get(free) === 0) at = free;
  }
  if (at < 0) at = bucket + 2 + (word.add(bucket + NEXT, 1) & (WAYS - 1)) * WAY_WORDS;
  write(at + 1, Buffer.concat([key, value]));
  word.set(at, ((value.length + 1) << 16) | (key.length + 1));
}

/** The value of `key`, or null. */
exports.get = (key) => locked(key, (_bucket, _at, value) => value);

/** Whether there was room: key and value have to fit into 248 bytes. */
exports.set = (key, value) => {
  if (key.length + value.length > BYTES_MAX) return false;
  locked(key, (bucket, at) => put(bucket, at, key, value));
  return true;
};

/** Whether there was such a key. */
exports.delete = (key) =>
  locked(key, (_bucket, at) => {
    if (at >= 0) word.set(at, 0);
    return at >= 0;
  });

/** Adds one, and returns what that makes; null if the value is no integer, or the key too long for one. */
exports.increment = (key) =>
  locked(key, (bucket, at, value) => {
    const text = value === null ? '0' : value.toString('latin1');
    const number = Number(text) + 1;
    if (!/^-?\d{1,15}$/.test(text) || key.length > BYTES_MAX - 16) return null;
    put(bucket, at, key, Buffer.from(String(number)));
    return number;
  });
