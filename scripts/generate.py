"""Generate the Python code of the contract into `generated/python`, or check that what is committed is current.

Messages are typed by mypy-protobuf and not by protoc's own `--pyi_out`: there `WhichOneof` returns the names of its
arms as literals, `HasField` takes only fields that have presence, enums are types of their own instead of "number or
any string", and the comments of the contract become docstrings. Its stubs for services cover `grpc.aio`, all we use.

Everything under `generated/python` belongs to this script: what it did not write, it removes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GOOGLEAPIS = ROOT / "third_party" / "googleapis"
GENERATED = ROOT / "generated" / "python"

SERVICE = re.compile(r"^service\s", re.MULTILINE)


def plugin(name: str) -> str:
    """Return protoc's argument that names a plugin installed beside this Python.

    Raises:
        SystemExit: The plugin is not installed.
    """
    path = shutil.which(name, path=sysconfig.get_path("scripts"))
    if path is None:
        raise SystemExit(f"generate: {name} is not installed beside {sys.executable}; run `make setup`")
    return f"--plugin={name}={path}"


def protoc(protos: list[Path], *arguments: str) -> None:
    """Run the protoc of grpcio-tools over some protos.

    Raises:
        SystemExit: protoc refused them; it has said why.
    """
    with as_file(files("grpc_tools") / "_proto") as well_known:
        command = [sys.executable, "-m", "grpc_tools.protoc"]
        command += [f"-I{PROTOS}", f"-I{GOOGLEAPIS}", f"-I{well_known}", *arguments, *map(str, protos)]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit("generate: protoc failed")


def generate(target: Path) -> None:
    """Write the code of every proto into an empty folder.

    Raises:
        SystemExit: There are no protos, or protoc refused them.
    """
    protos = sorted(PROTOS.rglob("*.proto"))
    if not protos:
        raise SystemExit(f"generate: no .proto files in {PROTOS.name}/")
    protoc(protos, plugin("protoc-gen-mypy"), f"--python_out={target}", f"--mypy_out=quiet:{target}")
    services = [proto for proto in protos if SERVICE.search(proto.read_text(encoding="utf-8"))]
    if services:  # for other protos the generator would write empty modules
        grpc_arguments = f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet,only_async:{target}"
        protoc(services, plugin("protoc-gen-mypy_grpc"), *grpc_arguments)
    for package in {proto.relative_to(PROTOS).parent for proto in protos}:
        (target / package / "py.typed").touch()


def tree(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file in a folder by its relative path, leaving out bytecode."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def differences(committed: dict[Path, bytes], fresh: dict[Path, bytes]) -> list[str]:
    """Return one line for each file that is missing, stale or different, in the order of the paths."""
    lines = []
    for path in sorted(committed.keys() | fresh.keys()):
        if path not in committed:
            lines.append(f"missing  {path}")
        elif path not in fresh:
            lines.append(f"stale    {path}")
        elif committed[path] != fresh[path]:
            lines.append(f"differs  {path}")
    return lines


def write(fresh: dict[Path, bytes], target: Path) -> None:
    """Make a folder hold exactly the given files; files that are current already keep their times."""
    current = tree(target)
    for path in current.keys() - fresh.keys():
        (target / path).unlink()
    for path, content in fresh.items():
        if current.get(path) != content:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(content)


def main() -> int:
    """Generate or check; return the exit status: 0 for current, 1 for a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the committed code differs")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = tree(Path(folder))
    lines = differences(tree(GENERATED), fresh)
    if not check:
        write(fresh, GENERATED)
    for line in lines:
        print(line)
    if check and lines:
        print("generated/python is not what protos/ says; run `make generate` and commit the result", file=sys.stderr)
        return 1
    print(f"generate: {len(fresh)} files, {'current' if not lines else f'{len(lines)} changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
