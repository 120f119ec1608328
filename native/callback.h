// How a callback of libuv calls JavaScript.
#ifndef GYRE_CALLBACK_H_
#define GYRE_CALLBACK_H_

#include <node_api.h>
#include <stdint.h>

#include <initializer_list>

namespace gyre {

// Calls `function` from a libuv callback on the loop of `env`, with at most two numbers, and then the
// microtasks that it queues. What it throws is an uncaught exception of that thread. Nothing happens
// while the environment is being torn down. It may close the handle whose callback this is, so look
// again whether that is open.
//
// Plain Node-API, here and for references: during teardown its calls fail, and the C++ wrapper would
// turn that into a fatal error.
void CallIntoJs(napi_env env, napi_ref function, std::initializer_list<int32_t> numbers = {});

}  // namespace gyre

#endif  // GYRE_CALLBACK_H_
