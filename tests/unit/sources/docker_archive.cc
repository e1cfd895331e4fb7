// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/docker_archive.h"

#include <openssl/sha.h>
#include <unistd.h>

#include <cstdio>

#include "overlay/sources/source.h"
#include "tests/unit/sources/sources_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::string id_of(const std::string& bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

const std::string kBottom = tar_of({{"a", '0', "1"}, {"d/", kDirectory, "", "", 0755}, {"d/b"}});
const std::string kTop = tar_of({{".wh.a"}, {"d/c"}, {".wh.never"}});

std::string configuration_of(const std::vector<std::string>& layers) {
  std::vector<std::string> ids;
  for (const std::string& layer : layers) {
    ids.push_back("\"sha256:" + id_of(layer) + "\"");
  }
  return fmt::format(R"({{"rootfs":{{"type":"layers","diff_ids":[{}]}}}})", fmt::join(ids, ","));
}

// An archive in a file.
class DockerFile {
 public:
  explicit DockerFile(const std::vector<TarEntry>& entries) {
    write_file(scratch_.path() / "image.tar", tar_of(entries));
  }
  std::string path() const { return (scratch_.path() / "image.tar").native(); }
  const ScratchDirectory& scratch() const { return scratch_; }

  Result<FileTree> read(const std::string& tag = "", LayerUse use = LayerUse::kWholeTree) const {
    TarTest test;
    return read_docker_archive(path(), tag, use, test.context);
  }

 private:
  ScratchDirectory scratch_;
};

// With the layers as docker's older versions have them: the second is a symlink to the bottom one
// of another image.
std::vector<TarEntry> usual_archive(const std::string& manifest) {
  const std::string bottom = id_of("bottom");
  const std::string top = id_of("top");
  return {{bottom + "/", kDirectory, "", "", 0755},
          {bottom + "/VERSION", '0', "1.0"},
          {bottom + "/layer.tar", '0', kBottom},
          {top + "/layer.tar", '0', kTop},
          {"again/layer.tar", kSymlink, "", "../" + bottom + "/layer.tar"},
          {"two.json", '0', configuration_of({kBottom, kTop})},
          {"one.json", '0', configuration_of({kBottom})},
          {"manifest.json", '0', manifest}};
}

std::string image_text(const std::string& configuration, const std::string& tags,
                       const std::string& layers) {
  return fmt::format(R"({{"Config":"{}","RepoTags":{},"Layers":[{}]}})", configuration, tags,
                     layers);
}

std::string layer_text(const std::string& name) {
  return "\"" + id_of(name) + "/layer.tar\"";
}

const std::string kTwoLayers = image_text("two.json", R"(["of:two","or:that"])",
                                          layer_text("bottom") + "," + layer_text("top"));
const std::string kOneLayer = image_text("one.json", R"(["of:one"])", R"("again/layer.tar")");

}  // namespace

TEST_CASE("the layers of a docker archive lie over one another", "[docker]") {
  const DockerFile file(usual_archive("[" + kTwoLayers + "]"));
  const std::string wanted =
      "/ implied\n"
      "d dir 0755 0:0 1000.000000000\n"
      "d/b file 0644 0:0 1000.000000000\n"
      "d/c file 0644 0:0 1000.000000000\n";
  CHECK(tree_text(value_of(file.read())) == wanted);
  CHECK(tree_text(value_of(file.read("or:that"))) == wanted);
  CHECK_THAT(tree_text(value_of(file.read("", LayerUse::kLayer))),
             Catch::Contains("a whiteout\n") && Catch::Contains("never whiteout\n"));
  // Whether or not anybody says so, and compressed.
  run_in(file.scratch(), "gzip -k image.tar");
  TarTest test;
  for (const std::string& argument :
       {file.path(), file.path() + ".gz", "docker-archive:" + file.path(),
        "docker-archive:" + file.path() + ":of:two"}) {
    INFO(argument);
    const NamedSource source = value_of(name_source(argument, LayerUse::kWholeTree));
    CHECK(source.kind == SourceKind::kDockerArchive);
    CHECK(tree_text(value_of(read_source(source, LayerUse::kWholeTree, test.context))) == wanted);
  }
  const NamedSource plain = value_of(name_source("tar:" + file.path(), LayerUse::kWholeTree));
  CHECK(plain.kind == SourceKind::kTar);
}

TEST_CASE("an image of a docker archive is chosen by its tag", "[docker]") {
  const DockerFile file(usual_archive("[" + kTwoLayers + "," + kOneLayer + "]"));
  CHECK_THAT(tree_text(value_of(file.read("of:one"))),
             Catch::Contains("a file") && !Catch::Contains("d/c"));
  expect_error(file.read(), {file.path(), "2 images", "\"of:two\"", "\"of:one\""});
  expect_error(file.read("of"), {"no image \"of\"", "\"or:that\""});
  const DockerFile nameless(
      usual_archive("[" + image_text("one.json", "null", layer_text("bottom")) + "]"));
  value_of(nameless.read());
  expect_error(nameless.read("of:one"), {"no image", "the tags are none"});
}

TEST_CASE("what a docker archive must not have is refused", "[docker]") {
  const auto refused = [](const std::string& manifest, std::initializer_list<std::string> parts) {
    INFO(manifest);
    const DockerFile file(usual_archive(manifest));
    expect_error(file.read(), parts);
  };
  refused("", {"manifest.json", "not JSON"});
  refused("{}", {"manifest.json", "no list of images"});
  refused("[1]", {"manifest.json", "\"Config\""});
  refused("[]", {"0 images", "none"});
  refused("[" + image_text("none.json", "[]", "") + "]", {"none.json"});
  refused("[" + image_text("../two.json", "[]", "") + "]", {".."});
  refused("[" + image_text("two.json", "{}", "") + "]", {"\"RepoTags\""});
  refused("[" + image_text("two.json", "[]", "1") + "]", {"\"Layers\"", "no text"});
  refused("[" + image_text("two.json", "[]", layer_text("bottom")) + "]",
          {"has 1 layers", "tells of 2"});
  refused("[" + image_text("one.json", "[]", layer_text("top")) + "]",
          {"layer.tar", "has the digest sha256:" + id_of(kTop)});
  refused("[" + image_text("one.json", "[]", "\"again\"") + "]", {"again", "no regular file"});
  const DockerFile loop(
      {{"manifest.json", kSymlink, "", "x"}, {"x", kSymlink, "", "manifest.json"}});
  expect_error(loop.read(), {"manifest.json", "symlinks lead to one another"});
  const DockerFile outside({{"manifest.json", kSymlink, "", "../../etc/passwd"}});
  expect_error(outside.read(), {".."});
}

TEST_CASE("an archive of an image from a pipe is refused", "[docker]") {
  const ScratchDirectory scratch;
  std::vector<TarEntry> entries = usual_archive("[" + kTwoLayers + "]");
  entries.push_back({"repositories", '0', "{}"});
  write_file(scratch.path() / "image.tar", tar_of(entries));
  const int kept = ::dup(STDIN_FILENO);
  REQUIRE(std::freopen((scratch.path() / "image.tar").c_str(), "r", stdin) != nullptr);
  TarTest test;
  expect_error(read_source({SourceKind::kTar, "-", ""}, LayerUse::kLayer, test.context),
               {"container image", "save it to a file"});
  ::dup2(kept, STDIN_FILENO);
  ::close(kept);
}

TEST_CASE("only docker archives begin like one", "[docker]") {
  const std::string id = id_of("");
  for (const std::string& name : {id + ".tar", id + ".json", "sha256:" + id, id + ".tar.gz",
                                  std::string("manifest.json"), std::string("repositories")}) {
    CHECK(is_of_docker_archive({name}));
  }
  CHECK(is_of_docker_archive({id, "layer.tar"}));
  CHECK(is_of_docker_archive({id, "VERSION"}));
  CHECK_FALSE(is_of_docker_archive({}));
  CHECK_FALSE(is_of_docker_archive({"etc"}));
  CHECK_FALSE(is_of_docker_archive({id + ".xz"}));
  CHECK_FALSE(is_of_docker_archive({"etc", "json"}));
  CHECK_FALSE(is_of_docker_archive({id, "layer.tar", "more"}));
}

TEST_CASE("a docker archive that skopeo wrote", "[docker]") {
  const ScratchDirectory scratch;
  try {
    run({"umoci", "--version"});
    run({"skopeo", "--version"});
  } catch (const std::exception&) {
    WARN("no umoci, or no skopeo");
    return;
  }
  run_in(scratch,
         "umask 022; umoci init --layout l; umoci new --image l:1; umoci unpack --rootless --image "
         "l:1 b 2>/dev/null\n"
         "mkdir b/rootfs/d; echo one >b/rootfs/d/f\n"
         "umoci repack --refresh-bundle --image l:1 b 2>/dev/null; rm b/rootfs/d/f; echo two "
         ">b/rootfs/d/g\n"
         "umoci repack --image l:2 b 2>/dev/null\n"
         "skopeo --insecure-policy copy -q oci:l:2 docker-archive:image.tar:name:tag\n");
  TarTest test;
  const std::string path = (scratch.path() / "image.tar").native();
  const NamedSource source = value_of(name_source(path, LayerUse::kWholeTree));
  REQUIRE(source.kind == SourceKind::kDockerArchive);
  const std::string text =
      tree_text(value_of(read_source(source, LayerUse::kWholeTree, test.context)));
  CHECK_THAT(text, Catch::Contains("d/g file") && !Catch::Contains("d/f file"));
}
