// SPDX-License-Identifier: BSD-3-Clause
//
// nbd-read-all URI: reads an export from its beginning to its end and asks for the
// state of every block of it; a read that fails is told and does not end the run.
//
// Exit status: 0 all was read, 2 some reads failed, 1 there was no connection or it
// was lost.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include <fmt/format.h>
#include <libnbd.h>

namespace {

constexpr std::uint64_t kChunkBytes = 128 * 1024;
constexpr std::uint64_t kStatusBytes = 1024 * 1024 * 1024;
constexpr std::uint64_t kToldErrors = 3;

struct CloseHandle {
  void operator()(nbd_handle* handle) const { nbd_close(handle); }
};
using Handle = std::unique_ptr<nbd_handle, CloseHandle>;

int ignore_extents(void*, char const*, std::uint64_t, std::uint32_t*, std::size_t, int*) {
  return 0;
}

class Reader {
 public:
  explicit Reader(Handle handle) : handle_{std::move(handle)} {}

  // False if the connection did not last.
  bool read_all(std::uint64_t size_bytes) {
    std::vector<char> buffer(kChunkBytes);
    for (std::uint64_t offset = 0; offset < size_bytes; offset += kChunkBytes) {
      std::uint64_t const length = std::min(kChunkBytes, size_bytes - offset);
      if (nbd_pread(handle_.get(), buffer.data(), length, offset, 0) == -1) note("read", offset);
      if (lost()) return false;
    }
    for (std::uint64_t offset = 0; offset < size_bytes; offset += kStatusBytes) {
      std::uint64_t const length = std::min(kStatusBytes, size_bytes - offset);
      nbd_extent_callback callback{};
      callback.callback = ignore_extents;
      if (nbd_can_meta_context(handle_.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) == 1 &&
          nbd_block_status(handle_.get(), length, offset, callback, 0) == -1)
        note("block status", offset);
      if (lost()) return false;
    }
    return true;
  }

  [[nodiscard]] std::uint64_t error_count() const { return error_count_; }
  void shut_down() { nbd_shutdown(handle_.get(), 0); }

 private:
  [[nodiscard]] bool lost() const {
    return nbd_aio_is_dead(handle_.get()) == 1 || nbd_aio_is_closed(handle_.get()) == 1;
  }

  void note(char const* what, std::uint64_t offset) {
    if (++error_count_ <= kToldErrors)
      fmt::print(stderr, "nbd-read-all: {} at {}: {}\n", what, offset, nbd_get_error());
  }

  Handle handle_;
  std::uint64_t error_count_ = 0;
};

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count != 2) {
    fmt::print(stderr, "usage: nbd-read-all URI\n");
    return 1;
  }
  Handle handle{nbd_create()};
  if (!handle || nbd_add_meta_context(handle.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_uri(handle.get(), arguments[1]) == -1) {
    fmt::print(stderr, "nbd-read-all: {}\n", nbd_get_error());
    return 1;
  }
  std::int64_t const size_bytes = nbd_get_size(handle.get());
  Reader reader(std::move(handle));
  if (size_bytes < 0 || !reader.read_all(static_cast<std::uint64_t>(size_bytes))) {
    fmt::print(stderr, "nbd-read-all: the connection was lost: {}\n", nbd_get_error());
    return 1;
  }
  reader.shut_down();
  return reader.error_count() == 0 ? 0 : 2;
}
