"""Strict YAML, checked on the event stream of libyaml: nothing is constructed and no alias is followed.

Scalars are read as YAML 1.1, as PyYAML's safe loader does, because that is what will load them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

import yaml
from yaml.constructor import SafeConstructor

from foundry.content.json_walk import DEPTH_MAX, INTEGER_MAX
from foundry.content.text import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaml._yaml import Mark as CMark
    from yaml.error import Mark

ALIASED_NODES_MAX: Final = 100_000
"""Most nodes that all aliases together may stand for, repeats counted: the guard against the "billion laughs"."""

_NUMBER_LENGTH_MAX: Final = 400  # YAML 1.1 has numbers to the base 60, which take quadratic time to read

_TAG_DIRECTIVES_MAX: Final = 100  # libyaml compares each with all before it, without letting other threads run
_TAG_DIRECTIVE: Final = re.compile(r"^%TAG\b", re.MULTILINE)

_NOT_PRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_TAG: Final = "tag:yaml.org,2002:"

_PROBLEMS: Final = {
    "mapping values are not allowed in this context": "a ':' is not allowed here",
    "block sequence entries are not allowed in this context": "a '-' item is not allowed here",
    "did not find expected ',' or ']'": "expected ',' or ']'",
    "did not find expected ',' or '}'": "expected ',' or '}'",
    "did not find expected '-' indicator": "expected a '-' item, or less indentation",
    "did not find expected key": "expected a key, or less indentation",
    "did not find expected node content": "expected a value",
    "found character that cannot start any token": "no value can start with this character",
    "found a tab character where an indentation space is expected": "a tab cannot indent",
    "found a tab character that violates indentation": "a tab cannot indent",
    "found unknown escape character": "this escape is not one of YAML",
    "found undefined tag handle": "this tag handle is not declared",
    "found incompatible YAML document": "this version of YAML is not supported",
}
"""libyaml's sentences in ours; whatever is not here is "not valid YAML"."""

_PROBLEMS_OF_CONTEXT: Final = {
    "could not find expected ':'": "this key has no ':'",
    "found unexpected end of stream": "this quoted string has no closing quote",
}
"""Those where the token at fault is the one that libyaml was reading, not the one where it gave up."""

_Key = tuple[str, str]


@dataclass(slots=True)
class _Collection:
    """An open mapping or sequence."""

    is_mapping: bool
    anchor: str | None
    nodes_before: int
    keys: set[_Key] = field(default_factory=set)
    expects_key: bool = True


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for: how many nodes, and which key if it is a scalar."""

    nodes: int
    key: _Key | None


class _Checker:
    def __init__(self, text: str) -> None:
        self.text = text
        self.bom = text.startswith("\ufeff")  # allowed by YAML 1.1, 5.2, and not counted in libyaml's marks
        self.documents = 0
        self.nodes = 0
        self.aliased_nodes = 0
        self.open: list[_Collection] = []
        self.anchors: dict[str, _Anchored | None] = {}  # None while the anchored node is open
        self.loader = yaml.CSafeLoader(text.encode())
        self.constructor = SafeConstructor()

    def run(self) -> None:
        try:
            while event := self.loader.get_event():
                self.event(event)
        except yaml.MarkedYAMLError as error:
            sentence = error.problem or ""
            if problem := _PROBLEMS_OF_CONTEXT.get(sentence):
                raise Refused(problem, self.text, self.offset(error.context_mark)) from None
            problem = _PROBLEMS.get(sentence, "not valid YAML")
            raise Refused(problem, self.text, self.offset(error.problem_mark)) from None
        finally:
            self.loader.dispose()

    def offset(self, mark: Mark | CMark | None) -> int:
        # Not the mark's own line and column: libyaml also ends lines at U+0085, U+2028 and U+2029.
        return mark.index + self.bom if mark else 0

    def refuse(self, problem: str, event: yaml.Event) -> NoReturn:
        raise Refused(problem, self.text, self.offset(event.start_mark))

    def event(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self.scalar(event)
            case yaml.AliasEvent():
                self.alias(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self.start(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self.end()
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self.refuse("only one document is allowed", event)

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self.nodes += 1
        key = self.scalar_key(event)
        if event.anchor:
            self.anchors[event.anchor] = _Anchored(1, key)
        self.place(key, event)

    def alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self.anchors:
            self.refuse("this alias has no anchor before it", event)
        anchored = self.anchors[event.anchor]
        if not anchored:
            self.refuse("this alias is inside the node that it stands for", event)
        self.nodes += anchored.nodes
        self.aliased_nodes += anchored.nodes
        if self.aliased_nodes > ALIASED_NODES_MAX:
            self.refuse(f"aliases stand for more than {ALIASED_NODES_MAX} nodes", event)
        self.place(anchored.key, event)

    def start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if len(self.open) == DEPTH_MAX:
            self.refuse(f"collections are nested more than {DEPTH_MAX} deep", event)
        self.place(None, event)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Collection(isinstance(event, yaml.MappingStartEvent), event.anchor, self.nodes))
        self.nodes += 1

    def end(self) -> None:
        closed = self.open.pop()
        if closed.anchor:
            self.anchors[closed.anchor] = _Anchored(self.nodes - closed.nodes_before, None)

    def place(self, key: _Key | None, event: yaml.Event) -> None:
        """Put a node into the open collection, as a key if it is a mapping's turn for one."""
        if not self.open or not self.open[-1].is_mapping:
            return
        mapping = self.open[-1]
        if mapping.expects_key:
            if key is None:
                self.refuse("a key must be a scalar", event)
            if key in mapping.keys:
                self.refuse("this key is already in the mapping", event)
            mapping.keys.add(key)
        mapping.expects_key = not mapping.expects_key

    def scalar_key(self, event: yaml.ScalarEvent) -> _Key:
        """Check a scalar; return what makes it equal to another as a key: its tag and its value."""
        tag = event.tag
        if not tag:
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        match tag.removeprefix(_TAG):
            case "int":
                return tag, str(self.number(event, self.constructor.construct_yaml_int))
            case "float":
                return tag, repr(self.number(event, self.constructor.construct_yaml_float))
            case "bool":
                return tag, str(self.constructor.bool_values.get(event.value.lower(), event.value))
            case "null":
                return tag, ""
            case "!":
                return f"{_TAG}str", event.value
        return tag, event.value

    def number(self, event: yaml.ScalarEvent, read: Callable[[yaml.ScalarNode], int | float]) -> int | float:
        if len(event.value) > _NUMBER_LENGTH_MAX:
            self.refuse("the number is too long", event)
        try:
            value = read(yaml.ScalarNode("", event.value))
        except (ValueError, IndexError, OverflowError):
            self.refuse("this is not a number", event)
        if not math.isfinite(value):
            self.refuse("NaN and infinite numbers are not allowed", event)
        if isinstance(value, int) and abs(value) > INTEGER_MAX:
            self.refuse("the integer is outside +-(2**53 - 1); write it as a string", event)
        return value


def check_yaml(text: str) -> None:
    """Refuse text that is not one strict YAML document, or none.

    Refused, beyond bad syntax: a second document, a repeated key in a mapping (``1`` and ``0x1`` are the same key,
    ``1`` and ``"1"`` are not), a key that is not a scalar, NaN and infinite numbers, integers outside +-(2**53 - 1),
    more than ``DEPTH_MAX`` collections inside each other, aliases that stand for more than ``ALIASED_NODES_MAX`` nodes,
    aliases to nothing or to a node around them. Tags are not interpreted.

    Raises:
        Refused: At the offending token.
    """
    if control := _NOT_PRINTABLE.search(text):
        raise Refused(f"the character U+{ord(control[0]):04X} is not allowed in YAML", text, control.start())
    for count, directive in enumerate(_TAG_DIRECTIVE.finditer(text)):
        if count == _TAG_DIRECTIVES_MAX:
            raise Refused(f"more than {_TAG_DIRECTIVES_MAX} %TAG directives", text, directive.start())
    _Checker(text).run()
