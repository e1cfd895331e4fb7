// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of an upper that are not ext2's: the mark in its superblock and the
// state area behind its blocks.  docs/format.md explains them; this header is
// the truth.  All integers are little-endian.
//
//   0 ............. merged size | header 0 | header 1 | stamp | sections ...
//      the layer, an ext2 image |             the state area
#ifndef UNIONFS_OVERLAY_UPPER_UPPER_FORMAT_H
#define UNIONFS_OVERLAY_UPPER_UPPER_FORMAT_H

#include <array>
#include <cstddef>
#include <cstdint>

#include "fsparse/little_endian.h"
#include "fsparse/numbers.h"

namespace unionfs::upper_format {

// ---- the mark, in s_jnl_blocks of the layer's superblock -----------------

// s_jnl_blocks holds a copy of the journal's inode in ext3; without a journal
// every ext2 tool leaves it alone.  It lies in the superblock's first sector,
// so the mark and s_blocks_count change together.
struct Mark {
  std::array<char, 8> magic;
  Le64 state_offset;  // bytes from the start of the file
  Le32 version;
  Le32 reserved;
};
static_assert(sizeof(Mark) == 24);

constexpr std::array<char, 8> kMarkMagic = {'u', 'n', 'i', 'o', 'n', 'f', 's', 'M'};

// The version of mark and header.  Version 1 has no feature words.  It is read
// and written as it is; whatever writes a new layer writes it as kVersion.
constexpr uint32_t kOldestVersion = 1;
constexpr uint32_t kVersion = 2;

// ---- the header ----------------------------------------------------------

constexpr uint64_t kPageBytes = 4096;
constexpr uint32_t kHeaderSlots = 2;
constexpr uint64_t kStampOffset = kHeaderSlots * kPageBytes;  // from the state area's start
constexpr uint64_t kSectionsOffset = kStampOffset + kPageBytes;
constexpr uint64_t kStateAlignmentBytes = 65536;

// Which lower the layer belongs to.  The times only tell people when it was last
// looked at, if kIncompatLowerRecords is set; else all of it counts.
struct LowerIdentity {
  std::array<uint8_t, 16> uuid;
  Le32 block_size_bytes;
  Le32 s_blocks_count;
  Le32 s_inodes_count;
  Le32 s_mtime;
  Le32 s_wtime;
  Le32 s_lastcheck;
  std::array<uint8_t, 16> hash;  // XXH3-128, canonical: of LowerShape and GroupShape
                                 // with kIncompatLowerRecords, else of superblock and
                                 // descriptors
};
static_assert(sizeof(LowerIdentity) == 56);

// What of the lower's superblock the layer depends on.  It is hashed, not stored.
struct LowerShape {
  std::array<uint8_t, 16> s_uuid;
  std::array<Le32, 4> s_hash_seed;
  Le32 s_blocks_count;
  Le32 s_inodes_count;
  Le32 s_first_data_block;
  Le32 s_log_block_size;
  Le32 s_blocks_per_group;
  Le32 s_inodes_per_group;
  Le32 s_rev_level;
  Le32 s_first_ino;  // this and what follows: 0 in revision 0
  Le32 s_inode_size;
  Le32 s_feature_compat;
  Le32 s_feature_incompat;
  Le32 s_feature_ro_compat;
  Le32 s_def_hash_version;
  Le32 s_reserved_gdt_blocks;
  Le32 s_first_meta_bg;
};
static_assert(sizeof(LowerShape) == 92);

// The same of each descriptor, in order, behind LowerShape.
struct GroupShape {
  Le32 bg_block_bitmap;
  Le32 bg_inode_bitmap;
  Le32 bg_inode_table;
  Le32 bg_free_blocks_count;
  Le32 bg_free_inodes_count;
  Le32 bg_used_dirs_count;
};
static_assert(sizeof(GroupShape) == 24);

struct Section {
  Le64 offset;  // bytes from the start of the file
  Le64 length;  // bytes
};

constexpr std::array<char, 8> kHeaderMagic = {'u', 'n', 'i', 'o', 'n', 'f', 's', 'S'};

// Flags of the header.
constexpr uint32_t kFlagInUse = 0x1;     // a server may be writing; cleared by a clean end
constexpr uint32_t kFlagUnproven = 0x2;  // power was lost during this session: the valid flag
                                         // of the merged superblock proves nothing
constexpr uint32_t kKnownFlags = kFlagInUse | kFlagUnproven;

// Features of the header, as ext2 has them: what a program does that does not
// know a bit depends on the word.  docs/format.md says which kind of change
// takes a bit of which word.
constexpr uint32_t kIncompatLowerRecords = 0x1;  // the lower is recognized by its shape and
                                                 // by records of what the layer depends on
constexpr uint32_t kIncompatParent = 0x2;        // it stands on another layer: `parent`
constexpr uint32_t kIncompatSealed = 0x4;        // it never changes again: `seal`
constexpr uint32_t kIncompatVoid = 0x10;         // it has no layer: what it does not have is its
                                                 // parent's, session and all
constexpr uint32_t kIncompatFrozen = 0x20;       // it never changes again, session and all: the
                                                 // durable bitmap counts; `freeze`
constexpr uint32_t kIncompatFreezing = 0x40;     // a server was about to freeze it, or has: the
                                                 // live bitmap counts as in any upper; `freeze`
constexpr uint32_t kKnownCompat = 0;
constexpr uint32_t kKnownIncompat = kIncompatLowerRecords | kIncompatParent | kIncompatSealed |
                                    kIncompatVoid | kIncompatFrozen | kIncompatFreezing;
constexpr uint32_t kKnownRoCompat = 0;

// XXH3-128, canonical.
using Digest = std::array<uint8_t, 16>;

// What is directly below, where that is no plain image.
enum class ParentKind : uint32_t {
  kLower = 0,   // a plain image: there is no parent
  kSealed = 1,  // a sealed layer
  kFrozen = 2,  // a frozen level with its session: only of a void upper
  kLayer = 3,   // the layer of a frozen level, without its session
};

struct Parent {
  Le32 kind;                   // ParentKind
  Digest chain;                // of the parent and all that is below it
  std::array<char, 180> name;  // of its file when the upper was made, without a directory;
                               // padded with zeros; empty where it did not fit
};
static_assert(sizeof(Parent) == 200);

// What a sealed layer is.  Each digest begins with a word that says of what it is.
struct Seal {
  Digest shape;     // superblock, descriptors, layer tables, records of the lower
  Digest metadata;  // bitmaps and inodes that are own, translated blocks
  Digest content;   // the other own blocks
};
static_assert(sizeof(Seal) == 48);

// What a frozen level has in the place of a seal, and one that is being frozen.
struct Freeze {
  Digest id;  // drawn when it was frozen: two copies of one upper share everything else.  The
              // hidden name of the next upper of a running disk ends in its first half
  std::array<uint8_t, 32> reserved;
};
static_assert(sizeof(Freeze) == sizeof(Seal));

// Two slots, a page apart; the valid one with the higher generation counts.
// One sector, so a slot is written whole or not at all.
struct Header {
  std::array<char, 8> magic;  // 0x000
  Le32 version;               // 0x008
  Le32 flags;                 // 0x00c
  Le64 generation;            // 0x010
  Le64 checksum;              // 0x018: XXH3-64 of the header with this field zero
  Le64 state_offset;          // 0x020: of the state area, as in the mark
  Le64 session_number;        // 0x028: raised when a session is retired
  Le32 merged_block_count;    // 0x030
  Le32 block_size_bytes;      // 0x034
  LowerIdentity lower;        // 0x038
  Section durable_bitmap;     // 0x070: one bit per merged block: written, as of the last flush
  Section live_bitmap;        // 0x080: the same, as of now; only with a matching stamp
  Section fixed_blocks;       // 0x090: raw copies of written F-blocks, by rank
  Section layer_tables;       // 0x0a0
  Section translated_blocks;  // 0x0b0: raw copies of written translated blocks, by index
  Section journal;            // 0x0c0: of a committed checkpoint that is not home yet, or empty
  Le32 feature_compat;        // 0x0d0: an unknown bit is ignored and kept
  Le32 feature_incompat;      // 0x0d4: with an unknown bit the upper is not opened
  Le32 feature_ro_compat;     // 0x0d8: with an unknown bit the upper is only read
  // With kIncompatLowerRecords, else zero.
  Section lower_records;               // 0x0dc
  Le32 lower_free_blocks_count;        // 0x0ec: of all groups of the lower; for messages
  Le32 lower_free_inodes_count;        // 0x0f0
  Le32 lower_used_dirs_count;          // 0x0f4
  Parent parent;                       // 0x0f8: with kIncompatParent, else zero
  Seal seal;                           // 0x1c0: with kIncompatSealed; with kIncompatFrozen or
                                       // kIncompatFreezing it is a Freeze; else zero
  std::array<uint8_t, 0x10> reserved;  // 0x1f0: zero, unless a feature uses them
};
static_assert(sizeof(Header) == 512);
static_assert(offsetof(Header, lower) == 0x38);
static_assert(offsetof(Header, durable_bitmap) == 0x70);
static_assert(offsetof(Header, feature_compat) == 0xd0);
static_assert(offsetof(Header, lower_records) == 0xdc);
static_assert(offsetof(Header, parent) == 0xf8);
static_assert(offsetof(Header, seal) == 0x1c0);
static_assert(offsetof(Header, reserved) == 0x1f0);

// Tells whether the live bitmap can be believed: only in the boot and the
// session it was stamped in, and not in a copy of the file.
struct Stamp {
  std::array<char, 8> magic;
  Le64 session_number;
  std::array<char, 40> boot_id;  // as the kernel prints it, zero-padded
  Le64 device;                   // of the upper as a file of the host; this and the next two are
                                 // zero where an earlier program made the stamp
  Le64 inode;
  Le64 birth_nanoseconds;
};
static_assert(sizeof(Stamp) == 80);

constexpr std::array<char, 8> kStampMagic = {'u', 'n', 'i', 'o', 'n', 'f', 's', 'L'};

// ---- the checkpoint journal ----------------------------------------------

// What turns the session and the old layer into the new layer.  Replaying it
// twice does no harm.  Head, then the ranges to punch, then the runs, each
// followed by its bytes; that is also the order of the work.
struct JournalHead {
  std::array<char, 8> magic;
  Le64 checksum;     // XXH3-64 of the journal with this field zero
  Le64 file_size;    // of the upper, afterwards
  Le32 run_count;    // JournalRun, each with `length` bytes behind it
  Le32 punch_count;  // JournalRun, without bytes; these come first
  Header header;     // the one that retires journal and session; generation and
                     // checksum are set when it is written
};
static_assert(sizeof(JournalHead) == 544);

constexpr std::array<char, 8> kJournalMagic = {'u', 'n', 'i', 'o', 'n', 'f', 's', 'J'};

struct JournalRun {
  Le64 offset;  // bytes from the start of the file
  Le64 length;  // bytes
};

// ---- layer tables --------------------------------------------------------

// What the layer, as an ext2 image, cannot say of the merged image.  A head,
// then the arrays in the order of their counts, without gaps.
struct LayerTablesHead {
  std::array<char, 8> magic;
  Le64 checksum;          // XXH3-64 of head and arrays with this field zero
  Le32 merged_rev_level;  // the merged superblock's revision and features
  Le32 merged_feature_compat;
  Le32 merged_feature_incompat;
  Le32 merged_feature_ro_compat;
  Le32 reserved_inodes_own;   // bit n - 1: inode n (1 .. 10) is the layer's own
  Le32 boot_own;              // 1: the boot area is the layer's own
  Le32 translated_count;      // TranslatedBlock, ascending by block
  Le32 kept_inode_count;      // KeptInode, ascending by inode
  Le32 kept_xattr_count;      // KeptXattr, ascending by block
  Le32 group_counters_count;  // GroupCounters, ascending by group
  Le32 block_whiteout_count;  // WhiteoutRun of blocks, ascending, disjoint
  Le32 inode_whiteout_count;  // WhiteoutRun of inodes, ascending, disjoint
};
static_assert(sizeof(LayerTablesHead) == 64);

constexpr std::array<char, 8> kLayerTablesMagic = {'u', 'n', 'i', 'o', 'n', 'f', 's', 'T'};

// What a block is that must not be taken for plain file data.
enum class TranslatedKind : uint8_t {
  kDirectory = 1,  // a block of names
  kIndirect = 2,   // a block of block pointers
  kXattr = 3,
  kSymlink = 4,     // the target of a long symlink
  kXattrCount = 5,  // not own: the lower's xattr block with another reference count
};

struct TranslatedBlock {
  Le32 block;
  Le32 inode;       // the owner; of an xattr block the lowest-numbered owner
  Le32 file_block;  // first file block the block holds or leads to
  uint8_t kind;     // TranslatedKind
  uint8_t level;    // kIndirect: 1 .. 3
  Le16 reserved;
};
static_assert(sizeof(TranslatedBlock) == 16);

// Merged counts of an own inode that the layer's own inode cannot carry.
struct KeptInode {
  Le32 inode;
  Le32 i_blocks;
  Le32 i_links_count;
};
static_assert(sizeof(KeptInode) == 12);

// Merged reference count of a translated xattr block.
struct KeptXattr {
  Le32 block;
  Le32 h_refcount;
};

// Counters of a merged group that differ from those of an untouched one.
struct GroupCounters {
  Le32 group;
  Le32 free_blocks_count;
  Le32 free_inodes_count;
  Le32 used_dirs_count;
};

struct WhiteoutRun {
  Le32 first;
  Le32 count;
};

// ---- records of the lower --------------------------------------------------

// What the lower was like where the layer depends on it.  A head, then the arrays
// in the order of their counts, without gaps.
struct LowerRecordsHead {
  std::array<char, 8> magic;
  Le64 checksum;     // XXH3-64 of head and arrays with this field zero
  Le32 inode_count;  // LowerInode, ascending by inode
  Le32 group_count;  // LowerGroup, ascending by group
  Le32 xattr_count;  // LowerXattr, ascending by block
  Le32 reserved;
};
static_assert(sizeof(LowerRecordsHead) == 32);

constexpr std::array<char, 8> kLowerRecordsMagic = {'u', 'n', 'i', 'o', 'n', 'f', 's', 'R'};

// Flags of a LowerInode: what the layer has of that number, so what `content` covers.
constexpr uint32_t kLowerInodeOwn = 0x1;
constexpr uint32_t kLowerInodeWhitedOut = 0x2;
constexpr uint32_t kKnownLowerInodeFlags = kLowerInodeOwn | kLowerInodeWhitedOut;

// An inode that the lower uses, and that is own or whited out.
struct LowerInode {
  Le32 inode;
  Le32 flags;
  Digest metadata;  // the slot, without what reading changes; the blocks it has
  Digest content;   // names of a directory, blocks of a file that fall through; else zero
};
static_assert(sizeof(LowerInode) == 40);

// A group of the lower in which anything is own or whited out.
struct LowerGroup {
  Le32 group;
  Digest bitmaps;
};
static_assert(sizeof(LowerGroup) == 20);

// A block of extended attributes of which only the count is the layer's.
struct LowerXattr {
  Le32 block;
  Digest content;
};
static_assert(sizeof(LowerXattr) == 20);

}  // namespace unionfs::upper_format

#endif  // UNIONFS_OVERLAY_UPPER_UPPER_FORMAT_H
