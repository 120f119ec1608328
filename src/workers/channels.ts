/**
 * Node's diagnostics channels from which gyre learns what an unchanged server does. Names only, for any thread; the
 * same in every line from 20 to 26. Who misspells one hears nothing, ever.
 */

/** An HTTP/1 request is whole, but for its body, and about to be handed to the application. */
export const REQUEST_START = 'http.server.request.start';
/** A response has been handed to the kernel, to its last byte. */
export const RESPONSE_FINISH = 'http.server.response.finish';
/** A server has a new connection, whose `connection` event has just been emitted. */
export const SOCKET_OPENED = 'net.server.socket';
