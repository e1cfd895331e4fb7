// SPDX-License-Identifier: BSD-3-Clause
//
// The proof finds what a client could rely on, and nothing else.
#include "overlay/checkpoint/proof.h"

#include "fsparse/htree.h"
#include "tests/unit/support/open_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// An image with a directory "names" that has an index of two levels.
const MemoryImage& indexed_image() {
  static const MemoryImage image = [] {
    const ScratchDirectory content;
    std::filesystem::create_directory(content.path() / "names");
    for (int i = 0; i < 1000; ++i) {
      write_file(content.path() / "names" / fmt::format("{}-{}", i, std::string(150, 'x')), "");
    }
    const RealImage real(16384, {.more = {"-N", "4096"}, .content = content.path()});
    real.repair({"-D"});
    return real.load();
  }();
  return image;
}

// What a session shows, and what a layer that owns all of it would give.
struct Proof {
  OpenImage session{indexed_image()};
  OpenImage synthesized{indexed_image()};
  Geometry geometry = value_of(Geometry::grow(session.volume, session.image.size_bytes()));
  InodeRecord names = session.inode("names");

  BlockNumber block_at(FileBlock file_block) const {
    const auto block = value_of(map_block(session.volume, names, file_block));
    REQUIRE(block.has_value());
    return *block;
  }

  // Of one block of the directory.
  Result<void> prove(FileBlock file_block) const {
    const BlockNumber block = block_at(file_block);
    LayerTables tables;
    tables.translated.push_back({block, names.number(), static_cast<uint32_t>(file_block.value()),
                                 TranslatedKind::kDirectory, 0});
    const Layer layer = value_of(Layer::load(session.volume, geometry, tables));
    BlockSet blocks(geometry.merged());
    blocks.set(block);
    const std::atomic<bool> is_cancelled{false};
    return prove_same(session.volume, synthesized.volume, geometry, layer, blocks, {},
                      is_cancelled);
  }
};

}  // namespace

TEST_CASE("Proof: bytes of a leaf that are no live entry do not count", "[checkpoint][proof]") {
  Proof proof;
  const FileBlock leaf = value_of(index_leaves(proof.session.volume, proof.names, "absent")).at(0);
  const ByteSpan bytes = proof.synthesized.block(proof.block_at(leaf));
  bytes[bytes.size() - 1] = std::byte{0xee};
  expect_success(proof.prove(leaf));
  bytes[8] = std::byte{0xee};  // of the first name
  expect_error(proof.prove(leaf), {proof.session.volume.name() + ": ", "other names",
                                   fmt::format("inode {}", proof.names.number())});
}

TEST_CASE("Proof: the root of an index counts byte for byte", "[checkpoint][proof]") {
  Proof proof;
  const FileBlock root(0);
  expect_success(proof.prove(root));
  proof.synthesized.block(proof.block_at(root))[ext2::kIndexRootEntriesOffset + 8] ^= std::byte{4};
  expect_error(proof.prove(root), {"other names"});
}

TEST_CASE("Proof: a node of an index counts byte for byte", "[checkpoint][proof]") {
  Proof proof;
  const std::vector<FileBlock> nodes = value_of(index_nodes(proof.session.volume, proof.names));
  REQUIRE(!nodes.empty());
  for (const FileBlock node : nodes) {
    expect_success(proof.prove(node));
    proof.synthesized.block(proof.block_at(node))[ext2::kIndexNodeEntriesOffset + 8] ^=
        std::byte{4};
    expect_error(proof.prove(node), {"other names"});
  }
}
