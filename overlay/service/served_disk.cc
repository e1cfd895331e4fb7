// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/served_disk.h"

#include "overlay/host/scope_exit.h"

namespace unionfs {

Result<std::unique_ptr<ServedDisk>> ServedDisk::prepare(OverlayOptions options) {
  LogSink log = options.log;
  UNIONFS_ASSIGN(auto overlay, Overlay::prepare(std::move(options)));
  return std::unique_ptr<ServedDisk>(new ServedDisk(std::move(overlay), std::move(log)));
}

std::unique_ptr<ServedDisk> ServedDisk::prepare_later(OverlayOptions options, Overlay& empty) {
  options.expected_upper = ExpectedUpper::kNone;
  return std::unique_ptr<ServedDisk>(new ServedDisk(std::move(options), empty));
}

void ServedDisk::start(ServingOptions options) {
  serving_ = std::move(options);
  overlay().start_remote();
  if (!serving_.is_shared) {
    writers_ = std::make_unique<Writers>(serving_.is_gone, log_, overlay().longest_wait());
  }
  if (has_upper()) {
    const MutexLock lock(mutex_);
    begin_checkpoints();
  }
}

void ServedDisk::begin_checkpoints() {
  if (!serving_.has_checkpoints) {
    return;
  }
  checkpointer_ = std::make_unique<AutoCheckpoint>(*overlay_, log_, serving_.debug_checkpoint,
                                                   steady_clock(), serving_.checkpoint_totals);
  for (uint64_t i = 0; i < clients_; ++i) {
    checkpointer_->client_opens();
  }
  checkpointer_->start(serving_.left_session, serving_.checkpoints_when);
}

// What an attempt that failed has made already is there for the next one.
Result<void> ServedDisk::make_upper() {
  const MutexLock making(making_mutex_);
  if (has_upper()) {
    return {};
  }
  if (overlay_ == nullptr) {
    UNIONFS_ASSIGN(overlay_, Overlay::prepare(later_));
  }
  UNIONFS_TRY(overlay_->open(Access::kReadWrite));
  const MutexLock lock(mutex_);
  begin_checkpoints();
  shown_.store(overlay_.get(), std::memory_order_release);
  return {};
}

const Chain& ServedDisk::chain() const {
  return shown_.load(std::memory_order_acquire)->chain();
}

void ServedDisk::client_comes() {
  chain().client_came();
  const MutexLock lock(mutex_);
  ++clients_;
  if (checkpointer_) {
    checkpointer_->client_opens();
  }
}

Result<std::unique_ptr<DiskClient>> ServedDisk::open(Access access,
                                                     const std::function<Peer()>& find_peer) {
  client_comes();
  std::unique_ptr<DiskClient> client;
  bool is_open = false;
  const ScopeExit close_again([&] {
    if (!is_open) {
      close(std::move(client));
    }
  });
  client = std::make_unique<DiskClient>(DiskClient{access});
  if (writers_ && access == Access::kReadWrite) {
    client->connection = writers_->open(find_peer());
    if (client->connection->is_read_only()) {
      client->access = Access::kReadOnly;
    }
  }
  Overlay* const shown = shown_.load(std::memory_order_acquire);
  UNIONFS_TRY(shown->open(shown == empty_ ? Access::kReadOnly : client->access));
  is_open = true;
  return client;
}

void ServedDisk::close(std::unique_ptr<DiskClient> client) {
  if (client != nullptr && client->connection != nullptr) {
    writers_->close(std::move(client->connection));
  }
  chain().client_went();
  const MutexLock lock(mutex_);
  --clients_;
  if (checkpointer_) {
    checkpointer_->client_closed();
  }
}

Result<void> ServedDisk::finish() {
  if (!has_upper()) {
    return {};
  }
  if (AutoCheckpoint* const checkpoints = checkpointer(); checkpoints != nullptr) {
    checkpoints->finish();
  }
  return overlay_->close();
}

}  // namespace unionfs
