#include "callback.h"

#include <stddef.h>

namespace gyre {

void CallIntoJs(napi_env env, napi_ref function, std::initializer_list<int32_t> numbers) {
  napi_handle_scope scope;
  napi_value global;
  napi_value callee;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_global(env, &global) == napi_ok &&
      napi_get_reference_value(env, function, &callee) == napi_ok) {
    napi_value result;
    napi_value error;
    napi_value arguments[2];
    size_t count = 0;
    for (int32_t number : numbers) {
      if (count < 2 && napi_create_int32(env, number, &arguments[count]) == napi_ok) count++;
    }
    if (napi_make_callback(env, nullptr, global, callee, count, arguments, &result) ==
            napi_pending_exception &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);
    }
  }
  napi_close_handle_scope(env, scope);
}

}  // namespace gyre
