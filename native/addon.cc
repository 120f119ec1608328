// What JavaScript sees of the addon. Arguments are already validated by
// src/native.ts, the only file that loads this; here they are converted and
// passed on. Nothing throws: a call returns its result, or -errno.
//
// Per-environment state is the set of LoopHooks an environment attached (freed
// by their own cleanup hook); everything else is stateless or process-wide and
// documented where it lives.
#include <errno.h>
#include <napi.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "loop.h"
#include "platform.h"
#include "socket.h"
#include "thread.h"

namespace gyre {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

int Int(const CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().Int32Value(); }

std::string Text(const CallbackInfo& info, size_t index) {
  return info[index].As<Napi::String>().Utf8Value();
}

Value Result(const CallbackInfo& info, double value) { return Napi::Number::New(info.Env(), value); }

std::vector<int> CpuList(const CallbackInfo& info, size_t index) {
  auto list = info[index].As<Napi::Array>();
  std::vector<int> cpus;
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value item = list[i];
    cpus.push_back(item.As<Napi::Number>().Int32Value());
  }
  return cpus;
}

// threadId(): tid
Value ThreadIdOf(const CallbackInfo& info) { return Result(info, ThreadId()); }
// currentCpu(): cpu
Value CurrentCpuOf(const CallbackInfo& info) { return Result(info, CurrentCpu()); }

// getAffinity(tid): number[] | -errno
Value GetAffinityOf(const CallbackInfo& info) {
  std::vector<int> cpus;
  int error = GetAffinity(Int(info, 0), &cpus);
  if (error != 0) return Result(info, error);
  auto list = Napi::Array::New(info.Env(), cpus.size());
  for (size_t i = 0; i < cpus.size(); i++) {
    list.Set(static_cast<uint32_t>(i), Napi::Number::New(info.Env(), cpus[i]));
  }
  return list;
}

// setAffinity(tid, cpus)
Value SetAffinityOf(const CallbackInfo& info) {
  return Result(info, SetAffinity(Int(info, 0), CpuList(info, 1)));
}

// setThreadName(name)
Value SetThreadNameOf(const CallbackInfo& info) { return Result(info, SetThreadName(Text(info, 0).c_str())); }

// widenInChildren(cpus)
Value WidenInChildrenOf(const CallbackInfo& info) { return Result(info, WidenInChildren(CpuList(info, 0))); }

// markPinned(pinned)
Value MarkPinnedOf(const CallbackInfo& info) {
  MarkPinned(info[0].As<Napi::Boolean>().Value());
  return Result(info, 0);
}

// openTcp(address, port, family, flags, backlog): fd | -errno
Value OpenTcpOf(const CallbackInfo& info) {
  return Result(info, OpenTcp(Text(info, 0).c_str(), Int(info, 1), Int(info, 2), Int(info, 3), Int(info, 4)));
}

// openUnix(path, backlog): fd | -errno
Value OpenUnixOf(const CallbackInfo& info) { return Result(info, OpenUnix(Text(info, 0), Int(info, 1))); }

// duplicate(fd): fd | -errno
Value DuplicateOf(const CallbackInfo& info) { return Result(info, Duplicate(Int(info, 0))); }
// close(fd): 0 | -errno
Value CloseOf(const CallbackInfo& info) { return Result(info, Close(Int(info, 0))); }

// nameOf(fd): { family, port, text } | -errno
Value NameOfOf(const CallbackInfo& info) {
  SocketName name;
  int error = NameOf(Int(info, 0), &name);
  if (error != 0) return Result(info, error);
  auto result = Napi::Object::New(info.Env());
  result.Set("family", Napi::Number::New(info.Env(), name.family));
  result.Set("port", Napi::Number::New(info.Env(), name.port));
  result.Set("text", Napi::String::New(info.Env(), name.text));
  return result;
}

// cookieOf(fd): bigint | -errno
Value CookieOfOf(const CallbackInfo& info) {
  uint64_t cookie = 0;
  int error = CookieOf(Int(info, 0), &cookie);
  if (error != 0) return Result(info, error);
  return Napi::BigInt::New(info.Env(), cookie);
}

// closeIfSame(fd, cookie): 1 | 0 | -errno
Value CloseIfSameOf(const CallbackInfo& info) {
  bool lossless = false;
  uint64_t cookie = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
  return Result(info, CloseIfSame(Int(info, 0), cookie));
}

// misalignmentOf(view, alignment): bytes from the last multiple of `alignment`
// to the view's first byte in memory.
Value MisalignmentOf(const CallbackInfo& info) {
  auto address = reinterpret_cast<uintptr_t>(info[0].As<Napi::Int32Array>().Data());
  return Result(info, static_cast<double>(address % static_cast<uintptr_t>(Int(info, 1))));
}

// attachLoop(words, loopsIndex, heartbeatIndex, onWake): { wakeId, detach() } | -errno
Value AttachLoopOf(const CallbackInfo& info) {
  int error = 0;
  LoopHooks* hooks =
      LoopHooks::Attach(info.Env(), info[0].As<Napi::Int32Array>(), static_cast<uint32_t>(Int(info, 1)),
                        static_cast<uint32_t>(Int(info, 2)), info[3].As<Napi::Function>(), &error);
  if (hooks == nullptr) return Result(info, error);
  auto result = Napi::Object::New(info.Env());
  result.Set("wakeId", Napi::Number::New(info.Env(), hooks->wake_id()));
  // src/native.ts calls this at most once, and never after teardown began,
  // because no JavaScript runs then; so the pointer is still good.
  result.Set("detach", Napi::Function::New(info.Env(), [hooks](const CallbackInfo&) { hooks->Detach(); }));
  return result;
}

// wake(wakeId): whether that loop still exists
Value WakeOf(const CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), LoopHooks::Wake(info[0].As<Napi::Number>().Uint32Value()));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("linux", Napi::Boolean::New(env, GYRE_LINUX != 0));
  struct {
    const char* name;
    Value (*function)(const CallbackInfo&);
  } const table[] = {
      {"threadId", ThreadIdOf},
      {"currentCpu", CurrentCpuOf},
      {"getAffinity", GetAffinityOf},
      {"setAffinity", SetAffinityOf},
      {"setThreadName", SetThreadNameOf},
      {"widenInChildren", WidenInChildrenOf},
      {"markPinned", MarkPinnedOf},
      {"openTcp", OpenTcpOf},
      {"openUnix", OpenUnixOf},
      {"duplicate", DuplicateOf},
      {"close", CloseOf},
      {"nameOf", NameOfOf},
      {"cookieOf", CookieOfOf},
      {"closeIfSame", CloseIfSameOf},
      {"misalignmentOf", MisalignmentOf},
      {"attachLoop", AttachLoopOf},
      {"wake", WakeOf},
  };
  for (const auto& entry : table) {
    exports.Set(entry.name, Napi::Function::New(env, entry.function, entry.name));
  }
  return exports;
}

}  // namespace

NODE_API_MODULE(gyre, Init)

}  // namespace gyre
