// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/nbd_uri.h"

#include <catch2/catch.hpp>

using namespace unionfs;

TEST_CASE("NBD addresses are told from paths", "[nbd_uri]") {
  for (const char* uri : {"nbd://host/base", "nbds://host", "nbd+unix:///?socket=s",
                          "nbds+unix:///x?socket=s", "nbd+vsock://2", "nbds+vsock://2:1/x"}) {
    CHECK(is_nbd_uri(uri));
  }
  for (const char* path : {"nbd", "nbd:host", "./nbd://host", "/nbd://host", "http://host", ""}) {
    CHECK_FALSE(is_nbd_uri(path));
  }
}

TEST_CASE("An NBD address is shown without its secrets", "[nbd_uri]") {
  CHECK(shown_nbd_uri("nbd://host/base") == "nbd://host/base");
  CHECK(shown_nbd_uri("nbds://alice@host:10809/a:b@c") == "nbds://alice@host:10809/a:b@c");
  CHECK(shown_nbd_uri("nbds://alice:secret@host:10809/base") == "nbds://alice@host:10809/base");
  CHECK(shown_nbd_uri("nbds://alice:a@b:c@host") == "nbds://alice@host");
  CHECK(shown_nbd_uri("nbd+unix:///x?socket=/s") == "nbd+unix:///x?socket=/s");
  CHECK(shown_nbd_uri("nbds://h/?key=secret&tls-psk-file=/keys&a=b&socket=s#secret") ==
        "nbds://h/?tls-psk-file=/keys&socket=s");
}

TEST_CASE("A level is shown without the secrets of an address", "[nbd_uri]") {
  CHECK(shown_level("nbds://alice:secret@host/base") == "nbds://alice@host/base");
  CHECK(shown_level("a:b@c?key=d") == "a:b@c?key=d");
}

TEST_CASE("A message is shown without the secrets of an address", "[nbd_uri]") {
  const std::string uri = "nbd://host/?key=secret";
  CHECK(with_shown_uri("cannot parse " + uri + " or " + uri + "!", uri) ==
        "cannot parse nbd://host/ or nbd://host/!");
  CHECK(with_shown_uri("nbd://host/ is away", "nbd://host/") == "nbd://host/ is away");
  CHECK(with_shown_uri("no address", "") == "no address");
}

TEST_CASE("Files that an NBD address names become absolute", "[nbd_uri]") {
  CHECK(absolute_nbd_uri("nbd://host/base", "/d") == "nbd://host/base");
  CHECK(absolute_nbd_uri("nbd+unix:///?socket=s", "/d") == "nbd+unix:///?socket=/d/s");
  CHECK(absolute_nbd_uri("nbd+unix:///?socket=/s", "/d") == "nbd+unix:///?socket=/s");
  CHECK(absolute_nbd_uri("nbd+unix:///?socket=%2Fs", "/d") == "nbd+unix:///?socket=%2Fs");
  CHECK(absolute_nbd_uri("nbds://h/?tls-psk-file=keys&tls-certificates=c%20d", "/a b&c") ==
        "nbds://h/?tls-psk-file=/a%20b%26c/keys&tls-certificates=/a%20b%26c/c%20d");
  CHECK(absolute_nbd_uri("nbd+unix:///x?other=s&socket=", "/d") == "nbd+unix:///x?other=s&socket=");
}
