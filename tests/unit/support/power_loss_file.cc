// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/power_loss_file.h"

#include <algorithm>
#include <cstring>

namespace unionfs::testing {
namespace {

// Leaves holes that read as these bytes already.
void put(MemoryFile& file, uint64_t offset, ConstByteSpan bytes) {
  std::vector<std::byte> now(bytes.size());
  (void)file.peek(offset, now);
  if (!std::equal(now.begin(), now.end(), bytes.begin())) {
    file.poke(offset, bytes);
  }
}

}  // namespace

// ---- choosers ----------------------------------------------------------------

uint32_t RandomChooser::choose(uint32_t count) {
  const uint64_t draw = random_();
  switch (mood_) {
    case 0:
      return draw % 16 != 0 ? 0 : static_cast<uint32_t>(draw / 16 % count);
    case 1:
      return draw % 16 != 0 ? count - 1 : static_cast<uint32_t>(draw / 16 % count);
    case 2:
      return draw % 2 == 0 ? 0 : count - 1;
    default:
      return static_cast<uint32_t>(draw % count);
  }
}

uint32_t EveryChooser::choose(uint32_t count) {
  if (position_ == digits_.size()) {
    digits_.push_back({0, count});
  }
  return digits_[position_++].value;
}

bool EveryChooser::next() {
  position_ = 0;
  for (Digit& digit : digits_) {
    if (++digit.value < digit.count) {
      return true;
    }
    digit.value = 0;
  }
  return false;
}

// ---- changes -----------------------------------------------------------------

Result<void> PowerLossFile::check_alive() const {
  if (has_crashed_) {
    return system_failure(EIO, fmt::format("{}: the power is gone", name()));
  }
  return {};
}

// Whether this change is the one the power goes with.
bool PowerLossFile::count_change() {
  ++changes_;
  if (crash_at_ != changes_) {
    return false;
  }
  has_crashed_ = true;
  for (Mapping& mapping : mappings_) {
    mapping.frozen.resize(mapping.synced.size());
    (void)file_->peek(mapping.offset, mapping.frozen);
  }
  return true;
}

PowerLossFile::Sector PowerLossFile::sector_at(uint64_t sector) const {
  Sector bytes = {};
  const uint64_t offset = sector * kSectorBytes;
  const auto length =
      static_cast<size_t>(std::min<uint64_t>(kSectorBytes, file_->size_bytes() - offset));
  (void)file_->peek(offset, ByteSpan(bytes).first(length));
  return bytes;
}

bool PowerLossFile::is_mapped(uint64_t sector) const {
  const uint64_t offset = sector * kSectorBytes;
  return std::any_of(mappings_.begin(), mappings_.end(), [offset](const Mapping& mapping) {
    return offset >= mapping.offset && offset < mapping.offset + mapping.synced.size();
  });
}

void PowerLossFile::remember_before(uint64_t offset, uint64_t length) {
  for (uint64_t sector = offset / kSectorBytes; sector * kSectorBytes < offset + length; ++sector) {
    if (!is_mapped(sector)) {
      auto& values = values_[sector];
      if (values.empty()) {
        values.push_back(sector_at(sector));
      }
    }
  }
}

void PowerLossFile::remember_after(uint64_t offset, uint64_t length) {
  for (uint64_t sector = offset / kSectorBytes; sector * kSectorBytes < offset + length; ++sector) {
    if (!is_mapped(sector)) {
      auto& values = values_[sector];
      const Sector now = sector_at(sector);
      if (values.back() != now) {
        values.push_back(now);
      }
    }
  }
}

template <typename Action>
Result<void> PowerLossFile::change(uint64_t offset, uint64_t length, Action&& action) {
  const std::lock_guard<std::mutex> guard(mutex_);
  UNIONFS_TRY(check_alive());
  remember_before(offset, length);
  Result<void> result = action();
  remember_after(offset, length);
  if (count_change()) {
    return check_alive();
  }
  return result;
}

Result<void> PowerLossFile::read(uint64_t offset, ByteSpan buffer) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  UNIONFS_TRY(check_alive());
  return file_->read(offset, buffer);
}

Result<void> PowerLossFile::write(uint64_t offset, ConstByteSpan bytes) {
  return change(offset, bytes.size(), [&] { return file_->write(offset, bytes); });
}

Result<void> PowerLossFile::punch(uint64_t offset, uint64_t length) {
  return change(offset, length, [&] { return file_->punch(offset, length); });
}

Result<void> PowerLossFile::zero_range(uint64_t offset, uint64_t length) {
  return change(offset, length, [&] { return file_->zero_range(offset, length); });
}

Result<void> PowerLossFile::allocate(uint64_t offset, uint64_t length) {
  return change(offset, 0, [&] { return file_->allocate(offset, length); });
}

Result<void> PowerLossFile::resize(uint64_t size_bytes) {
  return change(0, 0, [&] { return file_->resize(size_bytes); });
}

Result<void> PowerLossFile::sync() {
  const std::lock_guard<std::mutex> guard(mutex_);
  UNIONFS_TRY(check_alive());
  if (count_change()) {
    return check_alive();  // in the middle of it: anything may have come through
  }
  values_.clear();
  for (Mapping& mapping : mappings_) {
    (void)file_->peek(mapping.offset, mapping.synced);
  }
  return file_->sync();
}

Result<std::unique_ptr<MappedRegion>> PowerLossFile::map(uint64_t offset, uint64_t length) {
  const std::lock_guard<std::mutex> guard(mutex_);
  UNIONFS_TRY(check_alive());
  const bool is_known = std::any_of(mappings_.begin(), mappings_.end(), [&](const Mapping& known) {
    return known.offset == offset && known.synced.size() == length;
  });
  if (!is_known) {
    Mapping mapping{offset, std::vector<std::byte>(length), {}};
    UNIONFS_TRY(file_->peek(offset, mapping.synced));
    // Values written before it was mapped: the oldest is the synced one.
    for (uint64_t at = 0; at < length; at += kSectorBytes) {
      const auto known = values_.find((offset + at) / kSectorBytes);
      if (known != values_.end()) {
        std::copy(known->second.front().begin(), known->second.front().end(),
                  mapping.synced.begin() + static_cast<ptrdiff_t>(at));
        values_.erase(known);
      }
    }
    mappings_.push_back(std::move(mapping));
  }
  return file_->map(offset, length);
}

// ---- the end -----------------------------------------------------------------

void PowerLossFile::crash_after(uint64_t changes) {
  const std::lock_guard<std::mutex> guard(mutex_);
  crash_at_ = changes_ + changes;
}

bool PowerLossFile::has_crashed() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return has_crashed_;
}

uint64_t PowerLossFile::change_count() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return changes_;
}

std::vector<std::byte> PowerLossFile::newest_of(const Mapping& mapping) const {
  if (has_crashed_) {
    return mapping.frozen;
  }
  std::vector<std::byte> now(mapping.synced.size());
  (void)file_->peek(mapping.offset, now);
  return now;
}

size_t PowerLossFile::open_sectors() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  size_t count = 0;
  for (const auto& [sector, values] : values_) {
    count += values.size() > 1 ? 1 : 0;
  }
  for (const Mapping& mapping : mappings_) {
    const std::vector<std::byte> newest = newest_of(mapping);
    for (size_t at = 0; at < newest.size(); at += kSectorBytes) {
      count += std::memcmp(&newest[at], &mapping.synced[at], kSectorBytes) != 0 ? 1 : 0;
    }
  }
  return count;
}

std::unique_ptr<MemoryFile> PowerLossFile::lose_power(Chooser& chooser) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  std::unique_ptr<MemoryFile> left = file_->clone();
  for (const auto& [sector, values] : values_) {
    if (values.size() > 1) {
      const Sector& value = values[chooser.choose(static_cast<uint32_t>(values.size()))];
      const uint64_t offset = sector * kSectorBytes;
      const auto length =
          static_cast<size_t>(std::min<uint64_t>(kSectorBytes, left->size_bytes() - offset));
      put(*left, offset, ConstByteSpan(value).first(length));
    }
  }
  for (const Mapping& mapping : mappings_) {
    const std::vector<std::byte> newest = newest_of(mapping);
    for (size_t at = 0; at < newest.size(); at += kSectorBytes) {
      const ConstByteSpan old = ConstByteSpan(mapping.synced).subspan(at, kSectorBytes);
      const ConstByteSpan young = ConstByteSpan(newest).subspan(at, kSectorBytes);
      const bool is_open = !std::equal(old.begin(), old.end(), young.begin());
      // Stores after the crash never happened, so the newest is put as well.
      put(*left, mapping.offset + at, is_open && chooser.choose(2) == 0 ? old : young);
    }
  }
  return left;
}

void PowerLossFile::restart() {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (has_crashed_) {
    for (const Mapping& mapping : mappings_) {
      put(*file_, mapping.offset, mapping.frozen);
    }
  }
  has_crashed_ = false;
  crash_at_.reset();
}

}  // namespace unionfs::testing
