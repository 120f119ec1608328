/**
 * Node's timers as they are when gyre is loaded, before the first line of the application. One that installs fake
 * timers must not stop what gyre does beside it. Any thread.
 */
export const scheduleTimeout = setTimeout;
export const cancelTimeout = clearTimeout;
export const scheduleInterval = setInterval;
export const cancelInterval = clearInterval;
export const scheduleImmediate = setImmediate;
/** Before the loop goes on, and before promises. */
export const scheduleTick = process.nextTick;
