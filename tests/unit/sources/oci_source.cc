// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/oci_source.h"

#include <openssl/sha.h>

#include <fstream>

#include "overlay/sources/oci_layout.h"
#include "overlay/sources/source.h"
#include "tests/unit/sources/sources_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* kIndexType = "application/vnd.oci.image.index.v1+json";
constexpr const char* kLayerType = "application/vnd.oci.image.layer.v1.tar";

std::string digest_of(const std::string& bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  std::string text = "sha256:";
  for (const unsigned char byte : digest) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

std::string descriptor(const std::string& type, const std::string& blob,
                       const std::string& more = "") {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}{}}})", type, digest_of(blob),
                     blob.size(), more);
}

std::string tagged(const std::string& tag) {
  return R"(,"annotations":{"org.opencontainers.image.ref.name":")" + tag + "\"}";
}

std::string for_platform(const std::string& architecture) {
  return R"(,"platform":{"os":"linux","architecture":")" + architecture + "\"}";
}

std::string index_of(const std::vector<std::string>& descriptors) {
  return fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", fmt::join(descriptors, ","));
}

// An image layout made by hand.
class TestLayout {
 public:
  TestLayout() {
    run_in(scratch_, "mkdir -p blobs/sha256");
    put("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  }

  void put(const std::string& path, const std::string& bytes) const {
    write_file(scratch_.path() / path, bytes);
  }
  std::string place_of(const std::string& blob) const {
    return "blobs/sha256/" + digest_of(blob).substr(7);
  }
  // The blob itself.
  std::string put_blob(const std::string& blob) const {
    put(place_of(blob), blob);
    return blob;
  }
  // The manifest of an image of these layers.
  std::string put_image(const std::vector<std::string>& layers) const {
    std::vector<std::string> descriptors;
    std::vector<std::string> diff_ids;
    for (const std::string& layer : layers) {
      put_blob(layer);
      descriptors.push_back(descriptor(kLayerType, layer));
      diff_ids.push_back("\"" + digest_of(layer) + "\"");
    }
    const std::string configuration = put_blob(fmt::format(
        R"({{"rootfs":{{"type":"layers","diff_ids":[{}]}}}})", fmt::join(diff_ids, ",")));
    return put_blob(
        fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})",
                    descriptor("application/vnd.oci.image.config.v1+json", configuration),
                    fmt::join(descriptors, ",")));
  }
  void put_index(const std::vector<std::string>& descriptors) const {
    put("index.json", index_of(descriptors));
  }

  const std::string& path() const { return scratch_.path().native(); }
  const ScratchDirectory& scratch() const { return scratch_; }

  Result<FileTree> read(const std::string& tag = "", LayerUse use = LayerUse::kWholeTree) const {
    TarTest test;
    return read_oci_image({path(), false, tag}, use, test.context);
  }

 private:
  ScratchDirectory scratch_;
};

const std::string kFirst =
    tar_of({{"a", '0', "1"}, {"d/", kDirectory, "", "", 0755}, {"d/b"}, {"e/f"}});
const std::string kSecond = tar_of({{".wh.a"}, {"d/.wh..wh..opq"}, {"d/c"}, {".wh.never"}});

// Tar archives that are layers, bottom first.
Result<FileTree> read_layers_of(const std::vector<std::string>& paths, LayerUse use,
                                SourceContext& context) {
  FileTree tree;
  for (const std::string& path : paths) {
    const NamedSource source{SourceKind::kTar, path, ""};
    UNIONFS_ASSIGN(FileTree next, read_source(source, LayerUse::kLayer, context));
    UNIONFS_TRY(lay_layer_over(tree, std::move(next), use, path));
  }
  return tree;
}

}  // namespace

TEST_CASE("the layers of an image lie over one another", "[oci]") {
  const TestLayout layout;
  layout.put_index({descriptor(kManifestType, layout.put_image({kFirst, kSecond}))});
  CHECK(tree_text(value_of(layout.read())) ==
        "/ implied\n"
        "d dir 0755 0:0 1000.000000000\n"
        "d/c file 0644 0:0 1000.000000000\n"
        "e implied\n"
        "e/f file 0644 0:0 1000.000000000\n");
  CHECK_THAT(tree_text(value_of(layout.read("", LayerUse::kLayer))),
             Catch::Contains("\na whiteout\n") &&
                 Catch::Contains("d dir 0755 0:0 1000.000000000 opaque\n") &&
                 Catch::Contains("\nnever whiteout\n"));
  // The same as an archive, whether or not anybody says so, and through an index in the index.
  run_in(layout.scratch(), "tar cf archive.tar oci-layout index.json blobs; gzip -k archive.tar");
  TarTest test;
  for (const std::string& argument :
       {"oci-archive:" + layout.path() + "/archive.tar", layout.path() + "/archive.tar.gz",
        "oci:" + layout.path(), layout.path()}) {
    const NamedSource source = value_of(name_source(argument, LayerUse::kWholeTree));
    CHECK(tree_text(value_of(read_source(source, LayerUse::kWholeTree, test.context))) ==
          tree_text(value_of(layout.read())));
  }
  CHECK(test.warnings.empty());
}

TEST_CASE("a layer with the digest that it must have needs no zeros at its end", "[oci]") {
  const std::string bare = kFirst.substr(0, kFirst.size() - kTarEndBytes);
  const TestLayout layout;
  layout.put_index({descriptor(kManifestType, layout.put_image({bare}))});
  CHECK(tree_text(value_of(layout.read())) ==
        tree_text(value_of(TarTest().read(kFirst, TarRules::kLayer))));
  layout.put(layout.place_of(bare), bare.substr(0, bare.size() - 512));
  expect_error(layout.read(), {layout.place_of(bare).substr(13)});
}

TEST_CASE("a bare layer after another is laid over it", "[oci]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "1.tar", kFirst);
  write_file(scratch.path() / "2.tar", kSecond);
  const std::string one = (scratch.path() / "1.tar").native();
  const std::string two = (scratch.path() / "2.tar").native();
  TarTest test;
  CHECK_THAT(tree_text(value_of(read_layers_of({one, two}, LayerUse::kWholeTree, test.context))),
             Catch::Contains("d/c file") && !Catch::Contains("d/b") && !Catch::Contains("\na "));
  // A directory that the second does not describe must not take the place of a symlink.
  write_file(scratch.path() / "2.tar", tar_of({{"d", kSymlink, "", "e"}}));
  write_file(scratch.path() / "3.tar", tar_of({{"d/b"}}));
  const std::string three = (scratch.path() / "3.tar").native();
  expect_error(read_layers_of({two, three}, LayerUse::kLayer, test.context),
               {"3.tar", "\"d\"", "no directory in the layers below"});
}

TEST_CASE("an image is chosen by its tag and by the machine", "[oci]") {
  const TestLayout layout;
  const auto image_of = [&](const std::string& name) {
    return layout.put_image({tar_of({{name}})});
  };
  const std::string foreign = host_platform() == "linux/s390x" ? "amd64" : "s390x";
  const std::string here = host_platform().substr(6);
  const std::string nested = layout.put_blob(
      index_of({descriptor(kManifestType, image_of("foreign"), for_platform(foreign)),
                descriptor(kManifestType, image_of("here"), for_platform(here))}));
  const std::string others = layout.put_blob(
      index_of({descriptor(kManifestType, image_of("foreign"), for_platform(foreign)),
                descriptor(kManifestType, image_of("foreign2"), for_platform("none"))}));
  layout.put_index({descriptor(kManifestType, image_of("one"), tagged("1")),
                    descriptor(kIndexType, nested, tagged("many")),
                    descriptor(kIndexType, others, tagged("others"))});
  CHECK_THAT(tree_text(value_of(layout.read("1"))), Catch::Contains("one file"));
  CHECK_THAT(tree_text(value_of(layout.read("many"))), Catch::Contains("here file"));
  expect_error(layout.read(""), {layout.path(), "several images", "\"1\"", "\"many\""});
  expect_error(layout.read("2"), {"no image \"2\"", "\"many\""});
  expect_error(layout.read("others"), {"no image for " + host_platform(), "linux/none"});

  const OciReference with_tag = value_of(parse_oci_reference("oci:" + layout.path() + ":a:b/c"));
  CHECK(with_tag.path == layout.path());
  CHECK(with_tag.tag == "a:b/c");
  CHECK(value_of(parse_oci_reference("oci:" + layout.path())).tag.empty());
  expect_error(parse_oci_reference("oci:"), {"names no path"});
}

TEST_CASE("a blob that is not what its digest says is refused", "[oci]") {
  const TestLayout layout;
  const std::string manifest = layout.put_image({kFirst});
  layout.put_index({descriptor(kManifestType, manifest)});
  value_of(layout.read());
  std::string other = kFirst;
  other[600] ^= 1;  // in the content of "a"
  layout.put(layout.place_of(kFirst), other);
  expect_error(layout.read(), {layout.place_of(kFirst), "has the digest", digest_of(kFirst)});
  layout.put(layout.place_of(kFirst), kFirst + std::string(512, '\0'));
  expect_error(layout.read(), {layout.place_of(kFirst), "longer"});
  layout.put(layout.place_of(kFirst), kFirst.substr(0, kFirst.size() - 512));
  expect_error(layout.read(), {layout.place_of(kFirst), "bytes, and should have"});
  run({"rm", layout.path() + "/" + layout.place_of(kFirst)});
  expect_error(layout.read(), {layout.place_of(kFirst)});
  layout.put_blob(kFirst);
  layout.put(layout.place_of(manifest), manifest + " ");
  expect_error(layout.read(), {layout.place_of(manifest), "longer"});
}

TEST_CASE("a layer that unpacks to something else than its diff id is refused", "[oci]") {
  const TestLayout layout;
  layout.put_blob(kSecond);
  const std::string configuration =
      layout.put_blob(R"({"rootfs":{"diff_ids":[")" + digest_of(kFirst) + "\"]}}");
  const auto manifest_with = [&](const std::string& layers) {
    return layout.put_blob(R"({"schemaVersion":2,"config":)" +
                           descriptor("application/vnd.oci.image.config.v1+json", configuration) +
                           ",\"layers\":[" + layers + "]}");
  };
  layout.put_index({descriptor(kManifestType, manifest_with(descriptor(kLayerType, kSecond)))});
  expect_error(layout.read(), {"has the digest " + digest_of(kSecond), digest_of(kFirst)});
  layout.put_index({descriptor(kManifestType, manifest_with(""))});
  expect_error(layout.read(), {"has 0 layers", "tells of 1"});
  layout.put_index({descriptor(kManifestType, manifest_with(descriptor("text/plain", kSecond)))});
  expect_error(layout.read(), {"unknown type", "text/plain"});
}

TEST_CASE("hostile JSON is an error that names the file", "[oci]") {
  const TestLayout layout;
  const auto refused = [&](const std::string& index, const std::string& why) {
    layout.put("index.json", index);
    expect_error(layout.read(), {layout.path(), why});
  };
  refused("", "not JSON");
  refused("{", "not JSON");
  refused("[]", "\"manifests\"");
  refused("{\"manifests\":{}}", "\"manifests\"");
  refused("{\"manifests\":[]}", "no image");
  refused("{\"manifests\":[1]}", "\"mediaType\"");
  refused("{\"manifests\":[{\"mediaType\":5}]}", "\"mediaType\"");
  refused(R"({"manifests":[{"mediaType":"a","digest":"b","size":1}]})", "no digest");
  refused(R"({"manifests":[{"mediaType":"a","digest":"md5:00","size":1}]})", "unknown kind");
  refused(R"({"manifests":[{"mediaType":"a","digest":"sha256:../../x","size":1}]})", "no digest");
  const std::string digest = digest_of("x");
  refused(R"({"manifests":[{"mediaType":"a","digest":")" + digest + R"(","size":-1}]})",
          "\"size\"");
  refused(R"({"manifests":[{"mediaType":"a","digest":")" + digest + R"(","size":1}]})",
          "no image that is known");
  refused(std::string(1 << 20, '['), "not JSON");
  refused(std::string((4 << 20) + 1, ' '), "more than 4194304 bytes");
  refused("{\"manifests\":[{\"mediaType\":\"\xff\"}]}", "not JSON");

  std::string nested = "{}";
  for (int depth = 0; depth < 6; ++depth) {
    nested = layout.put_blob(index_of({descriptor(kIndexType, nested)}));
  }
  refused(nested, "more than 4 indices");
  layout.put("oci-layout", R"({"imageLayoutVersion":"2.0.0"})");
  expect_error(layout.read(), {"oci-layout", "version \"2.0.0\""});
  run({"rm", layout.path() + "/oci-layout"});
  expect_error(layout.read(), {layout.path(), "is no OCI image layout"});
}

TEST_CASE("an image that umoci and skopeo wrote", "[oci]") {
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
         "mkdir b/rootfs/d; echo one >b/rootfs/d/a; echo b >b/rootfs/b; ln b/rootfs/b b/rootfs/c\n"
         "umoci repack --refresh-bundle --image l:1 b 2>/dev/null; rm b/rootfs/b; rm -r "
         "b/rootfs/d; mkdir b/rootfs/d; echo two >b/rootfs/d/e\n"
         "umoci repack --image l:2 b 2>/dev/null\n"
         "skopeo --insecure-policy copy -q oci:l:2 oci-archive:l.tar:tagged\n"
         "skopeo --insecure-policy copy -q --dest-compress-format zstd oci:l:2 oci:z:zstd\n");
  TarTest test;
  const auto read = [&](const std::string& argument) {
    return tree_text(value_of(read_oci_image(value_of(parse_oci_reference(argument)),
                                             LayerUse::kWholeTree, test.context)));
  };
  const std::string path = scratch.path().native();
  const std::string two = read("oci:" + path + "/l:2");
  CHECK_THAT(two, Catch::Contains("\nc file 0644") && Catch::Contains("\nd/e file 0644") &&
                      !Catch::Contains("\nb ") && !Catch::Contains("\nd/a "));
  CHECK_THAT(read("oci:" + path + "/l:1"),
             Catch::Contains("\nd/a file") && Catch::Contains("\nc = b\n"));
  CHECK(read("oci-archive:" + path + "/l.tar:tagged") == two);
  CHECK(read("oci-archive:" + path + "/l.tar") == two);
  CHECK(read("oci:" + path + "/z:zstd") == two);
}
