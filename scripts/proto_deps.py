"""Copy the protos of Google that our contract imports out of the installed wheel.

They come from `googleapis-common-protos`, which also carries their generated Python code, so what buf and protoc read
is exactly what runs. The copies live in `third_party/googleapis`, are never committed and are replaced on every run.
"""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "third_party" / "googleapis"

ROOTS = (
    "google/api/annotations.proto",
    "google/api/client.proto",
    "google/api/field_behavior.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)

# google/protobuf is built into buf and protoc.
IMPORT = re.compile(r'^import (?:public |weak )?"(?P<path>google/(?!protobuf/)[^"]+)";', re.MULTILINE)


def with_imports(roots: tuple[str, ...], source: Path) -> list[str]:
    """Return the roots and everything they import, directly or not.

    Args:
        roots: Proto paths relative to `source`.
        source: The folder that contains `google/`.

    Returns:
        The paths, sorted, each once.

    Raises:
        FileNotFoundError: A proto is not part of the installed wheel.
    """
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += IMPORT.findall((source / path).read_text(encoding="utf-8"))
    return sorted(found)


def main() -> None:
    """Replace the copies."""
    source = Path(str(distribution("googleapis-common-protos").locate_file("")))
    paths = with_imports(ROOTS, source)
    shutil.rmtree(TARGET, ignore_errors=True)
    for path in paths:
        copy = TARGET / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, copy)
    print(f"proto-deps: {len(paths)} files of googleapis-common-protos")


if __name__ == "__main__":
    main()
