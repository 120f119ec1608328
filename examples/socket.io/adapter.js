// Joins the workers' Socket.IO servers, so that `io.emit()`, rooms and `fetchSockets()` are about the clients of
// all of them. @socket.io/cluster-adapter needs the messages of node:cluster, which threads do not have; they
// have BroadcastChannel, which needs no Redis either.
const { BroadcastChannel } = require('node:worker_threads');
const { ClusterAdapterWithHeartbeat } = require('socket.io-adapter');

class ThreadAdapter extends ClusterAdapterWithHeartbeat {
  #others;

  constructor(namespace) {
    super(namespace, {});
    this.#others = new BroadcastChannel(`socket.io ${namespace.name}`);
    this.#others.onmessage = ({ data: { to, message } }) => {
      if (to === null) this.onMessage(message);
      else if (to === this.uid) this.onResponse(message);
    };
  }

  async doPublish(message) {
    this.#others.postMessage({ to: null, message });
    return '';
  }

  async doPublishResponse(to, message) {
    this.#others.postMessage({ to, message });
  }

  close() {
    super.close();
    this.#others.close();
  }
}

module.exports = { ThreadAdapter };
