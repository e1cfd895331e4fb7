// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/jffs2_compression.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "overlay/sources/jffs2_format.h"

namespace unionfs::jffs2 {
namespace {

// Bytes that are asked for one after another.  Behind the end there are zeros, and is_broken()
// says so.
class PackedBytes {
 public:
  explicit PackedBytes(ConstByteSpan bytes) : bytes_(bytes) {}

  bool is_broken() const { return is_broken_; }
  uint32_t next() {
    if (at_ == bytes_.size()) {
      is_broken_ = true;
      return 0;
    }
    return std::to_integer<uint32_t>(bytes_[at_++]);
  }
  ConstByteSpan take(size_t length) {
    if (length > bytes_.size() - at_) {
      is_broken_ = true;
      return {};
    }
    at_ += length;
    return bytes_.subspan(at_ - length, length);
  }

 private:
  ConstByteSpan bytes_;
  size_t at_ = 0;
  bool is_broken_ = false;
};

// What has been unpacked, and grows until it is full.
class UnpackedBytes {
 public:
  explicit UnpackedBytes(ByteSpan bytes) : bytes_(bytes) {}

  bool is_broken() const { return is_broken_; }
  bool is_full() const { return done_ == bytes_.size(); }
  size_t done() const { return done_; }

  void append(ConstByteSpan more) {
    if (more.size() > bytes_.size() - done_) {
      is_broken_ = true;
      return;
    }
    std::copy(more.begin(), more.end(), bytes_.begin() + static_cast<ptrdiff_t>(done_));
    done_ += more.size();
  }
  // What was unpacked at `from`; it may reach into what this call appends.
  void repeat(size_t from, size_t length) {
    if (from >= done_ || length > bytes_.size() - done_) {
      is_broken_ = true;
      return;
    }
    for (size_t end = done_ + length; done_ < end; ++done_, ++from) {
      bytes_[done_] = bytes_[from];
    }
  }
  void repeat_back(size_t distance, size_t length) {
    if (distance > done_) {
      is_broken_ = true;
      return;
    }
    repeat(done_ - distance, length);
  }

 private:
  ByteSpan bytes_;
  size_t done_ = 0;
  bool is_broken_ = false;
};

// After each byte stands how many of those follow again that followed the last such byte.
bool unpack_rtime(PackedBytes packed, UnpackedBytes out) {
  std::array<size_t, 256> behind_last{};
  while (!out.is_full() && !out.is_broken()) {
    const uint32_t value = packed.next();
    const size_t length = packed.next();
    if (packed.is_broken()) {
      return false;
    }
    const auto byte = static_cast<std::byte>(value);
    out.append({&byte, 1});
    const size_t from = std::exchange(behind_last[value], out.done());
    if (length != 0) {
      out.repeat(from, length);
    }
  }
  return !out.is_broken();
}

bool unpack_zlib(ConstByteSpan packed, ByteSpan out) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) {
    return false;
  }
  // zlib writes nothing there.
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));  // NOLINT
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  // The end of the stream does not matter: the node has a checksum of its own.
  (void)inflate(&stream, Z_FINISH);
  const bool is_whole = stream.total_out == out.size();
  inflateEnd(&stream);
  return is_whole;
}

// ---- LZO1X, as the kernel's Documentation/staging/lzo.rst describes its version 0

// What to copy, and how many literals follow.
struct LzoCopy {
  size_t distance = 0;
  size_t length = 0;
  uint32_t literals = 0;
};

constexpr uint32_t kLzoManyLiterals = 4;  // the state after a long run of literals
constexpr uint32_t kLzoEndDistance = 16384;

// A length in the lowest bits of an instruction, or in the bytes behind it if those are 0.
size_t lzo_length(uint32_t instruction, uint32_t mask, PackedBytes& packed) {
  if ((instruction & mask) != 0) {
    return instruction & mask;
  }
  size_t length = mask;
  uint32_t more = packed.next();
  while (more == 0 && !packed.is_broken()) {
    length += 255;
    more = packed.next();
  }
  return length + more;
}

// An instruction that is no run of literals.
LzoCopy lzo_copy(uint32_t instruction, uint32_t state, PackedBytes& packed) {
  LzoCopy copy;
  if (instruction < 16) {
    const bool is_far = state == kLzoManyLiterals;
    copy.length = is_far ? 3 : 2;
    copy.distance = (packed.next() << 2) + (instruction >> 2) + (is_far ? 2049 : 1);
    copy.literals = instruction & 3;
  } else if (instruction >= 64) {
    copy.length = (instruction >> 5) + 1;
    copy.distance = (packed.next() << 3) + (instruction >> 2 & 7) + 1;
    copy.literals = instruction & 3;
  } else {
    const bool is_near = instruction >= 32;
    copy.length = 2 + lzo_length(instruction, is_near ? 31 : 7, packed);
    const uint32_t low = packed.next();
    const uint32_t operand = low | packed.next() << 8;
    copy.distance = (operand >> 2) + (is_near ? 1 : kLzoEndDistance + ((instruction & 8) << 11));
    copy.literals = operand & 3;
  }
  return copy;
}

bool unpack_lzo(ConstByteSpan bytes, UnpackedBytes out) {
  constexpr uint32_t kFirstLiterals = 17;  // the first byte may be a number of literals and this
  PackedBytes packed(bytes);
  uint32_t state = 0;
  if (!bytes.empty() && std::to_integer<uint32_t>(bytes[0]) > kFirstLiterals) {
    const uint32_t literals = packed.next() - kFirstLiterals;
    out.append(packed.take(literals));
    state = std::min(literals, kLzoManyLiterals);
  }
  while (!packed.is_broken() && !out.is_broken()) {
    const uint32_t instruction = packed.next();
    if (instruction < 16 && state == 0) {
      out.append(packed.take(3 + lzo_length(instruction, 15, packed)));
      state = kLzoManyLiterals;
      continue;
    }
    const LzoCopy copy = lzo_copy(instruction, state, packed);
    const bool is_end = instruction >= 16 && instruction < 32 && copy.distance == kLzoEndDistance;
    if (is_end) {
      return out.is_full() && !packed.is_broken();
    }
    out.repeat_back(copy.distance, copy.length);
    out.append(packed.take(copy.literals));
    state = copy.literals;
  }
  return false;
}

}  // namespace

bool is_known_compression(uint8_t compr) {
  return compr == kComprRtime || compr == kComprZlib || compr == kComprLzo;
}

bool unpack(uint8_t compr, ConstByteSpan packed, ByteSpan out) {
  switch (compr) {
    case kComprRtime:
      return unpack_rtime(PackedBytes(packed), UnpackedBytes(out));
    case kComprZlib:
      return unpack_zlib(packed, out);
    case kComprLzo:
      return unpack_lzo(packed, UnpackedBytes(out));
    default:
      return false;
  }
}

}  // namespace unionfs::jffs2
