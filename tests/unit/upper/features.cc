// SPDX-License-Identifier: BSD-3-Clause
//
// What this program does not know of an upper: feature bits, flags, bytes that
// nothing uses, other versions.
#include "tests/unit/session/session_bench.h"
#include "tests/unit/support/old_version.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

namespace format = upper_format;

constexpr uint32_t kBlock = 1024;

struct Subject {
  const BenchImages& images = BenchImages::of(kBlock);
  std::unique_ptr<MemoryFile> upper = images.upper();

  Result<std::unique_ptr<Disk>> load() const {
    return Disk::load(*images.lower().image, *upper, kBootId, quiet_log());
  }
  template <typename Change>
  void change(Change change) {
    format::Header header = header_in(*upper);
    change(header);
    replace_header(*upper, header);
  }
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(upper->size_bytes());
    expect_success(upper->peek(0, all));
    return all;
  }
  // Refused by whoever opens it, and not changed by that.
  void check_refused(std::initializer_list<std::string> parts,
                     ErrorKind kind = ErrorKind::kUnsupported) const {
    const std::vector<std::byte> before = bytes();
    CHECK(expect_error(load(), parts) == kind);
    CHECK(bytes() == before);
  }
};

void write_something(Disk& disk) {
  const std::vector<std::byte> block(kBlock, std::byte{7});
  expect_success(disk.write(disk.geometry().size_bytes() - kBlock, block));
}

}  // namespace

TEST_CASE("Features: an unknown incompat bit is refused by name", "[state_area]") {
  for (int bit = 0; bit < 32; ++bit) {
    Subject subject;
    if ((format::kKnownIncompat >> bit & 1) != 0) {
      continue;
    }
    subject.change([bit](format::Header& h) { h.feature_incompat = 1U << bit; });
    subject.check_refused({"upper.img", "not known", fmt::format("FEATURE_I{}", bit)});
  }
}

TEST_CASE("Features: all unknown incompat bits are named, and no other", "[state_area]") {
  Subject subject;
  subject.change([](format::Header& h) {
    h.feature_incompat = 0xa0000000U;
    h.feature_compat = 0x10U;
    h.feature_ro_compat = 0x20U;
  });
  subject.check_refused({"are not known: FEATURE_I29, FEATURE_I31"});
}

TEST_CASE("Features: with an unknown ro_compat bit an upper is only read", "[state_area]") {
  for (int bit = 0; bit < 32; ++bit) {
    Subject subject;
    subject.change([bit](format::Header& h) { h.feature_ro_compat = 1U << bit; });
    const std::vector<std::byte> before = subject.bytes();
    const auto disk = value_of(subject.load());
    CHECK(expect_error(disk->attach(Access::kReadWrite),
                       {"upper.img", "-r", fmt::format("FEATURE_R{}", bit)}) ==
          ErrorKind::kUnsupported);
    const Geometry larger =
        value_of(Geometry::grow(subject.images.lower().volume, disk->geometry().size_bytes() * 2));
    CHECK(expect_error(disk->grow(larger), {fmt::format("FEATURE_R{}", bit)}) ==
          ErrorKind::kUnsupported);
    expect_success(disk->attach(Access::kReadOnly));
    std::vector<std::byte> found(disk->geometry().size_bytes());
    expect_success(disk->read(0, found));
    CHECK(found == subject.images.merged());
    CHECK(subject.bytes() == before);
  }
}

TEST_CASE("Features: an unknown compat bit and its bytes are kept", "[state_area]") {
  for (int bit = 0; bit < 32; ++bit) {
    Subject subject;
    subject.change([bit](format::Header& h) {
      h.feature_compat = 1U << bit;
      h.reserved[static_cast<size_t>(bit) % h.reserved.size()] = 0x5a;
    });
    const auto check_kept = [&] {
      const format::Header header = header_in(*subject.upper);
      CHECK(header.feature_compat == 1U << bit);
      CHECK(header.reserved[static_cast<size_t>(bit) % header.reserved.size()] == 0x5a);
    };
    {
      const auto disk = open_disk(subject.images.lower(), *subject.upper);
      write_something(*disk);
      expect_success(disk->close());
      check_kept();
    }
  }
}

TEST_CASE("Features: an unknown compat bit is kept when an upper grows", "[state_area]") {
  Subject subject;
  subject.change([](format::Header& h) { h.feature_compat = 0x8U; });
  const auto disk = value_of(subject.load());
  expect_success(disk->grow(
      value_of(Geometry::grow(subject.images.lower().volume, disk->geometry().size_bytes() * 2))));
  CHECK(header_in(*subject.upper).feature_compat == 0x8U);
}

TEST_CASE("Features: an unknown flag is refused", "[state_area]") {
  for (int bit = 0; bit < 32; ++bit) {
    Subject subject;
    subject.change([bit](format::Header& h) { h.flags = 1U << bit; });
    if ((format::kKnownFlags >> bit & 1) != 0) {
      value_of(subject.load());
    } else {
      subject.check_refused({"upper.img", fmt::format("unknown flags {:#x}", 1U << bit)});
    }
  }
}

TEST_CASE("Features: a reserved byte that is not zero is refused", "[state_area]") {
  for (size_t i = 0; i < sizeof(format::Header::reserved); ++i) {
    Subject subject;
    subject.change([i](format::Header& h) { h.reserved[i] = 1; });
    subject.check_refused(
        {"upper.img", fmt::format("reserved byte {:#x} ", offsetof(format::Header, reserved) + i)});
  }
}

TEST_CASE("Features: without lower_records its fields are reserved", "[state_area]") {
  for (size_t i = offsetof(format::Header, lower_records); i < offsetof(format::Header, reserved);
       ++i) {
    Subject subject;
    make_without_records(*subject.upper, subject.images.lower().volume);
    subject.change([i](format::Header& h) { reinterpret_cast<uint8_t*>(&h)[i] = 1; });
    subject.check_refused({"upper.img", fmt::format("reserved byte {:#x} ", i)});
  }
}

TEST_CASE("Features: version 1 has no feature words", "[state_area]") {
  for (size_t i = offsetof(format::Header, feature_compat); i < sizeof(format::Header); ++i) {
    Subject subject;
    make_version_1(*subject.upper, subject.images.lower().volume);
    subject.change([i](format::Header& h) { reinterpret_cast<uint8_t*>(&h)[i] = 1; });
    subject.check_refused({"upper.img", fmt::format("reserved byte {:#x} ", i)});
  }
}

TEST_CASE("Features: reserved words of mark and tables are refused", "[state_area]") {
  Subject subject;
  format::Mark mark = mark_in(*subject.upper);
  mark.reserved = 0x30U;
  put_mark(*subject.upper, mark);
  subject.check_refused({"upper.img", "reserved word is 0x30"});

  Subject other;
  const uint64_t entry =
      header_in(*other.upper).layer_tables.offset + sizeof(format::LayerTablesHead);
  other.upper->put(entry + offsetof(format::TranslatedBlock, reserved), Le16(1));
  other.check_refused({"upper.img", "reserved word of a translated block 1"}, ErrorKind::kCorrupt);
}

TEST_CASE("Versions: which pairs of mark and header are taken", "[state_area]") {
  for (uint32_t in_mark = 0; in_mark <= 3; ++in_mark) {
    for (uint32_t in_header = 0; in_header <= 3; ++in_header) {
      INFO("mark " << in_mark << ", header " << in_header);
      Subject subject;
      make_without_records(*subject.upper, subject.images.lower().volume);
      format::Mark mark = mark_in(*subject.upper);
      mark.version = in_mark;
      put_mark(*subject.upper, mark);
      subject.change([in_header](format::Header& h) { h.version = in_header; });
      const bool are_known = in_mark >= 1 && in_mark <= 2 && in_header >= 1 && in_header <= 2;
      if (in_mark == in_header && are_known) {
        CHECK(value_of(subject.load())->state_area().version == in_header);
      } else if (are_known) {
        subject.check_refused({"upper.img", fmt::format("of version {}, but", in_header)},
                              ErrorKind::kCorrupt);
      } else {
        subject.check_refused({"upper.img", "is not known (this is version 2)"});
      }
    }
  }
}

TEST_CASE("Versions: a session leaves an upper of version 1 at its version", "[state_area]") {
  Subject subject;
  make_version_1(*subject.upper, subject.images.lower().volume);
  for (int round = 0; round < 2; ++round) {
    const auto disk = open_disk(subject.images.lower(), *subject.upper);
    write_something(*disk);
    expect_success(disk->close());
    CHECK(mark_in(*subject.upper).version == 1U);
    CHECK(header_in(*subject.upper).version == 1U);
  }
}

TEST_CASE("Versions: an upper of version 1 that grows becomes one of version 2", "[state_area]") {
  Subject subject;
  make_version_1(*subject.upper, subject.images.lower().volume);
  const auto disk = value_of(subject.load());
  expect_success(disk->grow(
      value_of(Geometry::grow(subject.images.lower().volume, disk->geometry().size_bytes() * 2))));
  CHECK(mark_in(*subject.upper).version == 2U);
  CHECK(header_in(*subject.upper).version == 2U);
  value_of(subject.load());
}
