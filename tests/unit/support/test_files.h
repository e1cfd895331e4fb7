// SPDX-License-Identifier: BSD-3-Clause
//
// Stand-ins for files: one in memory, one that fails when told, and one whose
// batched reads take their time.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_TEST_FILES_H
#define UNIONFS_TESTS_UNIT_SUPPORT_TEST_FILES_H

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "overlay/host/file.h"

namespace unionfs::testing {

enum class FileOperation : uint8_t {
  kRead,
  kWrite,
  kPunch,
  kZeroRange,
  kAllocate,
  kResize,
  kSync,
  kMap,
};
constexpr size_t kFileOperations = 8;

struct RecordedOperation {
  FileOperation kind = FileOperation::kRead;
  uint64_t offset = 0;
  uint64_t length = 0;

  bool is_inside(uint64_t begin, uint64_t end) const {
    return offset >= begin && offset + length <= end;
  }
};

// What the host of a MemoryFile can do.
struct HostAbilities {
  bool punch = true;
  bool zero_range = true;
  bool allocate = true;
  bool cached_reads = true;  // read_cached() gives all but the last sector asked for; else nothing
  bool overwrites_in_place = true;
};

// A sparse file in memory.  Like a real one it keeps space in pages, tells
// holes from data, can run full, and shows a page that was allocated or zeroed
// but never written as a hole.  Mapped regions are the file's own memory.
//
// Bytes are copied by relaxed atomic words: overlapping requests are no data
// race, and no request orders memory for another one, so that a thread
// sanitizer sees every order that the code under test forgets to make.
class MemoryFile final : public WritableFile {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  // Address space for `capacity_bytes` is set aside; memory follows the data.
  explicit MemoryFile(std::string name, uint64_t capacity_bytes = uint64_t{1} << 28);
  ~MemoryFile() override;
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  // The same bytes, holes and abilities; counters start anew.
  std::unique_ptr<MemoryFile> clone() const;

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return size_bytes_.load(std::memory_order_relaxed); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  size_t read_cached(uint64_t offset, ByteSpan buffer) const override;
  FileExtent extent_at(uint64_t offset) const override;
  FileIdentity identity() const override { return identity_; }
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero_range(uint64_t offset, uint64_t length) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> resize(uint64_t size_bytes) override;
  Result<void> sync() override;
  bool overwrites_in_place() const override { return abilities_.overwrites_in_place; }
  Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) override;

  // ---- for tests ----
  HostAbilities& abilities() { return abilities_; }
  // From now on this many pages can be allocated; then ENOSPC, after as much
  // of the request as there was room for.
  void set_free_pages(uint64_t count) { free_pages_ = static_cast<int64_t>(count); }
  // Operations since the last reset; a call that failed counts too.
  uint64_t count(FileOperation kind) const { return counts_[static_cast<size_t>(kind)]; }
  void reset_counts();
  // Records changes and syncs in their order.  Orders the threads; off at first.
  void record(bool on) { is_recording_ = on; }
  std::vector<RecordedOperation> take_record();
  // Whether the page of `offset` has space.
  bool is_allocated(uint64_t offset) const;
  uint64_t allocated_bytes() const;
  // A mapped page that was stored to without having space; a real host would
  // have sent SIGBUS once its disk was full.  True when there is one.
  bool has_store_without_space() const;

  // The bytes themselves, for edits while nothing else uses the file.
  ByteSpan bytes(uint64_t offset, uint64_t length);
  template <typename T>
  T get(uint64_t offset) const {
    T value;
    (void)peek(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void put(uint64_t offset, const T& value) {
    poke(offset, std::as_bytes(std::span(&value, 1)));
  }
  // Like read() and write(), but never counted, refused or short of space.
  Result<void> peek(uint64_t offset, ByteSpan buffer) const;
  void poke(uint64_t offset, ConstByteSpan bytes);
  void set_name(std::string name) { name_ = std::move(name); }
  // All zero at first, and in a clone.
  void set_identity(const FileIdentity& identity) { identity_ = identity; }

 private:
  enum PageState : uint8_t { kHole = 0, kReserved = 1, kData = 2 };

  void note(FileOperation kind, uint64_t offset, uint64_t length);
  Result<void> check_range(uint64_t offset, uint64_t length) const;
  // Gives the page at least this state; false when there is no space.
  bool take_page(uint64_t page, PageState state);
  void zero(uint64_t offset, uint64_t length, PageState whole_pages_become);
  bool is_data(uint64_t page) const;
  bool may_be_mapped(uint64_t page) const {
    return page >= mapped_begin_.load(std::memory_order_relaxed) &&
           page < mapped_end_.load(std::memory_order_relaxed);
  }

  std::string name_;
  FileIdentity identity_;
  uint64_t capacity_bytes_;
  std::byte* memory_;
  std::atomic<uint8_t>* states_;  // of each page
  std::atomic<uint64_t> size_bytes_{0};
  std::atomic<int64_t> free_pages_{INT64_MAX / 2};
  // All pages that were ever mapped lie between these.
  std::atomic<uint64_t> mapped_begin_{UINT64_MAX};
  std::atomic<uint64_t> mapped_end_{0};
  HostAbilities abilities_;
  mutable std::array<std::atomic<uint64_t>, kFileOperations> counts_ = {};
  std::atomic<bool> is_recording_{false};
  mutable std::mutex mutex_;  // guards record_
  std::vector<RecordedOperation> record_;
};

// A file that passes everything on; batches read it by read().
class ForwardingFile : public WritableFile {
 public:
  explicit ForwardingFile(WritableFile& file) : file_(file) {}

  const std::string& name() const override { return file_.name(); }
  uint64_t size_bytes() const override { return file_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    return file_.read(offset, buffer);
  }
  size_t read_cached(uint64_t offset, ByteSpan buffer) const override {
    return file_.read_cached(offset, buffer);
  }
  FileExtent extent_at(uint64_t offset) const override { return file_.extent_at(offset); }
  FileIdentity identity() const override { return file_.identity(); }
  void prefetch(uint64_t offset, uint64_t length) const override { file_.prefetch(offset, length); }
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override {
    return file_.write(offset, bytes);
  }
  Result<void> punch(uint64_t offset, uint64_t length) override {
    return file_.punch(offset, length);
  }
  Result<void> zero_range(uint64_t offset, uint64_t length) override {
    return file_.zero_range(offset, length);
  }
  Result<void> allocate(uint64_t offset, uint64_t length) override {
    return file_.allocate(offset, length);
  }
  Result<void> resize(uint64_t size_bytes) override { return file_.resize(size_bytes); }
  Result<void> sync() override { return file_.sync(); }
  bool overwrites_in_place() const override { return file_.overwrites_in_place(); }
  Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) override {
    return file_.map(offset, length);
  }

 protected:
  WritableFile& file_;
};

// Asks before each change or sync whether it may happen.
class GuardedFile : public ForwardingFile {
 public:
  using ForwardingFile::ForwardingFile;

  Result<void> write(uint64_t offset, ConstByteSpan bytes) override {
    UNIONFS_TRY(pass());
    return file_.write(offset, bytes);
  }
  Result<void> punch(uint64_t offset, uint64_t length) override {
    UNIONFS_TRY(pass());
    return file_.punch(offset, length);
  }
  Result<void> zero_range(uint64_t offset, uint64_t length) override {
    UNIONFS_TRY(pass());
    return file_.zero_range(offset, length);
  }
  Result<void> allocate(uint64_t offset, uint64_t length) override {
    UNIONFS_TRY(pass());
    return file_.allocate(offset, length);
  }
  Result<void> resize(uint64_t size_bytes) override {
    UNIONFS_TRY(pass());
    return file_.resize(size_bytes);
  }
  Result<void> sync() override {
    UNIONFS_TRY(pass());
    return file_.sync();
  }

 protected:
  virtual Result<void> pass() = 0;
};

// Fails chosen operations.
class FaultyFile final : public ForwardingFile {
 public:
  using ForwardingFile::ForwardingFile;

  // The `number`th operation of this kind from now on (1: the next one) fails
  // with this errno, without any effect, and so do `more` after it.
  void fail(FileOperation kind, uint64_t number, int error_number, uint64_t more = 0);

  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  size_t read_cached(uint64_t offset, ByteSpan buffer) const override;
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<void> zero_range(uint64_t offset, uint64_t length) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> sync() override;

 private:
  struct Plan {
    uint64_t skip = 0;
    uint64_t failures = 0;
    int error_number = 0;
  };

  Result<void> pass(FileOperation kind) const;

  mutable std::mutex mutex_;
  mutable std::array<Plan, kFileOperations> plans_;  // guarded by mutex_
};

// Counts reads that were begun and are not over, of any number of files.
// Thread-safe.
class ReadsInFlight {
 public:
  void begin(size_t count);
  void end_one();
  size_t now() const;
  // The highest that now() has been.
  size_t most() const;

 private:
  mutable std::mutex mutex_;  // guards what follows
  size_t now_ = 0;
  size_t most_ = 0;
};

// A file that is far away: a batch of reads is answered by another thread, the
// last range first, and not before somebody waits for it.
class LateFile final : public ReadableFile {
 public:
  LateFile(const ReadableFile& file, ReadsInFlight& in_flight)
      : file_(file), in_flight_(in_flight) {}

  // The answer to this range of each batch (0: the first) is an error.
  void fail(size_t index, int error_number) { fault_ = {index, error_number}; }
  // Are called when a batch was begun, and when it is to be finished.
  void on_begin(std::function<void()> hook) { on_begin_ = std::move(hook); }
  void on_finish(std::function<void()> hook) { on_finish_ = std::move(hook); }
  // Batches begun.
  size_t batch_count() const { return batch_count_; }

  const std::string& name() const override { return file_.name(); }
  uint64_t size_bytes() const override { return file_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    return file_.read(offset, buffer);
  }
  std::unique_ptr<PendingReads> begin_reads(std::span<const ReadRange> ranges) const override;

 private:
  class Batch;
  struct Fault {
    size_t index = 0;
    int error_number = 0;  // 0: none
  };

  Result<void> answer(const ReadRange& range, size_t index) const;

  const ReadableFile& file_;
  ReadsInFlight& in_flight_;
  Fault fault_;
  std::function<void()> on_begin_;
  std::function<void()> on_finish_;
  mutable std::atomic<size_t> batch_count_{0};
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_TEST_FILES_H
