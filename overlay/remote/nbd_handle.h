// SPDX-License-Identifier: BSD-3-Clause
//
// One connection to an NBD server, as libnbd has it.
#ifndef UNIONFS_OVERLAY_REMOTE_NBD_HANDLE_H
#define UNIONFS_OVERLAY_REMOTE_NBD_HANDLE_H

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "fsparse/image.h"

struct nbd_handle;

namespace unionfs {

using RemoteTime = std::chrono::steady_clock::time_point;

// A descriptor for poll() that others make readable.  signal() is thread-safe.
class WakeEvent {
 public:
  WakeEvent();
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  void signal();
  // Makes it unreadable again.
  void clear();
  int descriptor() const { return descriptor_; }

 private:
  const int descriptor_;
};

// What the server says of the export.  Sizes are in bytes.
struct RemoteExport {
  std::string name;  // as it was asked for; may be empty
  uint64_t size_bytes = 0;
  uint32_t minimum_bytes = 1;  // of a read and its offset; a power of two
  uint32_t maximum_bytes = 0;  // of a read; a multiple of the minimum
  bool allows_many_connections = false;
  bool has_block_status = false;
  bool is_read_only = false;
};

// Used by one thread at a time.  Errors name the address and what libnbd says.
class NbdHandle {
 public:
  // Connects, handshake and all; looking up a name may take longer than the deadline.
  // ECANCELED once `stop` is readable, ETIMEDOUT at the deadline.
  static Result<std::unique_ptr<NbdHandle>> connect(const std::string& uri, RemoteTime deadline,
                                                    const WakeEvent& stop);
  // No command may be in flight.
  ~NbdHandle();
  NbdHandle(const NbdHandle&) = delete;
  NbdHandle& operator=(const NbdHandle&) = delete;

  nbd_handle* get() const { return handle_; }
  // The address, without what is secret in it.
  const std::string& name() const { return shown_; }
  const RemoteExport& about() const { return about_; }

  // A range that the server takes.  Waits.  After an error the handle is of no use.
  Result<void> read(uint64_t offset, ByteSpan buffer, RemoteTime deadline, const WakeEvent& stop);

  // Whether there is no connection any more, and nothing in flight.
  bool is_dead() const;
  // What poll() is to wait for.
  int descriptor() const;
  short wanted_events() const;
  // After poll(): lets libnbd send and receive.  Calls completions.
  void proceed(short events);
  // Ends the connection.  All that is in flight is completed with an error when it returns.
  void kill();
  // What went wrong last in this thread.
  std::string last_message() const;

 private:
  explicit NbdHandle(std::string uri);

  Result<void> begin_connecting();
  Result<void> learn();
  // Until the predicate holds.
  template <typename Predicate>
  Result<void> drive(Predicate&& is_done, RemoteTime deadline, const WakeEvent& stop);
  Failure failure() const;

  const std::string uri_;
  const std::string shown_;  // the same, without what is secret in it
  nbd_handle* const handle_;
  RemoteExport about_;
};

// The largest read that is ever sent.
constexpr uint32_t kMaxRemoteReadBytes = uint32_t{32} << 20;

// The whole export through one handle, in pieces that the server takes, of up to 256 KiB and
// kept until another is needed.  One thread.
class HandleImage final : public Image {
 public:
  HandleImage(NbdHandle& handle, RemoteTime deadline, const WakeEvent& stop)
      : handle_(handle), deadline_(deadline), stop_(stop) {}

  const std::string& name() const override { return handle_.name(); }
  uint64_t size_bytes() const override { return handle_.about().size_bytes; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;

 private:
  Result<void> fill_window(uint64_t offset) const;

  NbdHandle& handle_;
  const RemoteTime deadline_;
  const WakeEvent& stop_;
  mutable uint64_t window_offset_ = 0;
  mutable std::vector<std::byte> window_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_NBD_HANDLE_H
