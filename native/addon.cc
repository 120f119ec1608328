// What JavaScript sees of the addon: the table of exports, and the conversion of their arguments,
// which src/native-addon.ts has as types. Nothing is checked here: a wrong type, an index outside of
// its array or a call of a handle that was closed is undefined behaviour. Nothing throws: a call
// returns its result, or -errno.
//
// Each is called on the thread of its environment. Per-environment state is what an environment
// attached, watches and claimed (LoopHooks, PollHandle, QueueWatch, Watcher, CPUs), each freed by its
// own cleanup hook; everything else is stateless or process-wide and documented where it lives.
#include <errno.h>
#include <napi.h>
#include <stdint.h>
#include <string.h>

#include <limits>
#include <string>
#include <vector>

#include "address.h"
#include "batching.h"
#include "claim.h"
#include "cpuid.h"
#include "datagram.h"
#include "descriptor.h"
#include "loop.h"
#include "memory.h"
#include "pin.h"
#include "platform.h"
#include "queue_watch.h"
#include "readiness.h"
#include "ready.h"
#include "safepoint.h"
#include "socket.h"
#include "taking.h"
#include "thread.h"
#include "uv_api.h"
#include "watcher.h"

namespace gyre {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

int Int(const CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().Int32Value(); }

uint32_t Uint(const CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().Uint32Value(); }
int64_t Long(const CallbackInfo& info, size_t index) { return info[index].As<Napi::Number>().Int64Value(); }

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

// loosen(cpus), tighten()
Value LoosenOf(const CallbackInfo& info) { return Result(info, Loosen(CpuList(info, 0))); }
Value TightenOf(const CallbackInfo& info) { return Result(info, Tighten()); }

// setCpus(peerId, cpus)
Value SetCpusOf(const CallbackInfo& info) {
  return Result(info, SetCpus(Uint(info, 0), CpuList(info, 1)));
}

// stepBack(peerId, levels)
Value StepBackOf(const CallbackInfo& info) {
  return Result(info, StepBack(Uint(info, 0), Int(info, 1)));
}

// usageOf(peerId, out: Float64Array[5]): 0 | -errno; out = run and delay in ns, runs, CPU, 1 if it
// is runnable
Value UsageOfOf(const CallbackInfo& info) {
  Usage usage;
  int error = UsageOf(Uint(info, 0), &usage);
  double* out = info[1].As<Napi::Float64Array>().Data();
  out[0] = static_cast<double>(usage.run_ns);
  out[1] = static_cast<double>(usage.delay_ns);
  out[2] = static_cast<double>(usage.runs);
  out[3] = usage.cpu;
  out[4] = usage.runnable ? 1 : 0;
  return Result(info, error);
}

// claimCpu(cpus): cpu; released when this environment ends
Value ClaimCpuOf(const CallbackInfo& info) {
  // A hook's data must not be that of another, and the same CPU may be claimed twice.
  auto* claimed = new int(ClaimCpu(CpuList(info, 0)));
  napi_add_env_cleanup_hook(
      info.Env(),
      [](void* data) {
        auto* cpu = static_cast<int*>(data);
        ReleaseCpu(*cpu);
        delete cpu;
      },
      claimed);
  return Result(info, *claimed);
}

// openTcp(address, port, family, flags, backlog): fd | -errno
Value OpenTcpOf(const CallbackInfo& info) {
  return Result(info, OpenTcp(Text(info, 0).c_str(), Int(info, 1), Int(info, 2), Int(info, 3), Int(info, 4)));
}

// openUnix(path, backlog): fd | -errno
Value OpenUnixOf(const CallbackInfo& info) { return Result(info, OpenUnix(Text(info, 0), Int(info, 1))); }

// dropHandshakes(fd): 0 | -errno
Value DropHandshakesOf(const CallbackInfo& info) { return Result(info, DropHandshakes(Int(info, 0))); }

// stopListening(fd): 0 | -errno
Value StopListeningOf(const CallbackInfo& info) { return Result(info, StopListening(Int(info, 0))); }

// duplicate(fd): fd | -errno
Value DuplicateOf(const CallbackInfo& info) { return Result(info, Duplicate(Int(info, 0))); }
// nextDescriptor(any): fd | -errno
Value NextDescriptorOf(const CallbackInfo& info) { return Result(info, NextDescriptor(Int(info, 0))); }
// close(fd): 0 | -errno
Value CloseOf(const CallbackInfo& info) { return Result(info, Close(Int(info, 0))); }

// openUdp(address, port, family, flags, receiveBufferBytes): fd | -errno
Value OpenUdpOf(const CallbackInfo& info) {
  return Result(info, OpenUdp(Text(info, 0).c_str(), Int(info, 1), Int(info, 2), Int(info, 3), Int(info, 4)));
}

Value AddressResult(const CallbackInfo& info, int error, const Address& name) {
  if (error != 0) return Result(info, error);
  auto result = Napi::Object::New(info.Env());
  result.Set("family", Napi::Number::New(info.Env(), name.family));
  result.Set("port", Napi::Number::New(info.Env(), name.port));
  result.Set("text", Napi::String::New(info.Env(), name.text));
  return result;
}

// nameOf(fd), udpNameOf(fd): { family, port, text } | -errno
Value NameOfOf(const CallbackInfo& info) {
  Address name;
  int error = NameOf(Int(info, 0), &name);
  return AddressResult(info, error, name);
}
Value UdpNameOfOf(const CallbackInfo& info) {
  Address name;
  int error = UdpNameOf(Int(info, 0), &name);
  return AddressResult(info, error, name);
}

// receiveDatagram(fd, data: Uint8Array, peer: Uint8Array[28], words: Int32Array, index)
//   : length | -errno; adds 1 to words[index] when there was one
Value ReceiveDatagramOf(const CallbackInfo& info) {
  auto data = info[1].As<Napi::Uint8Array>();
  int32_t* words = info[3].As<Napi::Int32Array>().Data();
  return Result(info, static_cast<double>(ReceiveDatagram(Int(info, 0), data.Data(), data.ByteLength(),
                                                          info[2].As<Napi::Uint8Array>().Data(),
                                                          words + Int(info, 4))));
}

// sendDatagram(fd, data, peer: Uint8Array[28]): bytes | -errno
Value SendDatagramOf(const CallbackInfo& info) {
  auto data = info[1].As<Napi::Uint8Array>();
  return Result(info, static_cast<double>(SendDatagram(Int(info, 0), data.Data(), data.ByteLength(),
                                                       info[2].As<Napi::Uint8Array>().Data())));
}

// peerNameOf(peer: Uint8Array[28]): { family, port, text } | -errno
Value PeerNameOfOf(const CallbackInfo& info) {
  Address name;
  int error = PeerNameOf(info[0].As<Napi::Uint8Array>().Data(), &name);
  return AddressResult(info, error, name);
}

// droppedAt(fd): count | -errno
Value DroppedAtOf(const CallbackInfo& info) { return Result(info, static_cast<double>(DroppedAt(Int(info, 0)))); }

// createPoll(fd, onReady): { start(events), stop(), close() } | -errno
Value CreatePollOf(const CallbackInfo& info) {
  int error = 0;
  PollHandle* poll = PollHandle::Create(info.Env(), Int(info, 0), info[1].As<Napi::Function>(), &error);
  if (poll == nullptr) return Result(info, error);
  // As with attachLoop(): nobody calls any of these after close().
  auto result = Napi::Object::New(info.Env());
  result.Set("start", Napi::Function::New(info.Env(), [poll](const CallbackInfo& call) -> Napi::Value {
               return Result(call, poll->Start(Int(call, 0)));
             }));
  result.Set("stop", Napi::Function::New(info.Env(), [poll](const CallbackInfo&) { poll->Stop(); }));
  result.Set("close", Napi::Function::New(info.Env(), [poll](const CallbackInfo&) { poll->Close(); }));
  return result;
}

// pollNow(fd): events | -errno
Value PollNowOf(const CallbackInfo& info) { return Result(info, PollNow(Int(info, 0))); }

// cookieOf(fd): bigint | -errno
Value CookieOfOf(const CallbackInfo& info) {
  uint64_t cookie = 0;
  int error = CookieOf(Int(info, 0), &cookie);
  if (error != 0) return Result(info, error);
  return Napi::BigInt::New(info.Env(), cookie);
}

// socketOf(fd): the lower half of its cookie, 0 if it has none
Value SocketOfOf(const CallbackInfo& info) {
  return Napi::Number::New(info.Env(), SocketOf(Int(info, 0)));
}

// queueOf(fd): [length, limit, dropped] | -errno
Value QueueOfOf(const CallbackInfo& info) {
  QueueState queue;
  int error = QueueOf(Int(info, 0), &queue);
  if (error != 0) return Result(info, error);
  auto result = Napi::Array::New(info.Env(), 3);
  result.Set(0u, Napi::Number::New(info.Env(), queue.length));
  result.Set(1u, Napi::Number::New(info.Env(), queue.limit));
  result.Set(2u, Napi::Number::New(info.Env(), queue.dropped));
  return result;
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

// adviseHuge(view, hugeBytes): bytes | -errno
Value AdviseHugeOf(const CallbackInfo& info) {
  auto view = info[0].As<Napi::Int32Array>();
  auto huge_bytes = static_cast<size_t>(Long(info, 1));
  return Result(info, static_cast<double>(AdviseHuge(view.Data(), view.ByteLength(), huge_bytes)));
}

// A connection table: { words: Int32Array, layout: Int32Array } where `layout` holds the
// twelve fields of TableLayout in their order.
Table TableOf(const Napi::Value& value) {
  auto object = value.As<Napi::Object>();
  auto words = object.Get("words").As<Napi::Int32Array>();
  auto layout = object.Get("layout").As<Napi::Int32Array>();
  Table table;
  static_assert(sizeof(table.layout) == 13 * sizeof(int32_t), "thirteen fields");
  memcpy(&table.layout, layout.Data(), sizeof(table.layout));
  table.words = words.Data();
  table.descriptors = static_cast<int32_t>(words.ElementLength()) / table.layout.entry_words;
  return table;
}

// attachLoop(words, loopsIndex, heartbeatIndex, onWake, rounds, times)
//   : { wakeId, detach() } | -errno
// where `rounds` is null or { table, owner, busyUs, eventsMin, fastEvents, outstandingIndex,
// newcomersIndex, messagesIndex, armedIndex, out, onRound, onArm } as in RoundSettings, and
// `times` is null or { sumIndex, countIndex, bucketsIndex, buckets } as in TimesSettings.
Value AttachLoopOf(const CallbackInfo& info) {
  RoundSettings settings;
  bool has_rounds = info[4].IsObject();
  if (has_rounds) {
    auto rounds = info[4].As<Napi::Object>();
    auto number = [&rounds](const char* name) { return Napi::Value(rounds.Get(name)).As<Napi::Number>(); };
    Napi::Value table = rounds.Get("table");
    settings.table = TableOf(table);
    settings.table_words = Napi::Value(table.As<Napi::Object>().Get("words")).As<Napi::Int32Array>();
    settings.owner = number("owner").Int32Value();
    settings.busy_ns = number("busyUs").Int64Value() * 1000;
    settings.events_min = number("eventsMin").Int32Value();
    settings.fast_events = number("fastEvents").Uint32Value();
    settings.outstanding_index = number("outstandingIndex").Uint32Value();
    settings.newcomers_index = number("newcomersIndex").Uint32Value();
    settings.messages_index = number("messagesIndex").Uint32Value();
    settings.armed_index = number("armedIndex").Uint32Value();
    settings.out = Napi::Value(rounds.Get("out")).As<Napi::Int32Array>();
    settings.on_round = Napi::Value(rounds.Get("onRound")).As<Napi::Function>();
    settings.on_arm = Napi::Value(rounds.Get("onArm")).As<Napi::Function>();
  }
  TimesSettings counting;
  bool has_times = info[5].IsObject();
  if (has_times) {
    auto times = info[5].As<Napi::Object>();
    auto index = [&times](const char* name) {
      return Napi::Value(times.Get(name)).As<Napi::Number>().Uint32Value();
    };
    counting.sum_index = index("sumIndex");
    counting.count_index = index("countIndex");
    counting.buckets_index = index("bucketsIndex");
    counting.buckets = index("buckets");
  }
  int error = 0;
  LoopHooks* hooks = LoopHooks::Attach(info.Env(), info[0].As<Napi::Int32Array>(), Uint(info, 1), Uint(info, 2),
                                       info[3].As<Napi::Function>(), has_rounds ? &settings : nullptr,
                                       has_times ? &counting : nullptr, &error);
  if (hooks == nullptr) return Result(info, error);
  auto result = Napi::Object::New(info.Env());
  result.Set("wakeId", Napi::Number::New(info.Env(), hooks->peer_id()));
  // src/native.ts calls this at most once, and nobody after teardown began,
  // because no JavaScript runs then; so the pointer is still good.
  result.Set("detach", Napi::Function::New(info.Env(), [hooks](const CallbackInfo&) { hooks->Detach(); }));
  return result;
}

// stopBatching(): whether this loop has no ring from here on
Value StopBatchingOf(const CallbackInfo& info) {
  uv_loop_t* loop = nullptr;
  bool known = napi_get_uv_event_loop(info.Env(), reinterpret_cast<uv_loop_s**>(&loop)) == napi_ok;
  return Napi::Boolean::New(info.Env(), known && (StopBatching(loop) || !AnyBatches()));
}

// wake(wakeId): whether that loop still exists
Value WakeOf(const CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), WakePeer(Uint(info, 0)));
}

// installSafepoint(): 0 | -errno
Value InstallSafepointOf(const CallbackInfo& info) { return Result(info, InstallSafepoint()); }

// { table, mail }, each with its words and a layout: `mail` has the fields of MailLayout.
Shared SharedOf(const Napi::Value& value) {
  auto object = value.As<Napi::Object>();
  auto mail = Napi::Value(object.Get("mail")).As<Napi::Object>();
  Shared shared;
  shared.table = TableOf(object.Get("table"));
  auto layout = Napi::Value(mail.Get("layout")).As<Napi::Int32Array>();
  static_assert(sizeof(shared.mail.layout) == 16 * sizeof(int32_t), "sixteen fields");
  memcpy(&shared.mail.layout, layout.Data(), sizeof(shared.mail.layout));
  shared.mail.words = Napi::Value(mail.Get("words")).As<Napi::Int32Array>().Data();
  return shared;
}

// peek(peerId, worker, shared, out: Int32Array[4]): 0 | -errno; out = movable, queued, other, mail
Value PeekOf(const CallbackInfo& info) {
  Ready ready;
  int error = Peek(Uint(info, 0), Int(info, 1), SharedOf(info[2]), &ready);
  int32_t* out = info[3].As<Napi::Int32Array>().Data();
  out[0] = ready.movable;
  out[1] = ready.queued;
  out[2] = ready.other;
  out[3] = ready.mail;
  return Result(info, error);
}

// inPoll(peerId): whether that loop sleeps in epoll_wait
Value InPollOf(const CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), InPoll(Uint(info, 0)));
}

// stuckNs(peerId): for how long it has not returned to its loop
Value StuckNsOf(const CallbackInfo& info) {
  return Result(info, static_cast<double>(StuckNs(Uint(info, 0))));
}

// responds(peerId, timeoutUs): whether its thread reaches its signal handler
Value RespondsOf(const CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Responds(Uint(info, 0), Int(info, 1)));
}

// idleNs(peerId): how long that loop has slept, or NaN
Value IdleNsOf(const CallbackInfo& info) {
  int64_t ns = 0;
  bool known = IdleNs(Uint(info, 0), &ns);
  return Result(info, known ? static_cast<double>(ns) : std::numeric_limits<double>::quiet_NaN());
}

// atBoundary(fd, boundary, fresh)
Value AtBoundaryOf(const CallbackInfo& info) {
  double boundary = info[1].As<Napi::Number>().DoubleValue();
  bool fresh = info[2].As<Napi::Boolean>().Value();
  return Napi::Boolean::New(info.Env(), AtBoundary(Int(info, 0), boundary, fresh));
}

// What counterOf() makes. A plain Node-API callback: node's parsers call it while a thread is being
// terminated, too.
napi_value CountOne(napi_env env, napi_callback_info info) {
  void* word = nullptr;
  if (napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &word) == napi_ok) {
    ++*static_cast<uint32_t*>(word);
  }
  return nullptr;
}

// counterOf(words: Int32Array, index): a function that adds one to words[index], which lives longer
Value CounterOf(const CallbackInfo& info) {
  napi_env env = info.Env();
  napi_value counter = nullptr;
  int32_t* word = info[0].As<Napi::Int32Array>().Data() + Int(info, 1);
  napi_create_function(env, nullptr, 0, CountOne, word, &counter);
  return Napi::Value(env, counter);
}

// listenOn(fd, backlog): 0 | -errno
Value ListenOnOf(const CallbackInfo& info) { return Result(info, Listen(Int(info, 0), Int(info, 1))); }

// acceptOne(fd): fd | -errno
Value AcceptOneOf(const CallbackInfo& info) { return Result(info, AcceptOne(Int(info, 0))); }

// watchQueue(fd, accepted: Int32Array[1], onReady)
//   : { start(): 0 | -errno, stop(), ref(), unref(), accept(): fd | -errno, close() } | -errno
Value WatchQueueOf(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int error = 0;
  QueueWatch* watch = QueueWatch::Create(env, Int(info, 0), info[1].As<Napi::Int32Array>(),
                                         info[2].As<Napi::Function>(), &error);
  if (watch == nullptr) return Result(info, error);
  // As with attachLoop(): nobody calls any of these after close().
  auto result = Napi::Object::New(env);
  result.Set("start", Napi::Function::New(env, [watch](const CallbackInfo& call) -> Napi::Value {
               return Result(call, watch->Start());
             }));
  result.Set("accept", Napi::Function::New(env, [watch](const CallbackInfo& call) -> Napi::Value {
               return Result(call, watch->Accept());
             }));
  result.Set("stop", Napi::Function::New(env, [watch](const CallbackInfo&) { watch->Stop(); }));
  result.Set("ref", Napi::Function::New(env, [watch](const CallbackInfo&) { watch->Ref(); }));
  result.Set("unref", Napi::Function::New(env, [watch](const CallbackInfo&) { watch->Unref(); }));
  result.Set("close", Napi::Function::New(env, [watch](const CallbackInfo&) { watch->Close(); }));
  return result;
}

// createWatcher(slots, tickUs, onStall, sampleUs, onSample): { set(i, peerId), still(i), stalled(i), continue(),
// stop(), neverFd } | -errno
Value CreateWatcherOf(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int error = 0;
  Watcher* watcher = Watcher::Create(env, Uint(info, 0), Long(info, 1), info[2].As<Napi::Function>(), Long(info, 3),
                                     info[4].As<Napi::Function>(), &error);
  if (watcher == nullptr) return Result(info, error);
  // As with attachLoop(): nobody calls any of these after stop().
  auto result = Napi::Object::New(env);
  result.Set("neverFd", Napi::Number::New(env, watcher->never_fd()));
  result.Set("set", Napi::Function::New(env, [watcher](const CallbackInfo& call) {
               watcher->Set(Uint(call, 0), Uint(call, 1));
             }));
  result.Set("still", Napi::Function::New(env, [watcher](const CallbackInfo& call) -> Napi::Value {
               return Napi::Boolean::New(call.Env(), watcher->Still(Uint(call, 0)));
             }));
  result.Set("stalled", Napi::Function::New(env, [watcher](const CallbackInfo& call) -> Napi::Value {
               return Napi::Boolean::New(call.Env(), watcher->Stalled(Uint(call, 0)));
             }));
  result.Set("continue", Napi::Function::New(env, [watcher](const CallbackInfo&) { watcher->Continue(); }));
  result.Set("stop", Napi::Function::New(env, [watcher](const CallbackInfo&) { watcher->Stop(); }));
  return result;
}

// `words` is the scoreboard; `places` and `taken` are indices into it.
Quota QuotaOf(const Napi::Value& value) {
  auto quota = value.As<Napi::Object>();
  auto number = [&quota](const char* name) { return quota.Get(name).As<Napi::Number>().Int32Value(); };
  int32_t* words = quota.Get("words").As<Napi::Int32Array>().Data();
  return {words + number("places"), number("placesMax"), number("acceptMax"), words + number("taken")};
}

// take(peerId, worker, shared, neverFd, max, quota: { words, places, placesMax, acceptMax, taken },
//      timeoutUs, idleFrom, out: Int32Array, stats: Float64Array[3])
//   : how many were taken | -errno
// Each taken thing is 8 words in `out`: kind, fd, oldFd, listener, generation, unused, and
// the boundary as a double. stats = mismatches, failures, pause in ns.
Value TakeOf(const CallbackInfo& info) {
  Taken taken[kTakeMax];
  TakeResult result;
  int error = Take(Uint(info, 0), Int(info, 1), SharedOf(info[2]), Int(info, 3), Int(info, 4), QuotaOf(info[5]),
                   Int(info, 6), Int(info, 7), taken, &result);
  if (error != 0) return Result(info, error);
  int32_t* out = info[8].As<Napi::Int32Array>().Data();
  for (int i = 0; i < result.taken; i++, out += 8) {
    const MailEntry& entry = taken[i].entry;
    out[0] = entry.kind;
    out[1] = entry.fd;
    out[2] = taken[i].old_fd;
    out[3] = entry.listener;
    out[4] = entry.generation;
    memcpy(out + 6, &entry.boundary, sizeof(double));
  }
  double* stats = info[9].As<Napi::Float64Array>().Data();
  stats[0] = result.mismatches;
  stats[1] = result.failures;
  stats[2] = static_cast<double>(result.pause_ns);
  return Result(info, result.taken);
}

// withdraw(peerId, fd, cookie, timeoutUs): 0 | -errno
Value WithdrawOf(const CallbackInfo& info) {
  bool lossless = false;
  uint64_t cookie = info[2].As<Napi::BigInt>().Uint64Value(&lossless);
  return Result(info, Withdraw(Uint(info, 0), Int(info, 1), cookie, Int(info, 3)));
}

// cpuid(leaf, subleaf, out: Uint32Array[4]): 0 | -ENOSYS
Value CpuidOf(const CallbackInfo& info) {
  auto out = info[2].As<Napi::Uint32Array>();
  return Result(info, Cpuid(Uint(info, 0), Uint(info, 1), out.Data()));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  PrepareThread();
  exports.Set("linux", Napi::Boolean::New(env, GYRE_LINUX != 0));
  struct {
    const char* name;
    Value (*function)(const CallbackInfo&);
  } const table[] = {
      {"threadId", ThreadIdOf},
      {"getAffinity", GetAffinityOf},
      {"setAffinity", SetAffinityOf},
      {"setThreadName", SetThreadNameOf},
      {"widenInChildren", WidenInChildrenOf},
      {"markPinned", MarkPinnedOf},
      {"loosen", LoosenOf},
      {"tighten", TightenOf},
      {"setCpus", SetCpusOf},
      {"stepBack", StepBackOf},
      {"usageOf", UsageOfOf},
      {"claimCpu", ClaimCpuOf},
      {"openTcp", OpenTcpOf},
      {"openUnix", OpenUnixOf},
      {"dropHandshakes", DropHandshakesOf},
      {"stopListening", StopListeningOf},
      {"duplicate", DuplicateOf},
      {"nextDescriptor", NextDescriptorOf},
      {"close", CloseOf},
      {"nameOf", NameOfOf},
      {"openUdp", OpenUdpOf},
      {"udpNameOf", UdpNameOfOf},
      {"receiveDatagram", ReceiveDatagramOf},
      {"sendDatagram", SendDatagramOf},
      {"peerNameOf", PeerNameOfOf},
      {"droppedAt", DroppedAtOf},
      {"createPoll", CreatePollOf},
      {"pollNow", PollNowOf},
      {"cookieOf", CookieOfOf},
      {"socketOf", SocketOfOf},
      {"closeIfSame", CloseIfSameOf},
      {"queueOf", QueueOfOf},
      {"misalignmentOf", MisalignmentOf},
      {"adviseHuge", AdviseHugeOf},
      {"attachLoop", AttachLoopOf},
      {"stopBatching", StopBatchingOf},
      {"wake", WakeOf},
      {"installSafepoint", InstallSafepointOf},
      {"peek", PeekOf},
      {"inPoll", InPollOf},
      {"stuckNs", StuckNsOf},
      {"responds", RespondsOf},
      {"idleNs", IdleNsOf},
      {"atBoundary", AtBoundaryOf},
      {"counterOf", CounterOf},
      {"listenOn", ListenOnOf},
      {"acceptOne", AcceptOneOf},
      {"watchQueue", WatchQueueOf},
      {"createWatcher", CreateWatcherOf},
      {"take", TakeOf},
      {"withdraw", WithdrawOf},
      {"cpuid", CpuidOf},
  };
  for (const auto& entry : table) {
    exports.Set(entry.name, Napi::Function::New(env, entry.function, entry.name));
  }
  return exports;
}

}  // namespace

NODE_API_MODULE(gyre, Init)

}  // namespace gyre
