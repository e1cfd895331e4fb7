// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/boot_trace.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>
#include <utility>

#include "overlay/host/posix_file.h"

namespace unionfs {
namespace {

using std::chrono::seconds;

constexpr auto kQuiet = seconds(10);
constexpr auto kLeastBeforeQuiet = seconds(20);
// Of what is kept at most.  Who has read less has not begun: firmware and kernel may take long.
constexpr size_t kQuietShare = 16;
constexpr auto kLongest = seconds(120);
constexpr auto kShortest = seconds(5);
constexpr uint64_t kLongestText = uint64_t{64} << 20;
constexpr size_t kLongestTrace = size_t{1} << 20;  // clusters that a text may name

// The number at the beginning of the text, which is cut off; nothing if there is none.
std::optional<uint64_t> take_number(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

// ---- writing down ---------------------------------------------------------------

TraceRecorder::TraceRecorder(uint64_t cluster_count, size_t most_clusters, Clock& clock)
    : cluster_count_(cluster_count), most_clusters_(most_clusters), clock_(clock) {}

void TraceRecorder::begin() {
  const MutexLock lock(mutex_);
  if (std::exchange(has_begun_, true)) {
    return;
  }
  begun_at_ = last_new_at_ = clock_.now();
  seen_.resize(cluster_count_);
  is_active_ = true;
}

std::optional<std::vector<uint64_t>> TraceRecorder::note(uint64_t cluster) {
  const MutexLock lock(mutex_);
  if (!is_active() || seen_[cluster]) {
    return std::nullopt;
  }
  const Clock::TimePoint now = clock_.now();
  const bool is_quiet = now - last_new_at_ >= kQuiet && now - begun_at_ >= kLeastBeforeQuiet &&
                        clusters_.size() >= most_clusters_ / kQuietShare;
  if (is_quiet || now - begun_at_ >= kLongest) {
    return end_locked();
  }
  seen_[cluster] = true;
  last_new_at_ = now;
  clusters_.push_back(cluster);
  return clusters_.size() < most_clusters_ ? std::nullopt : end_locked();
}

std::optional<std::vector<uint64_t>> TraceRecorder::end() {
  const MutexLock lock(mutex_);
  return is_active() ? end_locked() : std::nullopt;
}

std::optional<std::vector<uint64_t>> TraceRecorder::end_locked() {
  is_active_ = false;
  seen_ = {};
  std::vector<uint64_t> clusters = std::exchange(clusters_, {});
  const bool is_too_short =
      clock_.now() - begun_at_ < kShortest && clusters.size() < most_clusters_;
  // Who only looked at the disk does not stand for the guest that comes later.
  has_begun_ = !is_too_short;
  return is_too_short ? std::nullopt : std::optional(std::move(clusters));
}

// ---- text ----------------------------------------------------------------------

std::string trace_text(const std::vector<uint64_t>& clusters, uint64_t cluster_bytes,
                       uint64_t image_bytes) {
  std::string text;
  for (size_t i = 0; i < clusters.size();) {
    size_t end = i + 1;
    while (end < clusters.size() && clusters[end] == clusters[end - 1] + 1) {
      ++end;
    }
    const uint64_t offset = clusters[i] * cluster_bytes;
    const uint64_t last = std::min((clusters[end - 1] + 1) * cluster_bytes, image_bytes);
    text += fmt::format("{} {}\n", offset, last - offset);
    i = end;
  }
  return text;
}

Result<std::vector<uint64_t>> parse_trace(std::string_view text, const std::string& name,
                                          uint64_t cluster_bytes, uint64_t image_bytes) {
  std::vector<uint64_t> clusters;
  std::unordered_set<uint64_t> known;
  size_t visited = 0;
  for (uint64_t number = 1; !text.empty(); ++number) {
    const std::string_view whole = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(whole.size() + 1, text.size()));
    std::string_view line = whole.substr(0, whole.find('#'));
    if (is_blank(line)) {
      continue;
    }
    const std::optional<uint64_t> offset = take_number(line);
    const std::optional<uint64_t> length = take_number(line);
    if (!offset || !length || !is_blank(line)) {
      return invalid("{}:{}: a line of a trace has an offset and a length, in bytes", name, number);
    }
    if (*offset >= image_bytes || *length > image_bytes - *offset) {
      return invalid("{}:{}: lies behind the end of the image, at {}", name, number, image_bytes);
    }
    for (uint64_t cluster = *offset / cluster_bytes; cluster * cluster_bytes < *offset + *length;
         ++cluster) {
      if (++visited > kLongestTrace) {
        return invalid("{}:{}: a trace names at most {} clusters", name, number, kLongestTrace);
      }
      if (known.insert(cluster).second) {
        clusters.push_back(cluster);
      }
    }
  }
  return clusters;
}

Result<std::vector<uint64_t>> read_trace_list(const std::string& path, uint64_t cluster_bytes,
                                              uint64_t image_bytes) {
  UNIONFS_ASSIGN(const auto file, PosixFile::open(path, FileLock::kNone));
  if (file->size_bytes() > kLongestText) {
    return invalid("{}: is too long for a trace", path);
  }
  std::string text(file->size_bytes(), '\0');
  UNIONFS_TRY(file->read(0, std::as_writable_bytes(std::span(text))));
  return parse_trace(text, path, cluster_bytes, image_bytes);
}

}  // namespace unionfs
