"""The contract as it is compiled: every descriptor of the package, and every comment beside it."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.api
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, SourceCodeInfo

import coreason.foundry.v1

protoc: Any = importlib.import_module("grpc_tools.protoc")  # untyped
PROTOS = Path(__file__).parents[2] / "protos"
_GOOGLE = Path(next(iter(google.api.__path__))).parents[1]

#: Field numbers of the lists inside descriptors, as paths of source locations name them (descriptor.proto).
_LISTS: dict[str, dict[int, str]] = {
    "FileDescriptorProto": {4: "message_type", 5: "enum_type", 6: "service"},
    "DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type", 8: "oneof_decl"},
    "EnumDescriptorProto": {2: "value"},
    "ServiceDescriptorProto": {2: "method"},
}


def services() -> Iterator[Any]:
    """Descriptors of all services of the package, from the generated code."""
    for module in pkgutil.iter_modules(coreason.foundry.v1.__path__):
        if module.name.endswith("_pb2"):
            generated = importlib.import_module(f"coreason.foundry.v1.{module.name}")
            yield from generated.DESCRIPTOR.services_by_name.values()


def methods() -> list[Any]:
    """Descriptors of all RPCs."""
    return [method for service in services() for method in service.methods]


@functools.cache
def sources() -> list[FileDescriptorProto]:
    """The files of the package, compiled with their comments."""
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "set"
        include = [f"-I{PROTOS}", f"-I{_GOOGLE}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
        failed = protoc.main(["protoc", *include, "--include_source_info", f"--descriptor_set_out={out}", *files])
        assert not failed
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def elements(file: FileDescriptorProto) -> dict[str, str]:
    """Every element of a file, by its name, with the comment that leads it."""
    comments = {tuple(location.path): location for location in file.source_code_info.location}
    return dict(_below(file, (), file.name, comments))


def _below(
    element: Any,
    path: tuple[int, ...],
    name: str,
    comments: dict[tuple[int, ...], SourceCodeInfo.Location],
) -> Iterator[tuple[str, str]]:
    for number, listed in _LISTS.get(type(element).__name__, {}).items():
        for index, inner in enumerate(getattr(element, listed)):
            if _is_synthetic(inner):
                continue
            inner_path, inner_name = (*path, number, index), f"{name}:{inner.name}"
            yield inner_name, comments[inner_path].leading_comments.strip()
            yield from _below(inner, inner_path, inner_name, comments)


def _is_synthetic(element: Any) -> bool:
    """Whether the compiler made it: the message of a map's entries, the oneof of an optional field."""
    kind = type(element).__name__
    return (kind == "DescriptorProto" and element.options.map_entry) or (
        kind == "OneofDescriptorProto" and element.name.startswith("_")
    )
