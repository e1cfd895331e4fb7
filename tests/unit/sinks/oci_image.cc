// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/oci_image.h"

#include <fstream>

#include "overlay/sinks/digest.h"
#include "overlay/sinks/oci_json.h"
#include "tests/unit/sinks/sinks_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::string sha256(std::string_view text) {
  DigestOutput digest(nullptr);
  expect_success(digest.add(to_bytes(text)));
  return value_of(digest.hex());
}

std::string text_at(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A layout with one image, whose documents a test may change before they are written.
struct TestLayout {
  TestLayout() {
    configuration = {{"created", "2020-01-01T00:00:00Z"},
                     {"architecture", "amd64"},
                     {"rootfs", {{"type", "layers"}, {"diff_ids", {"sha256:" + sha256("tar")}}}},
                     {"history", {{{"created_by", "somebody"}}}}};
    manifest = {{"schemaVersion", 2},
                {"config", {{"mediaType", "application/vnd.oci.image.config.v1+json"}}},
                {"layers",
                 {{{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                   {"digest", "sha256:" + sha256("tar")},
                   {"size", 3}}}}};
    image = {{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
             {"annotations", {{"org.opencontainers.image.ref.name", "base"}}}};
  }

  void write() {
    std::filesystem::create_directories(blobs());
    write_file(path() / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    put(manifest["config"], configuration.dump());
    put(image, manifest.dump());
    const OciJson index = {{"schemaVersion", 2}, {"manifests", {image}}};
    write_file(path() / "index.json", index.dump());
  }

  std::filesystem::path path() const { return scratch.path(); }
  std::filesystem::path blobs() const { return scratch.path() / "blobs/sha256"; }
  OciJson blob(const OciJson& descriptor) const {
    return OciJson::parse(text_at(blobs() / descriptor["digest"].get<std::string>().substr(7)));
  }
  Result<std::unique_ptr<OciImage>> open(const std::string& base = "base",
                                         const std::string& tag = "new") const {
    return OciImage::open({path(), base, tag});
  }

  OciJson configuration;
  OciJson manifest;
  OciJson image;
  ScratchDirectory scratch;

 private:
  void put(OciJson& descriptor, const std::string& text) const {
    write_file(blobs() / sha256(text), text);
    if (!descriptor.contains("digest")) {
      descriptor["digest"] = "sha256:" + sha256(text);
    }
    descriptor["size"] = text.size();
  }
};

std::string add_layer(OciImage& image, const std::string& text) {
  const auto file = value_of(image.create_layer());
  FileOutput out(*file);
  expect_success(out.add(to_bytes(text)));
  LayerBlob layer;
  layer.digest = sha256(text);
  layer.diff_id = sha256("the tar of " + text);
  layer.size_bytes = text.size();
  return value_of(image.add(*file, layer, Compression::kGzip, 1'000'000'000));
}

}  // namespace

TEST_CASE("OCI image: one more, and the others as they were", "[sinks][oci_image]") {
  TestLayout layout;
  layout.write();
  const OciJson before = OciJson::parse(text_at(layout.path() / "index.json"));
  const std::string digest = add_layer(*value_of(layout.open()), "layer");

  const OciJson index = OciJson::parse(text_at(layout.path() / "index.json"));
  REQUIRE(index["manifests"].size() == 2);
  CHECK(index["manifests"][0] == before["manifests"][0]);
  const OciJson& added = index["manifests"][1];
  CHECK(added["digest"] == "sha256:" + digest);
  CHECK(added["annotations"]["org.opencontainers.image.ref.name"] == "new");
  const OciJson manifest = layout.blob(added);
  REQUIRE(manifest["layers"].size() == 2);
  CHECK(manifest["layers"][0] == layout.manifest["layers"][0]);
  const OciJson& layer = manifest["layers"][1];
  CHECK(layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip");
  CHECK(layer["size"] == 5);
  CHECK(layer["annotations"].dump().find("zlib") != std::string::npos);
  CHECK(text_at(layout.blobs() / sha256("layer")) == "layer");
  const OciJson configuration = layout.blob(manifest["config"]);
  CHECK(configuration["created"] == "2001-09-09T01:46:40Z");
  CHECK(configuration["architecture"] == "amd64");
  CHECK(configuration["rootfs"]["diff_ids"][1] == "sha256:" + sha256("the tar of layer"));
  CHECK(configuration["history"].size() == 2);
  // The same once more is the same, under another name, and a name that is there is kept.
  CHECK(add_layer(*value_of(layout.open("base", "newer")), "layer") == digest);
  CHECK(expect_error(layout.open(), {"new", "already"}) == ErrorKind::kInvalid);
  CHECK(expect_error(layout.open("", "newest"), {"has 3"}) == ErrorKind::kInvalid);
}

TEST_CASE("OCI image: the only one needs no name", "[sinks][oci_image]") {
  TestLayout layout;
  layout.write();
  (void)add_layer(*value_of(layout.open("")), "layer");
  CHECK(expect_error(layout.open("other", "newer"), {"no image \"other\""}) == ErrorKind::kInvalid);
  CHECK(expect_error(layout.open("base", "a b"), {"no name"}) == ErrorKind::kInvalid);
}

TEST_CASE("OCI image: what is in a layout is input", "[sinks][oci_image]") {
  TestLayout layout;
  std::string wanted;
  ErrorKind kind = ErrorKind::kInvalid;
  SECTION("an index of platforms") {
    layout.image["mediaType"] = "application/vnd.oci.image.index.v1+json";
    wanted = "one platform";
    kind = ErrorKind::kUnsupported;
  }
  SECTION("an image of another format") {
    layout.image["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json";
    wanted = "skopeo copy --format=oci";
    kind = ErrorKind::kUnsupported;
  }
  SECTION("another number of layers") {
    layout.configuration["rootfs"]["diff_ids"].push_back("sha256:" + sha256("more"));
    wanted = "speaks of 2 layers, and the manifest of 1";
  }
  SECTION("a digest that leads elsewhere") {
    layout.image["digest"] = "sha256:../../../../etc/passwd";
    wanted = "is no SHA-256";
  }
  SECTION("a digest of other bytes") {
    layout.manifest["config"]["digest"] = "sha256:" + sha256("other");
    std::filesystem::create_directories(layout.blobs());
    write_file(layout.blobs() / sha256("other"), "{}");
    wanted = "has other bytes";
  }
  SECTION("members of other types") {
    layout.manifest["layers"] = "many";
    wanted = "no \"layers\" that is an array";
  }
  SECTION("no members") {
    layout.configuration = OciJson::array();
    wanted = "no JSON object";
  }
  SECTION("too deep") {
    OciJson deep = 1;
    for (int i = 0; i < 200; ++i) {
      deep = OciJson::array({deep});
    }
    layout.configuration["deep"] = deep;
    wanted = "no JSON object of this kind";
  }
  layout.write();
  CHECK(expect_error(layout.open(), {wanted}) == kind);
}

TEST_CASE("OCI image: documents that are none", "[sinks][oci_image]") {
  TestLayout layout;
  layout.write();
  const std::string text = GENERATE("", "{", "[]", "{\"manifests\":{}}", "{\"manifests\":[1]}",
                                    "{\"manifests\":[{\"annotations\":7}]}", "\xff");
  write_file(layout.path() / "index.json", text);
  CHECK(expect_error(layout.open("", "new"), {"index.json"}) == ErrorKind::kInvalid);
  CHECK(text_at(layout.path() / "index.json") == text);
}
