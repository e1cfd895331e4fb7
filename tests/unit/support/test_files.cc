// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/test_files.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <semaphore>
#include <stdexcept>
#include <thread>

#include "fsparse/numbers.h"

namespace unionfs::testing {
namespace {

static_assert(sizeof(std::atomic<uint8_t>) == 1);

std::byte* reserve_memory(uint64_t length) {
  void* memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::runtime_error("cannot set address space aside for a file in memory");
  }
  return static_cast<std::byte*>(memory);
}

bool is_word(const std::byte* place, size_t count) {
  return count >= sizeof(uint64_t) && reinterpret_cast<uintptr_t>(place) % sizeof(uint64_t) == 0;
}

// Copies into (out of) a file's memory, a word at a time where it can.
void store_relaxed(std::byte* to, const std::byte* from, size_t count) {
  while (count > 0) {
    if (is_word(to, count)) {
      uint64_t word;
      std::memcpy(&word, from, sizeof(word));
      std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(to))
          .store(word, std::memory_order_relaxed);
      to += sizeof(word), from += sizeof(word), count -= sizeof(word);
    } else {
      std::atomic_ref<std::byte>(*to).store(*from, std::memory_order_relaxed);
      ++to, ++from, --count;
    }
  }
}

void load_relaxed(std::byte* to, std::byte* from, size_t count) {
  while (count > 0) {
    if (is_word(from, count)) {
      const uint64_t word = std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(from))
                                .load(std::memory_order_relaxed);
      std::memcpy(to, &word, sizeof(word));
      to += sizeof(word), from += sizeof(word), count -= sizeof(word);
    } else {
      *to = std::atomic_ref<std::byte>(*from).load(std::memory_order_relaxed);
      ++to, ++from, --count;
    }
  }
}

class MemoryRegion final : public MappedRegion {
 public:
  explicit MemoryRegion(ByteSpan bytes) : bytes_(bytes) {}
  ByteSpan bytes() override { return bytes_; }

 private:
  ByteSpan bytes_;
};

}  // namespace

// ---- MemoryFile --------------------------------------------------------------

MemoryFile::MemoryFile(std::string name, uint64_t capacity_bytes)
    : name_(std::move(name)),
      capacity_bytes_(round_up(capacity_bytes, kPageBytes)),
      memory_(reserve_memory(capacity_bytes_)),
      states_(
          reinterpret_cast<std::atomic<uint8_t>*>(reserve_memory(capacity_bytes_ / kPageBytes))) {}

MemoryFile::~MemoryFile() {
  ::munmap(memory_, capacity_bytes_);
  ::munmap(states_, capacity_bytes_ / kPageBytes);
}

std::unique_ptr<MemoryFile> MemoryFile::clone() const {
  auto copy = std::make_unique<MemoryFile>(name_, capacity_bytes_);
  copy->size_bytes_ = size_bytes();
  copy->abilities_ = abilities_;
  copy->free_pages_ = free_pages_.load();
  for (uint64_t page = 0; page < divide_round_up(size_bytes(), kPageBytes); ++page) {
    const uint8_t state = states_[page];
    if (state != kHole || is_data(page)) {
      copy->states_[page] = state == kHole ? uint8_t{kData} : state;
      std::memcpy(copy->memory_ + page * kPageBytes, memory_ + page * kPageBytes, kPageBytes);
    }
  }
  return copy;
}

void MemoryFile::note(FileOperation kind, uint64_t offset, uint64_t length) {
  counts_[static_cast<size_t>(kind)].fetch_add(1, std::memory_order_relaxed);
  if (is_recording_.load(std::memory_order_relaxed)) {
    const std::lock_guard<std::mutex> guard(mutex_);
    record_.push_back({kind, offset, length});
  }
}

Result<void> MemoryFile::check_range(uint64_t offset, uint64_t length) const {
  if (offset > size_bytes() || length > size_bytes() - offset) {
    return corrupt("{}: {} bytes at {} are outside the file ({} bytes)", name_, length, offset,
                   size_bytes());
  }
  return {};
}

Result<void> MemoryFile::peek(uint64_t offset, ByteSpan buffer) const {
  UNIONFS_TRY(check_range(offset, buffer.size()));
  load_relaxed(buffer.data(), memory_ + offset, buffer.size());
  return {};
}

void MemoryFile::poke(uint64_t offset, ConstByteSpan bytes) {
  if (offset + bytes.size() > capacity_bytes_) {
    throw std::out_of_range("poke behind the end of a file in memory");
  }
  for (uint64_t page = offset / kPageBytes; page * kPageBytes < offset + bytes.size(); ++page) {
    states_[page] = kData;
  }
  store_relaxed(memory_ + offset, bytes.data(), bytes.size());
}

ByteSpan MemoryFile::bytes(uint64_t offset, uint64_t length) {
  if (!check_range(offset, length)) {
    throw std::out_of_range("edit behind the end of a file in memory");
  }
  return {memory_ + offset, length};
}

Result<void> MemoryFile::read(uint64_t offset, ByteSpan buffer) const {
  counts_[static_cast<size_t>(FileOperation::kRead)].fetch_add(1, std::memory_order_relaxed);
  return peek(offset, buffer);
}

size_t MemoryFile::read_cached(uint64_t offset, ByteSpan buffer) const {
  const size_t at_hand = buffer.size() - buffer.size() % 512;
  if (!abilities_.cached_reads || !peek(offset, buffer.first(at_hand))) {
    return 0;
  }
  return at_hand;
}

bool MemoryFile::take_page(uint64_t page, PageState state) {
  uint8_t before = states_[page].load(std::memory_order_relaxed);
  while (before < state) {
    if (before == kHole && free_pages_.fetch_sub(1, std::memory_order_relaxed) <= 0) {
      free_pages_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    if (states_[page].compare_exchange_strong(before, state, std::memory_order_relaxed)) {
      return true;
    }
    if (before != kHole) {
      free_pages_.fetch_add(1, std::memory_order_relaxed);  // another request took the page
    }
  }
  return true;
}

Result<void> MemoryFile::write(uint64_t offset, ConstByteSpan bytes) {
  note(FileOperation::kWrite, offset, bytes.size());
  UNIONFS_TRY(check_range(offset, bytes.size()));
  while (!bytes.empty()) {
    if (!take_page(offset / kPageBytes, kData)) {
      return system_failure(ENOSPC, fmt::format("{}: cannot write at offset {}", name_, offset));
    }
    const auto piece =
        static_cast<size_t>(std::min<uint64_t>(kPageBytes - offset % kPageBytes, bytes.size()));
    store_relaxed(memory_ + offset, bytes.data(), piece);
    offset += piece;
    bytes = bytes.subspan(piece);
  }
  return {};
}

void MemoryFile::zero(uint64_t offset, uint64_t length, PageState whole_pages_become) {
  static constexpr std::array<std::byte, kPageBytes> kZeros = {};
  while (length > 0) {
    const uint64_t page = offset / kPageBytes;
    const uint64_t piece = std::min(kPageBytes - offset % kPageBytes, length);
    if (piece == kPageBytes) {
      const uint8_t before = states_[page].exchange(whole_pages_become, std::memory_order_relaxed);
      if (before != kHole && whole_pages_become == kHole) {
        free_pages_.fetch_add(1, std::memory_order_relaxed);
      }
      if (before != kHole || may_be_mapped(page)) {
        store_relaxed(memory_ + offset, kZeros.data(), kPageBytes);
      }
    } else if (is_data(page)) {
      store_relaxed(memory_ + offset, kZeros.data(), static_cast<size_t>(piece));
    }
    offset += piece;
    length -= piece;
  }
}

Result<void> MemoryFile::punch(uint64_t offset, uint64_t length) {
  note(FileOperation::kPunch, offset, length);
  UNIONFS_TRY(check_range(offset, length));
  if (!abilities_.punch) {
    return system_failure(EOPNOTSUPP, fmt::format("{}: cannot punch", name_));
  }
  zero(offset, length, kHole);
  return {};
}

Result<void> MemoryFile::zero_range(uint64_t offset, uint64_t length) {
  note(FileOperation::kZeroRange, offset, length);
  UNIONFS_TRY(check_range(offset, length));
  if (!abilities_.zero_range) {
    return system_failure(EOPNOTSUPP, fmt::format("{}: cannot zero", name_));
  }
  for (uint64_t page = offset / kPageBytes; page * kPageBytes < offset + length; ++page) {
    if (!take_page(page, kReserved)) {
      return system_failure(ENOSPC, fmt::format("{}: cannot zero at offset {}", name_, offset));
    }
  }
  zero(offset, length, kReserved);
  return {};
}

Result<void> MemoryFile::allocate(uint64_t offset, uint64_t length) {
  note(FileOperation::kAllocate, offset, length);
  UNIONFS_TRY(check_range(offset, length));
  if (!abilities_.allocate) {
    return system_failure(EOPNOTSUPP, fmt::format("{}: cannot allocate", name_));
  }
  for (uint64_t page = offset / kPageBytes; page * kPageBytes < offset + length; ++page) {
    if (!take_page(page, kReserved)) {
      return system_failure(ENOSPC, fmt::format("{}: cannot allocate at {}", name_, offset));
    }
  }
  return {};
}

Result<void> MemoryFile::resize(uint64_t size_bytes) {
  note(FileOperation::kResize, size_bytes, 0);
  if (size_bytes > capacity_bytes_) {
    return system_failure(EFBIG,
                          fmt::format("{}: cannot make it {} bytes long", name_, size_bytes));
  }
  const uint64_t before = size_bytes_.exchange(size_bytes);
  if (size_bytes < before) {
    zero(size_bytes, before - size_bytes, kHole);
  }
  return {};
}

Result<void> MemoryFile::sync() {
  note(FileOperation::kSync, 0, 0);
  return {};
}

Result<std::unique_ptr<MappedRegion>> MemoryFile::map(uint64_t offset, uint64_t length) {
  note(FileOperation::kMap, offset, length);
  UNIONFS_TRY(check_range(offset, length));
  if (offset % kPageBytes != 0 || length % kPageBytes != 0 || length == 0) {
    return invalid("{}: cannot map {} bytes at {}", name_, length, offset);
  }
  const std::lock_guard<std::mutex> guard(mutex_);
  mapped_begin_ = std::min(mapped_begin_.load(), offset / kPageBytes);
  mapped_end_ = std::max(mapped_end_.load(), (offset + length) / kPageBytes);
  return std::unique_ptr<MappedRegion>(
      std::make_unique<MemoryRegion>(ByteSpan(memory_ + offset, length)));
}

// Stores through a mapping make data of a page, whatever it was before.
bool MemoryFile::is_data(uint64_t page) const {
  const uint8_t state = states_[page].load(std::memory_order_relaxed);
  if (state == kData || (state == kHole && !may_be_mapped(page))) {
    return state == kData;
  }
  std::array<std::byte, kPageBytes> bytes;
  load_relaxed(bytes.data(), memory_ + page * kPageBytes, bytes.size());
  return std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
}

FileExtent MemoryFile::extent_at(uint64_t offset) const {
  const uint64_t page_count = divide_round_up(size_bytes(), kPageBytes);
  uint64_t page = offset / kPageBytes;
  const bool data = is_data(page);
  while (page < page_count && is_data(page) == data) {
    ++page;
  }
  return {!data, std::min(page * kPageBytes, size_bytes())};
}

void MemoryFile::reset_counts() {
  for (auto& count : counts_) {
    count = 0;
  }
}

std::vector<RecordedOperation> MemoryFile::take_record() {
  const std::lock_guard<std::mutex> guard(mutex_);
  return std::exchange(record_, {});
}

bool MemoryFile::is_allocated(uint64_t offset) const {
  return states_[offset / kPageBytes] != kHole;
}

uint64_t MemoryFile::allocated_bytes() const {
  uint64_t count = 0;
  for (uint64_t page = 0; page < divide_round_up(size_bytes(), kPageBytes); ++page) {
    count += states_[page] != kHole ? kPageBytes : 0;
  }
  return count;
}

bool MemoryFile::has_store_without_space() const {
  for (uint64_t page = 0; page < divide_round_up(size_bytes(), kPageBytes); ++page) {
    if (states_[page] == kHole && is_data(page)) {
      return true;
    }
  }
  return false;
}

// ---- FaultyFile --------------------------------------------------------------

void FaultyFile::fail(FileOperation kind, uint64_t number, int error_number, uint64_t more) {
  const std::lock_guard<std::mutex> guard(mutex_);
  plans_[static_cast<size_t>(kind)] = {number - 1, 1 + more, error_number};
}

Result<void> FaultyFile::pass(FileOperation kind) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  Plan& plan = plans_[static_cast<size_t>(kind)];
  if (plan.failures == 0) {
    return {};
  }
  if (plan.skip > 0) {
    --plan.skip;
    return {};
  }
  --plan.failures;
  return system_failure(plan.error_number, fmt::format("{}: told to fail", file_.name()));
}

Result<void> FaultyFile::read(uint64_t offset, ByteSpan buffer) const {
  UNIONFS_TRY(pass(FileOperation::kRead));
  return file_.read(offset, buffer);
}

// Nothing is at hand, so that every read can be told to fail.
size_t FaultyFile::read_cached(uint64_t, ByteSpan) const {
  return 0;
}

Result<void> FaultyFile::write(uint64_t offset, ConstByteSpan bytes) {
  UNIONFS_TRY(pass(FileOperation::kWrite));
  return file_.write(offset, bytes);
}

Result<void> FaultyFile::punch(uint64_t offset, uint64_t length) {
  UNIONFS_TRY(pass(FileOperation::kPunch));
  return file_.punch(offset, length);
}

Result<void> FaultyFile::zero_range(uint64_t offset, uint64_t length) {
  UNIONFS_TRY(pass(FileOperation::kZeroRange));
  return file_.zero_range(offset, length);
}

Result<void> FaultyFile::allocate(uint64_t offset, uint64_t length) {
  UNIONFS_TRY(pass(FileOperation::kAllocate));
  return file_.allocate(offset, length);
}

Result<void> FaultyFile::sync() {
  UNIONFS_TRY(pass(FileOperation::kSync));
  return file_.sync();
}

// ---- LateFile ----------------------------------------------------------------

void ReadsInFlight::begin(size_t count) {
  const std::lock_guard<std::mutex> guard(mutex_);
  now_ += count;
  most_ = std::max(most_, now_);
}

void ReadsInFlight::end_one() {
  const std::lock_guard<std::mutex> guard(mutex_);
  --now_;
}

size_t ReadsInFlight::now() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return now_;
}

size_t ReadsInFlight::most() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return most_;
}

class LateFile::Batch final : public PendingReads {
 public:
  Batch(const LateFile& file, std::span<const ReadRange> ranges) : file_(file), ranges_(ranges) {
    file_.in_flight_.begin(ranges_.size());
    answering_ = std::thread([this] { answer_all(); });
  }
  ~Batch() override { wait(); }
  Result<void> finish() override {
    if (file_.on_finish_) {
      file_.on_finish_();
    }
    wait();
    return std::move(result_);
  }

 private:
  void answer_all() {
    somebody_waits_.acquire();
    for (size_t index = ranges_.size(); index-- > 0;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      Result<void> answered = file_.answer(ranges_[index], index);
      if (!answered) {
        result_ = std::move(answered);
      }
      file_.in_flight_.end_one();
    }
  }

  void wait() {
    if (answering_.joinable()) {
      somebody_waits_.release();
      answering_.join();
    }
  }

  const LateFile& file_;
  std::span<const ReadRange> ranges_;
  Result<void> result_;
  std::binary_semaphore somebody_waits_{0};
  std::thread answering_;
};

std::unique_ptr<PendingReads> LateFile::begin_reads(std::span<const ReadRange> ranges) const {
  ++batch_count_;
  auto batch = std::make_unique<Batch>(*this, ranges);
  if (on_begin_) {
    on_begin_();
  }
  return batch;
}

Result<void> LateFile::answer(const ReadRange& range, size_t index) const {
  if (fault_.error_number != 0 && fault_.index == index) {
    return system_failure(fault_.error_number, fmt::format("{}: told to fail", name()));
  }
  return file_.read(range.offset, range.buffer);
}

}  // namespace unionfs::testing
