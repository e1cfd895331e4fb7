# SPDX-License-Identifier: BSD-3-Clause
"""Asks a control socket, and holds each answer against docs/control.openapi.yaml and docs/control.md."""

import http.client
import json
import pathlib
import re
import socket

import jsonschema
import yaml

SAMPLE = re.compile(r"(\w+)(\{\w+=\"(?:[^\"\\]|\\.)*\"(?:,\w+=\"[^\"]*\")*\})? (\S+)")


def nullable(schema):
    """OpenAPI 3.0 has a word for what JSON Schema says with a list of types."""
    if isinstance(schema, dict):
        schema = {key: nullable(value) for key, value in schema.items()}
        if schema.pop("nullable", False):
            schema["type"] = [schema["type"], "null"]
    elif isinstance(schema, list):
        schema = [nullable(value) for value in schema]
    return schema


class AskedControl:
    """Of one server.  What its answers were is in `seen`: (path, method, status)."""

    def __init__(self, socket_path, openapi_path, page_path):
        self.socket_path = socket_path
        self.openapi = yaml.safe_load(pathlib.Path(openapi_path).read_text())
        self.page = pathlib.Path(page_path).read_text()
        self.seen = set()

    def connected_socket(self, patience):
        """With a timeout from the start it would not wait for a place in the queue."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.socket_path)
        client.settimeout(patience)
        return client

    def resolved(self, value):
        while "$ref" in value:
            place = self.openapi
            for part in value["$ref"].removeprefix("#/").split("/"):
                place = place[part]
            value = place
        return value

    def ask(self, method, target, body=None):
        """The status and what the body says, held against the OpenAPI file."""
        connection = http.client.HTTPConnection("disk")
        connection.sock = self.connected_socket(30)
        connection.request(method, target, body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        kind = answer.headers["Content-Type"]
        path = target.partition("?")[0]
        operation = self.openapi["paths"].get(path, {}).get(method.lower())
        if operation is None:
            wanted = self.openapi["components"]["responses"]["Error"]
        else:
            named = operation["responses"]
            status = str(answer.status) if str(answer.status) in named else "default"
            self.seen.add((path, method.lower(), status))
            wanted = self.resolved(named[status])
        assert kind in wanted["content"], f"{method} {target}: {answer.status} has type {kind}"
        if kind != "application/json":
            return answer.status, text
        value = json.loads(text)
        components = nullable(self.openapi["components"])
        jsonschema.validate(value, dict(nullable(wanted["content"][kind]["schema"]), components=components))
        return answer.status, value

    def metrics(self):
        """{name with labels: number}; what Prometheus would object to is an error."""
        samples, types = {}, {}
        for line in self.ask("GET", "/v1/metrics")[1].splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in types, f"{name} twice"
                types[name] = kind
            elif not line.startswith("# HELP "):
                name, labels, value = SAMPLE.fullmatch(line).groups()
                family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
                assert family in types, f"{name} has no type"
                assert name + (labels or "") not in samples, line
                samples[name + (labels or "")] = float(value)
        for name in types:
            assert f"`{name}`" in self.page, f"the page does not name {name}"
        return samples
