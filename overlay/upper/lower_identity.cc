// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/lower_identity.h"

#include <xxhash.h>

#include <cstring>
#include <ctime>
#include <vector>

namespace unionfs {
namespace {

namespace format = upper_format;

std::string time_text(uint32_t seconds) {
  const auto time = static_cast<time_t>(seconds);
  struct tm parts;
  ::gmtime_r(&time, &parts);
  char text[32];
  (void)::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

}  // namespace

Result<format::LowerIdentity> identity_of(const Volume& lower) {
  const ext2::Superblock& raw = lower.superblock().raw();
  const Layout& layout = lower.layout();
  format::LowerIdentity identity = {};
  identity.uuid = raw.s_uuid;
  identity.block_size_bytes = layout.block_size_bytes;
  identity.s_blocks_count = raw.s_blocks_count;
  identity.s_inodes_count = raw.s_inodes_count;
  identity.s_mtime = raw.s_mtime;
  identity.s_wtime = raw.s_wtime;
  identity.s_lastcheck = raw.s_lastcheck;

  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, &raw, sizeof(raw));
  std::vector<std::byte> block(layout.block_size_bytes);
  Result<void> result;
  for (uint32_t index = 0; index < layout.descriptor_block_count() && result; ++index) {
    result = lower.read_block(layout.primary_descriptor_block(index), block);
    XXH3_128bits_update(state, block.data(), block.size());
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
  XXH3_freeState(state);
  UNIONFS_TRY(std::move(result));
  std::memcpy(identity.hash.data(), canonical.digest, identity.hash.size());
  return identity;
}

bool is_same_lower(const format::LowerIdentity& a, const format::LowerIdentity& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

std::string describe(const format::LowerIdentity& identity) {
  std::string hash;
  for (size_t i = 0; i < 8; ++i) {
    hash += fmt::format("{:02x}", identity.hash[i]);
  }
  return fmt::format("UUID {}, {} blocks of {} bytes, last written {}, hash {}",
                     uuid_text(identity.uuid), identity.s_blocks_count, identity.block_size_bytes,
                     time_text(identity.s_wtime), hash);
}

}  // namespace unionfs
