// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/lower_watch.h"

#include <utility>

namespace unionfs {

LowerWatch::LowerWatch(const LayerOverLower& layer, LogSink log)
    : layer_(layer), log_(std::move(log)), thread_([this] { compare(); }) {}

LowerWatch::~LowerWatch() {
  is_stopped_.store(true);
  wait();
}

void LowerWatch::wait() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

Result<void> LowerWatch::refuse() const {
  return system_failure(EIO,
                        fmt::format("{}: is not the lower that {} was made over, as the log says",
                                    layer_.below().name(), layer_.upper().name()));
}

void LowerWatch::compare() {
  const LowerComparison comparison = layer_.lower_comparison(is_stopped_);
  for (const uint32_t index : layer_.uncompared()) {
    if (is_stopped_.load(std::memory_order_relaxed)) {
      return;
    }
    const Result<void> compared = comparison.compare(index);
    if (compared) {
      continue;
    }
    if (compared.error().error_number == ECANCELED) {
      return;
    }
    // A host that cannot read it says nothing about which lower it is.
    if (compared.error().kind == ErrorKind::kSystem) {
      log_(fmt::format("the rest of the lower is not compared: {}", compared.error().message));
      return;
    }
    log_(fmt::format("{}; every request fails from now on", compared.error().message));
    differs_.store(true, std::memory_order_release);
    return;
  }
}

}  // namespace unionfs
