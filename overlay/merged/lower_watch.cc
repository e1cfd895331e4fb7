// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/lower_watch.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace unionfs {

LowerWatch::LowerWatch(const LayerOverLower& layer, LogSink log)
    : layer_(layer), log_(std::move(log)), thread_([this] { compare_all(); }) {}

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

// No memory for it, say: then nothing is known, and checkpoints compare by themselves.
void LowerWatch::compare_all() {
  try {
    bool was_read = true;
    for (const LayerOverLower* layer = &layer_; layer != nullptr; layer = layer->layer_below()) {
      if (!layer->is_compared() && !compare_layer(*layer, was_read)) {
        return;
      }
      if (was_read) {
        layer->note_compared();
      }
    }
    is_all_same_.store(was_read, std::memory_order_release);
  } catch (const std::exception&) {
  }
}

bool LowerWatch::compare_layer(const LayerOverLower& layer, bool& was_read) {
  const LowerComparison comparison = layer.lower_comparison(is_stopped_);
  return std::all_of(layer.uncompared().begin(), layer.uncompared().end(),
                     [&](uint32_t index) { return compare(comparison, index, was_read); });
}

bool LowerWatch::compare(const LowerComparison& comparison, uint32_t index, bool& was_read) {
  const Result<void> compared = comparison.compare(index);
  if (is_stopped_.load(std::memory_order_relaxed)) {
    return false;
  }
  if (compared) {
    return true;
  }
  // A host that cannot read it says nothing about which lower it is.
  if (compared.error().kind == ErrorKind::kSystem) {
    if (std::exchange(was_read, false)) {
      log_(fmt::format("a part of the lower is not compared: {}", compared.error().message));
    }
    return true;
  }
  log_(fmt::format("{}; every request fails from now on", compared.error().message));
  differs_.store(true, std::memory_order_release);
  return false;
}

}  // namespace unionfs
