// A server of one's own protocol, here a part of Redis's: connections move once the server says where a
// message ends. `release(socket)` says it, after each.
//
//     npx gyre run examples/redis/server.js
//     redis-cli -p 3000        redis-benchmark -p 3000 -t ping,set,get,incr -n 100000 -q
//
// While `redis-cli -p 3000 DEBUG SLEEP 5` keeps one worker busy, another answers its other connections.
// All workers see the same keys, which are in shared memory: store.js says how, and what it is no good for.
const net = require('node:net');
const { release, worker } = require('gyre/worker');
const store = require('./store.js');

/** No message may be longer, so that nobody can fill the memory with half of one. */
const MESSAGE_BYTES_MAX = 65_536;

const simple = (text) => `+${text}\r\n`;
const error = (text) => `-ERR ${text}\r\n`;
const integer = (number) => `:${number}\r\n`;
const bulk = (bytes) =>
  bytes === null ? '$-1\r\n' : `$${bytes.length}\r\n${bytes.toString('latin1')}\r\n`;
const list = (items) => `*${items.length}\r\n${items.map(bulk).join('')}`;

/** What each command takes at least, and answers. */
const commands = {
  PING: [0, (text) => (text === undefined ? simple('PONG') : bulk(text))],
  GET: [1, (key) => bulk(store.get(key))],
  SET: [
    2,
    (key, value) => (store.set(key, value) ? simple('OK') : error('key and value too long')),
  ],
  DEL: [1, (...keys) => integer(keys.filter((key) => store.delete(key)).length)],
  INCR: [
    1,
    (key) => {
      const value = store.increment(key);
      return value === null ? error('value is not an integer, or key too long') : integer(value);
    },
  ],
  INFO: [0, () => bulk(Buffer.from(`# Server\r\nworker:${worker?.index ?? 'none'}\r\n`))],
  // redis-benchmark asks for two settings, and prints them.
  CONFIG: [2, (_get, name) => list([name, Buffer.alloc(0)])],
  COMMAND: [0, () => list([])], // redis-cli asks for what to complete
  DEBUG: [
    2,
    (_sleep, seconds) => {
      const end = Date.now() + 1_000 * Number(seconds.toString());
      while (Date.now() < end);
      return simple('OK');
    },
  ],
};

function answer([name, ...args]) {
  const [least, command] = commands[name.toString().toUpperCase()] ?? [];
  if (command === undefined) return error('unknown command');
  return args.length < least ? error('wrong number of arguments') : command(...args);
}

/**
 * The first message of `bytes`, as the list of its parts, and where it ends; null: it is not whole.
 *
 * @throws Error it is no message
 */
function parse(bytes) {
  let at = 0;
  const line = () => {
    const end = bytes.indexOf('\r\n', at);
    if (end < 0) return null;
    const text = bytes.toString('latin1', at, end);
    at = end + 2;
    return text;
  };
  const head = line();
  if (head === null) return null;
  if (!head.startsWith('*')) {
    const parts = head.split(' ').filter((part) => part !== ''); // as somebody with telnet types it
    return { parts: parts.map((part) => Buffer.from(part, 'latin1')), end: at };
  }
  const parts = [];
  for (let left = Number(head.slice(1)); left > 0; left--) {
    const length = line();
    if (length === null) return null;
    if (!/^\$\d+$/.test(length)) throw new Error('Protocol error');
    const end = at + Number(length.slice(1));
    if (bytes.length < end + 2) return null;
    parts.push(bytes.subarray(at, end));
    at = end + 2;
  }
  return { parts, end: at };
}

net
  .createServer({ noDelay: true }, (socket) => {
    let rest = Buffer.alloc(0);
    socket.on('error', () => {}); // 'close' follows
    socket.on('data', (chunk) => {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let answers = '';
      try {
        for (let message = parse(rest); message !== null; message = parse(rest)) {
          rest = rest.subarray(message.end);
          if (message.parts.length > 0) answers += answer(message.parts);
        }
        if (rest.length > MESSAGE_BYTES_MAX) throw new Error('Protocol error: too long');
      } catch ({ message }) {
        socket.end(answers + error(message), 'latin1');
        return;
      }
      socket.write(answers, 'latin1', () => {
        // Nothing is half read, and the last answer has left: whoever has time may go on with it.
        if (rest.length === 0) release(socket);
      });
    });
    release(socket); // also before its first message
  })
  .listen(Number(process.env.PORT ?? 3000));
