"""Where results and refusals go: tables and sentences for people, JSON lines for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from foundry.cli.exit_codes import ExitCode
from foundry.cli.words import plain

if TYPE_CHECKING:
    from google.protobuf.message import Message

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = Mapping[str, Json]
MessageT = TypeVar("MessageT", bound="Message")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command ends without its result.

    Attributes:
        message: One sentence for people.
        exit_code: What the process ends with.
        reason: Name of the ``ErrorReason``, or of our own for what never reached a server.
        status: Name of the gRPC status code; empty without one.
        metadata: A value for everything the sentence mentions.
    """

    message: str
    exit_code: ExitCode = ExitCode.ERROR
    reason: str = ""
    status: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> JsonObject:
        """Return it for scripts."""
        return {
            "reason": self.reason,
            "status": self.status,
            "message": self.message,
            "metadata": dict(self.metadata),
            "exit_code": int(self.exit_code),
        }


class Output:
    """Standard output and standard error of one command.

    Args:
        as_json: Print JSON lines for scripts, and nothing else on standard output.
        console: Standard output, for people.
        errors: Standard error, for people.
    """

    def __init__(self, *, as_json: bool, console: Console | None = None, errors: Console | None = None) -> None:
        self.as_json = as_json
        self.console = console or Console(highlight=False, markup=False)
        self.errors = errors or Console(highlight=False, markup=False, stderr=True)

    @property
    def live(self) -> bool:
        """Whether somebody looks at a terminal that can be redrawn."""
        return self.console.is_terminal and not self.as_json

    def one(self, result: Message | JsonObject, human: Callable[[], RenderableType]) -> None:
        """Print one result: as a JSON line, or as what ``human`` makes of it."""
        if self.as_json:
            self.line(result)
        else:
            self.show(human())

    def many(
        self,
        results: Iterable[MessageT],
        table: Callable[[list[MessageT]], RenderableType],
        *,
        empty: str,
    ) -> None:
        """Print a list: a JSON line each as they come, or one table, or the sentence ``empty``."""
        if self.as_json:
            for result in results:
                self.line(result)
        else:
            rows = list(results)
            self.show(table(rows) if rows else Text(empty, "dim"))

    def line(self, result: Message | JsonObject) -> None:
        """Print one JSON line at once, so that a reader at the other end of a pipe need not wait."""
        fields = result if isinstance(result, Mapping) else to_json(result)
        sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def show(self, *parts: RenderableType) -> None:
        """Print something for people; in a pipe a line of text stays one line, however long."""
        for part in parts:
            self.console.print(part, soft_wrap=isinstance(part, Text))

    def note(self, sentence: str) -> None:
        """Tell people something beside the result, on standard error; scripts do not hear it."""
        if not self.as_json:
            self.errors.print(Text(plain(sentence), "dim"), soft_wrap=True)

    def fail(self, failure: Failure) -> NoReturn:
        """Print why on standard error and end the command."""
        if self.as_json:
            sys.stderr.write(json.dumps(failure.as_json(), ensure_ascii=False) + "\n")
        else:
            self.errors.print(Text.assemble(("foundry: ", "bold red"), plain(failure.message)), soft_wrap=True)
        raise typer.Exit(failure.exit_code)


def to_json(message: Message) -> dict[str, Json]:
    """Return a message in protobuf's JSON mapping, with the contract's field names and every plain field present.

    One thing differs from the mapping: 64-bit integers are numbers and not strings. All of ours are far below 2**53,
    and every protobuf parser reads numbers too.
    """
    from google.protobuf.json_format import MessageToDict

    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    _mend_integers(fields, message.DESCRIPTOR)
    return fields


def _mend_integers(fields: dict[str, Any], descriptor: Any) -> None:  # noqa: ANN401 - there are two classes of them
    """Make numbers of the 64-bit integers in the JSON of a message with this protobuf descriptor."""
    for name, value in fields.items():
        described = descriptor.fields_by_name[name]
        if described.cpp_type == described.CPPTYPE_INT64:
            fields[name] = [int(item) for item in value] if described.is_repeated else int(value)
        elif _is_plain_message(described):
            for item in value if described.is_repeated else [value]:
                _mend_integers(item, described.message_type)


def _is_plain_message(described: Any) -> bool:  # noqa: ANN401 - as above
    """Whether JSON shows it as an object with its fields: maps, times and spans are shown otherwise."""
    kind = described.message_type
    return kind is not None and not kind.GetOptions().map_entry and not kind.full_name.startswith(("google.", "grpc."))
