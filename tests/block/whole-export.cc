// SPDX-License-Identifier: BSD-3-Clause

#include "whole-export.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libnbd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "client.h"

namespace blocktest {

namespace {

constexpr std::uint64_t status_request_bytes = std::uint64_t{32} << 20;
constexpr std::uint64_t read_request_bytes = std::uint64_t{1} << 20;
constexpr std::uint32_t extent_zero = 2;

using Handle = std::unique_ptr<nbd_handle, void (*)(nbd_handle*)>;

[[noreturn]] void fail_with_libnbd(const std::string& uri) {
  throw Failure(fmt::format("{}: {}", uri, nbd_get_error()));
}

Handle open_export(const std::string& uri) {
  Handle handle(nbd_create(), &nbd_close);
  if (!handle || nbd_add_meta_context(handle.get(), LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_uri(handle.get(), uri.c_str()) == -1) {
    fail_with_libnbd(uri);
  }
  return handle;
}

struct Extent {
  std::uint64_t length_bytes = 0;
  bool zero = false;
};

int collect_extents(void* data, const char*, std::uint64_t, std::uint32_t* entries,
                    std::size_t entry_count, int*) {
  auto* extents = static_cast<std::vector<Extent>*>(data);
  for (std::size_t index = 0; index + 1 < entry_count; index += 2) {
    extents->push_back({entries[index], (entries[index + 1] & extent_zero) != 0});
  }
  return 0;
}

// The extents from offset_bytes on; always at least one, and none longer than asked for.
std::vector<Extent> extents_at(const std::string& uri, nbd_handle* handle,
                               std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  std::vector<Extent> extents;
  if (nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1 &&
      nbd_block_status(handle, length_bytes, offset_bytes, {&collect_extents, &extents, nullptr},
                       0) == -1) {
    fail_with_libnbd(uri);
  }
  if (extents.empty()) {
    extents.push_back({length_bytes, false});
  }
  std::uint64_t left_bytes = length_bytes;
  for (Extent& extent : extents) {
    extent.length_bytes = std::min(extent.length_bytes, left_bytes);
    left_bytes -= extent.length_bytes;
  }
  return extents;
}

using OnData = std::function<void(std::uint64_t offset_bytes, std::span<const std::uint8_t> bytes)>;
using OnZero = std::function<void(std::uint64_t offset_bytes, std::uint64_t length_bytes)>;

void read_data(const std::string& uri, nbd_handle* handle, std::uint64_t offset_bytes,
               std::uint64_t length_bytes, const OnData& on_data) {
  std::vector<std::uint8_t> buffer(read_request_bytes);
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  while (offset_bytes < end_bytes) {
    const std::uint64_t count = std::min(read_request_bytes, end_bytes - offset_bytes);
    if (nbd_pread(handle, buffer.data(), count, offset_bytes, 0) == -1) {
      fail_with_libnbd(uri);
    }
    on_data(offset_bytes, std::span<const std::uint8_t>(buffer.data(), count));
    offset_bytes += count;
  }
}

void read_export(const std::string& uri, const OnData& on_data, const OnZero& on_zero) {
  const Handle handle = open_export(uri);
  const auto size_bytes = static_cast<std::uint64_t>(nbd_get_size(handle.get()));
  std::uint64_t offset_bytes = 0;
  while (offset_bytes < size_bytes) {
    const std::uint64_t count = std::min(status_request_bytes, size_bytes - offset_bytes);
    for (const Extent& extent : extents_at(uri, handle.get(), offset_bytes, count)) {
      if (extent.zero) {
        on_zero(offset_bytes, extent.length_bytes);
      } else {
        read_data(uri, handle.get(), offset_bytes, extent.length_bytes, on_data);
      }
      offset_bytes += extent.length_bytes;
    }
  }
  nbd_shutdown(handle.get(), 0);
}

}  // namespace

std::uint64_t export_size_bytes(const std::string& uri) {
  const Handle handle = open_export(uri);
  const std::int64_t size_bytes = nbd_get_size(handle.get());
  if (size_bytes < 0) {
    fail_with_libnbd(uri);
  }
  nbd_shutdown(handle.get(), 0);
  return static_cast<std::uint64_t>(size_bytes);
}

void snapshot_export(const std::string& uri, const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    throw std::runtime_error(fmt::format("{}: {}", path, std::strerror(errno)));
  }
  auto on_data = [&](std::uint64_t offset_bytes, std::span<const std::uint8_t> bytes) {
    const ssize_t count =
        ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (count != static_cast<ssize_t>(bytes.size())) {
      throw std::runtime_error(fmt::format("{}: cannot write: {}", path, std::strerror(errno)));
    }
  };
  try {
    read_export(uri, on_data, [](std::uint64_t, std::uint64_t) {});
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

std::uint64_t verify_export(const std::string& uri, DiskModel& model) {
  std::uint64_t read_bytes = 0;
  auto require = [](const std::optional<Mismatch>& mismatch, const char* how) {
    if (mismatch) {
      throw Failure(fmt::format("whole export, {}: {}", how, mismatch->text));
    }
  };
  read_export(
      uri,
      [&](std::uint64_t offset_bytes, std::span<const std::uint8_t> bytes) {
        require(model.check(offset_bytes, bytes), "read");
        read_bytes += bytes.size();
      },
      [&](std::uint64_t offset_bytes, std::uint64_t length_bytes) {
        require(model.check_zeros(offset_bytes, length_bytes), "reported as zero");
      });
  return read_bytes;
}

}  // namespace blocktest
