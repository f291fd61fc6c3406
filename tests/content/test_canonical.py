"""Canonical JSON equals RFC 8785, on the fast path and off it; manifests are what they are documented to be."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import random

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foundry.content import FieldDigest, canonical_json, content_sha256, sha256_hex
from foundry.domain.field import FieldKind

INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
# Surrogates included: both sides must refuse them.
TEXTS = st.text(st.characters(codec=None, exclude_categories=())) | st.text(
    '\x00\x08\t\n\x0b\f\r\x1f\x7f"\\/\u2028é\ue000😀'
)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=5)
    ),
    max_leaves=15,
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.floats(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5) | st.tuples(inner),
    max_leaves=15,
)


def outcome(value: object, *, ours: bool) -> bytes | None:
    """Return the canonical form, None if it is refused."""
    try:
        return canonical_json(value) if ours else rfc8785.dumps(value)  # type: ignore[arg-type]
    except ValueError:
        return None


@given(PLAIN | ANY)
@example({"\ue000": 1, "😀": 2})
@example([-0.0, 1e21, 1e-7, 5e-324, 2**53, -(2**53)])
@example("\ud800")
@example({"\udfff": 1})
@example([2**53 - 1, -(2**53) + 1, True, None, "\x7f\x1f"])
@settings(max_examples=500)
def test_it_equals_rfc8785(value: object) -> None:
    """The same bytes as the reference package, or both refuse with a ValueError."""
    assert outcome(value, ours=True) == outcome(value, ours=False)


def test_the_example_of_the_rfc() -> None:
    """RFC 8785, section 3.2.2: numbers, escapes and literals."""
    value = json.loads(
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        r'"string":"\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}'
    )
    assert canonical_json(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_names_are_sorted_by_utf16_code_units() -> None:
    """RFC 8785, section 3.2.3: astral names sort before those from U+E000 on."""
    assert canonical_json({"\ufb33": 1, "😀": 2, "1": 3}).decode() == '{"1":3,"😀":2,"\ufb33":1}'


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        ["\udc00"],
        {"a": "\ud83d"},
        {"\ud800": 1},
        2**53,
        float("nan"),
        float("inf"),
        {1: 2},
        {"a": b"x"},
        object(),
    ],
)
def test_what_has_no_canonical_form_is_a_value_error(value: object) -> None:
    """Half a surrogate pair, large integers, NaN, other names and other types are refused, not approximated."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the library's
        canonical_json(value)


def test_bottomless_nesting_is_a_value_error() -> None:
    """A value deeper than the stack is refused like any other."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        canonical_json(deep)


def test_enums_are_their_values() -> None:
    """A StrEnum or IntEnum is written as the string or number that it is."""

    class Level(enum.IntEnum):
        HIGH = 3

    assert canonical_json({"kind": FieldKind.TEXT, "level": Level.HIGH}) == b'{"kind":"TEXT","level":3}'


def test_hashes_are_lower_case_hex() -> None:
    """The hash of no bytes is the well-known one (FIPS 180-4)."""
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def digest(name: str, content: bytes = b"x", kind: FieldKind = FieldKind.TEXT, media_type: str = "t/x") -> FieldDigest:
    """Make a digest of a field."""
    return FieldDigest(name, kind, media_type, sha256_hex(content))


def test_the_manifest_is_what_the_contract_says() -> None:
    """Anybody can compute the hash with a JSON library and SHA-256: the form is frozen."""
    config, prompt = hashlib.sha256(b"{}").hexdigest(), hashlib.sha256(b"Hi").hexdigest()
    manifest = (
        f'{{"fields":[{{"kind":"JSON","media_type":"application/json","name":"model_config","sha256":"{config}"}},'
        f'{{"kind":"TEXT","media_type":"text/plain","name":"system_prompt","sha256":"{prompt}"}}],"v":1}}'
    )
    fields = [
        digest("system_prompt", b"Hi", media_type="text/plain"),
        digest("model_config", b"{}", FieldKind.JSON, "application/json"),
    ]
    assert content_sha256(fields) == hashlib.sha256(manifest.encode()).hexdigest()


def test_the_manifest_of_nothing() -> None:
    """A version without fields has a hash, too."""
    assert content_sha256([]) == sha256_hex(b'{"fields":[],"v":1}') == content_sha256([digest("scratchpad")])


@given(st.permutations([digest(name) for name in ("a", "a.b", "a/b", "a_b", "b", "scratchpad")]))
def test_order_authors_and_the_scratchpad_do_not_count(fields: list[FieldDigest]) -> None:
    """Equal content is equal, whoever wrote it, in which version, and whatever is in the notes."""
    others = [
        dataclasses.replace(field, last_author="eve", last_changed_version=9, size=7)
        for field in fields
        if field.name != "scratchpad"
    ]
    random.shuffle(others)
    assert content_sha256(fields) == content_sha256(iter(others))


@pytest.mark.parametrize(
    "other",
    [digest("b"), digest("a", b"y"), digest("a", kind=FieldKind.YAML), digest("a", media_type="t/y")],
)
def test_name_kind_media_type_and_content_count(other: FieldDigest) -> None:
    """Each of the four changes the hash."""
    assert content_sha256([other]) != content_sha256([digest("a")])


def test_a_name_is_there_once() -> None:
    """Two fields of one name are a mistake of the caller, not a manifest."""
    with pytest.raises(ValueError, match="two fields named 'a'"):
        content_sha256([digest("a"), digest("a", b"y")])
