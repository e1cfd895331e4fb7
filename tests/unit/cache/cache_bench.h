// SPDX-License-Identifier: BSD-3-Clause
//
// A cache file before an origin in memory, which counts what it is asked for, and a host that is
// full.
#ifndef UNIONFS_TESTS_UNIT_CACHE_CACHE_BENCH_H
#define UNIONFS_TESTS_UNIT_CACHE_CACHE_BENCH_H

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "overlay/cache/cache_file.h"
#include "overlay/cache/cached_file.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs::testing {

constexpr uint64_t kClusterBytes = 4096;
constexpr uint64_t kRegionBytes = kClusterBytes * CacheFile::kClustersPerRegion;
constexpr uint64_t kImageBytes = 40 * kRegionBytes + 1000;  // the last cluster is a part of one

// Every place has bytes that tell where it is.
inline std::byte byte_at(uint64_t offset) {
  return static_cast<std::byte>((offset * 0x9e3779b97f4a7c15) >> 56);
}

inline bool is_right(uint64_t offset, ConstByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [&offset](std::byte byte) { return byte == byte_at(offset++); });
}

class Origin final : public ReadableFile {
 public:
  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return kImageBytes; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    bytes_read += buffer.size();
    ++reads;
    if (delay.count() > 0) {
      std::this_thread::sleep_for(delay);
    }
    if (fails) {
      return system_failure(EIO, "origin: cannot read");
    }
    for (size_t i = 0; i < buffer.size(); ++i) {
      buffer[i] = byte_at(offset + i);
      if (offset + i == wrong_at) {
        buffer[i] ^= std::byte{1};
      }
    }
    return {};
  }
  Result<void> check_not_replaced() const override {
    return is_other ? system_failure(EIO, "origin: is another one") : Result<void>();
  }

  mutable std::atomic<uint64_t> bytes_read{0};
  mutable std::atomic<uint64_t> reads{0};
  std::chrono::milliseconds delay{0};
  std::atomic<bool> fails{false};
  std::atomic<bool> is_other{false};
  uint64_t wrong_at = UINT64_MAX;

 private:
  const std::string name_ = "origin";
};

inline CacheOptions options_for_test() {
  CacheOptions options;
  options.key.fill(7);
  options.image_bytes = kImageBytes;
  options.cluster_bytes = kClusterBytes;
  options.flush_period = std::chrono::hours(1);
  return options;
}

// One server.
struct Server {
  Server(const std::string& path, const CacheOptions& options = options_for_test()) : file(origin) {
    auto opened = value_of(CacheFile::open(path, options));
    cache = opened.get();
    file.use_cache(std::move(opened));
  }

  bool reads_right(uint64_t offset, uint64_t length) {
    std::vector<std::byte> buffer(length);
    const Result<void> read = file.read(offset, buffer);
    return read && is_right(offset, buffer);
  }

  Origin origin;
  CachedFile file;
  CacheFile* cache = nullptr;
};

class Place {
 public:
  std::string path(const char* name = "cache") const { return (directory_.path() / name).string(); }

 private:
  ScratchDirectory directory_;
};

// While it lives, the host takes no byte of a file from `bytes` on.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_ = {};
  void (*const handler_)(int);
};

inline void write_at(const std::string& path, uint64_t offset, std::string_view text) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file << text;
  REQUIRE(file.good());
}

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_CACHE_CACHE_BENCH_H
