// SPDX-License-Identifier: BSD-3-Clause

#include "sector-map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace blocktest {

namespace {

constexpr SectorBytes zero_sector = {};

bool all_zero(std::span<const std::uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::string hexadecimal(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (std::size_t index = 0; index < std::min<std::size_t>(bytes.size(), 8); ++index) {
    text += fmt::format(" {:02x}", bytes[index]);
  }
  return text;
}

void write_word(std::FILE* file, std::uint64_t word) {
  if (std::fwrite(&word, sizeof word, 1, file) != 1) {
    throw std::runtime_error("state file: cannot write");
  }
}

std::uint64_t read_word(std::FILE* file) {
  std::uint64_t word = 0;
  if (std::fread(&word, sizeof word, 1, file) != 1) {
    throw std::runtime_error("state file: ends too early");
  }
  return word;
}

}  // namespace

InitialContent::InitialContent(const std::string& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) {
    throw std::runtime_error(fmt::format("{}: {}", path, std::strerror(errno)));
  }
}

InitialContent::~InitialContent() {
  ::close(descriptor_);
}

void InitialContent::read(std::uint64_t offset_bytes, std::span<std::uint8_t> out) const {
  std::size_t done_bytes = 0;
  while (done_bytes < out.size()) {
    const ssize_t count = ::pread(descriptor_, out.data() + done_bytes, out.size() - done_bytes,
                                  static_cast<off_t>(offset_bytes + done_bytes));
    if (count < 0) {
      throw std::runtime_error(fmt::format("initial content: {}", std::strerror(errno)));
    }
    if (count == 0) {
      break;
    }
    done_bytes += static_cast<std::size_t>(count);
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(done_bytes), out.end(), std::uint8_t{0});
}

SectorMap::SectorMap(std::shared_ptr<const InitialContent> initial, std::uint64_t seed)
    : initial_(std::move(initial)), seed_(seed) {}

void SectorMap::add(Contents& contents, const Content& content) {
  for (const Content& known : contents) {
    if (known.word == content.word &&
        (known.word != bytes_word || *known.bytes == *content.bytes)) {
      return;
    }
  }
  contents.push_back(content);
}

SectorMap::Contents SectorMap::contents_of(std::uint64_t sector) const {
  const auto chunk = chunks_.find(sector / sectors_per_chunk);
  if (chunk == chunks_.end()) {
    return {Content{}};
  }
  const std::uint64_t word = chunk->second[sector % sectors_per_chunk];
  if (word == several_word) {
    return mixed_.at(sector);
  }
  return {Content{word, nullptr}};
}

void SectorMap::set_contents(std::uint64_t sector, Contents contents) {
  std::uint64_t& word = chunks_[sector / sectors_per_chunk][sector % sectors_per_chunk];
  const bool plain = contents.size() == 1 && contents.front().word != bytes_word;
  if (plain && word == several_word) {
    mixed_.erase(sector);
  }
  word = plain ? contents.front().word : several_word;
  if (!plain) {
    mixed_[sector] = std::move(contents);
  }
}

SectorBytes SectorMap::materialize(std::uint64_t sector, const Content& content) const {
  if (content.word == bytes_word) {
    return *content.bytes;
  }
  if (content.word == zero_word) {
    return zero_sector;
  }
  if (content.word == initial_word) {
    SectorBytes bytes;
    initial_->read(sector * sector_size_bytes, bytes);
    return bytes;
  }
  return stamped_sector(sector, content.word, seed_);
}

SectorMap::Content SectorMap::changed(std::uint64_t sector, const Content& before,
                                      const Change& change) const {
  const std::uint64_t sector_begin = sector * sector_size_bytes;
  const std::uint64_t begin = std::max(change.offset_bytes, sector_begin) - sector_begin;
  const std::uint64_t end =
      std::min(change.end_bytes(), sector_begin + sector_size_bytes) - sector_begin;
  const bool stamped = change.kind == ChangeKind::write;
  if (begin == 0 && end == sector_size_bytes) {
    return {stamped ? change.sequence : zero_word, nullptr};
  }
  auto bytes = std::make_shared<SectorBytes>(materialize(sector, before));
  const SectorBytes source = stamped ? stamped_sector(sector, change.sequence, seed_) : zero_sector;
  std::memcpy(bytes->data() + begin, source.data() + begin, end - begin);
  return {bytes_word, std::move(bytes)};
}

void SectorMap::apply(const Change& change, bool maybe) {
  const bool keep_old = maybe || change.kind == ChangeKind::trim;
  for (std::uint64_t sector = change.first_sector(); sector < change.end_sector(); ++sector) {
    const Contents before = contents_of(sector);
    Contents after;
    for (const Content& content : before) {
      add(after, changed(sector, content, change));
    }
    if (keep_old) {
      for (const Content& content : before) {
        add(after, content);
      }
    }
    set_contents(sector, std::move(after));
  }
}

void SectorMap::allow_also(const SectorMap& other, std::uint64_t first_sector,
                           std::uint64_t end_sector) {
  for (std::uint64_t sector = first_sector; sector < end_sector; ++sector) {
    Contents contents = contents_of(sector);
    for (const Content& content : other.contents_of(sector)) {
      add(contents, content);
    }
    set_contents(sector, std::move(contents));
  }
}

std::optional<Mismatch> SectorMap::check_sector(std::uint64_t sector, std::uint32_t begin,
                                                std::span<const std::uint8_t> bytes) {
  const Contents allowed = contents_of(sector);
  Contents left;
  for (const Content& content : allowed) {
    const SectorBytes expected = materialize(sector, content);
    if (std::memcmp(expected.data() + begin, bytes.data(), bytes.size()) == 0) {
      left.push_back(content);
    }
  }
  if (left.empty()) {
    return describe(sector, begin, bytes, allowed);
  }
  if (left.size() < allowed.size()) {
    set_contents(sector, std::move(left));
  }
  return std::nullopt;
}

std::optional<Mismatch> SectorMap::check(std::uint64_t offset_bytes,
                                         std::span<const std::uint8_t> bytes) {
  std::vector<std::uint8_t> initial;
  std::size_t done_bytes = 0;
  while (done_bytes < bytes.size()) {
    const std::uint64_t position_bytes = offset_bytes + done_bytes;
    const std::uint64_t chunk_number = position_bytes / chunk_size_bytes;
    // An unchanged chunk is compared in one piece: most of a big disk is such.
    if (chunks_.find(chunk_number) == chunks_.end()) {
      const std::size_t count = std::min<std::size_t>(
          chunk_size_bytes - position_bytes % chunk_size_bytes, bytes.size() - done_bytes);
      initial.resize(count);
      initial_->read(position_bytes, initial);
      if (std::memcmp(initial.data(), bytes.data() + done_bytes, count) == 0) {
        done_bytes += count;
        continue;
      }
    }
    const auto begin = static_cast<std::uint32_t>(position_bytes % sector_size_bytes);
    const std::size_t count =
        std::min<std::size_t>(sector_size_bytes - begin, bytes.size() - done_bytes);
    if (auto mismatch = check_sector(position_bytes / sector_size_bytes, begin,
                                     bytes.subspan(done_bytes, count))) {
      return mismatch;
    }
    done_bytes += count;
  }
  return std::nullopt;
}

std::size_t SectorMap::content_count(std::uint64_t sector) const {
  return contents_of(sector).size();
}

std::vector<std::uint64_t> SectorMap::changed_chunks() const {
  std::vector<std::uint64_t> offsets;
  offsets.reserve(chunks_.size());
  for (const auto& [number, chunk] : chunks_) {
    offsets.push_back(number * chunk_size_bytes);
  }
  return offsets;
}

// Says what bytes are, as far as they can be recognized: that is most of the way to the cause.
std::string SectorMap::name_of(std::uint64_t sector, std::uint32_t begin,
                               std::span<const std::uint8_t> bytes) const {
  if (all_zero(bytes)) {
    return "zeros";
  }
  const SectorBytes initial = materialize(sector, Content{});
  if (std::memcmp(initial.data() + begin, bytes.data(), bytes.size()) == 0) {
    return "the initial content";
  }
  if (const auto stamp = read_stamp(bytes, seed_)) {
    return fmt::format("what change {} wrote to sector {}", stamp->sequence, stamp->sector);
  }
  return "a mixture";
}

Mismatch SectorMap::describe(std::uint64_t sector, std::uint32_t begin,
                             std::span<const std::uint8_t> bytes, const Contents& allowed) const {
  const std::uint64_t offset_bytes = sector * sector_size_bytes + begin;
  std::string text =
      fmt::format("sector {} (bytes {}..{}) holds {}; allowed:", sector, offset_bytes,
                  offset_bytes + bytes.size() - 1, name_of(sector, begin, bytes));
  std::uint64_t first_bad_byte = offset_bytes;
  for (const Content& content : allowed) {
    const SectorBytes expected = materialize(sector, content);
    const std::span<const std::uint8_t> part(expected.data() + begin, bytes.size());
    const auto differing = std::mismatch(part.begin(), part.end(), bytes.begin());
    const auto equal_bytes = static_cast<std::size_t>(differing.first - part.begin());
    text += fmt::format("\n  {}: from byte {} on found{}, allowed{}", name_of(sector, begin, part),
                        offset_bytes + equal_bytes, hexadecimal(bytes.subspan(equal_bytes)),
                        hexadecimal(part.subspan(equal_bytes)));
    first_bad_byte = std::max(first_bad_byte, offset_bytes + equal_bytes);
  }
  return {sector, first_bad_byte, text};
}

void SectorMap::save(std::FILE* file) const {
  write_word(file, chunks_.size());
  for (const auto& [number, chunk] : chunks_) {
    write_word(file, number);
    for (const std::uint64_t word : chunk) {
      write_word(file, word);
    }
  }
  write_word(file, mixed_.size());
  for (const auto& [sector, contents] : mixed_) {
    write_word(file, sector);
    write_word(file, contents.size());
    for (const Content& content : contents) {
      write_word(file, content.word);
      if (content.word == bytes_word &&
          std::fwrite(content.bytes->data(), content.bytes->size(), 1, file) != 1) {
        throw std::runtime_error("state file: cannot write");
      }
    }
  }
}

void SectorMap::load(std::FILE* file) {
  for (std::uint64_t chunks_left = read_word(file); chunks_left > 0; --chunks_left) {
    Chunk& chunk = chunks_[read_word(file)];
    for (std::uint64_t& word : chunk) {
      word = read_word(file);
    }
  }
  for (std::uint64_t sectors_left = read_word(file); sectors_left > 0; --sectors_left) {
    Contents& contents = mixed_[read_word(file)];
    for (std::uint64_t contents_left = read_word(file); contents_left > 0; --contents_left) {
      Content content = {read_word(file), nullptr};
      if (content.word == bytes_word) {
        auto bytes = std::make_shared<SectorBytes>();
        if (std::fread(bytes->data(), bytes->size(), 1, file) != 1) {
          throw std::runtime_error("state file: ends too early");
        }
        content.bytes = std::move(bytes);
      }
      contents.push_back(std::move(content));
    }
  }
}

}  // namespace blocktest
