"""Defects of the guards: rules of the database itself, left out where they are made and where they are checked."""

from __future__ import annotations

from typing import Final

from tests.faults.defects.defect import Defect, Edit

_FIRST: Final = "store/migrations/versions/0001_the_first_schema.py"
_THIRD: Final = "store/migrations/versions/0003_replicas.py"
_POSTGRES: Final = "store/postgres/guards.py"
_SQLITE: Final = "store/sqlite/guards.py"
_ON_POSTGRES: Final = "tests/store/postgres/test_guards.py"
_ON_SQLITE: Final = "tests/store/test_guards.py"


def _never(table: str, name: str, verb: str) -> tuple[Edit, ...]:
    """A trigger that is there by its name, and looks at nothing: here it is made, and there it is compared."""
    return (
        Edit(
            _THIRD,
            f"CREATE TRIGGER {name} BEFORE {verb} ON {{schema}}.{table} FOR EACH ROW EXECUTE FUNCTION",
            f"CREATE TRIGGER {name} BEFORE {verb} ON {{schema}}.{table} FOR EACH ROW WHEN ((1 = 2)) EXECUTE FUNCTION",
        ),
        Edit(
            _POSTGRES,
            f'_trigger("{name}", "{verb}", "{table}", "guard_{name}()"),',
            f'_trigger("{name}", "{verb}", "{table}", "guard_{name}()", "1 = 2"),',
        ),
    )


DEFECTS: Final = (
    Defect(
        "postgres-change-needs-no-lock",
        "A version can be written that nobody held the lock for, by whatever program.",
        _never("draft_change", "draft_change_under_lock", "INSERT"),
        (f"{_ON_POSTGRES}::test_a_change_is_made_under_its_lock",),
    ),
    Defect(
        "postgres-log-may-have-gaps",
        "An entry can be left out, or put between others.",
        _never("log_entry", "log_entry_contiguous", "INSERT"),
        (f"{_ON_POSTGRES}::test_an_attack_is_refused",),
    ),
    Defect(
        "postgres-fence-may-fall",
        "An old token becomes good again.",
        (
            Edit(_THIRD, "(new.fence < old.fence) OR ", ""),
            Edit(_POSTGRES, '                "new.fence < old.fence",\n', ""),
        ),
        (f"{_ON_POSTGRES}::test_an_attack_is_refused",),
    ),
    Defect(
        "postgres-fenced-may-return",
        "A server that was given up goes on, and saves under locks that others have by now.",
        (
            Edit(_THIRD, "((old.state = 'FENCED'::text) OR ((old", "(((old"),
            Edit(_POSTGRES, "                \"old.state = 'FENCED'::text\",\n", ""),
        ),
        (f"{_ON_POSTGRES}::test_an_attack_is_refused",),
    ),
    Defect(
        "postgres-guard-not-looked-for",
        "Somebody has switched a guard off, and the server serves.",
        (
            Edit(
                _POSTGRES,
                "        if table != guard.table or not always or (exact and sql",
                "        if table != guard.table or (exact and sql",
            ),
        ),
        ("tests/store/postgres/test_missing_guards.py::test_a_guard_that_was_tampered_with_is_found",),
    ),
    Defect(
        "sqlite-change-needs-no-lock",
        "A version can be written that nobody held the lock for, by whatever program.",
        (
            Edit(_THIRD, "NEW.fence AND lock_id = NEW.lock_id AND last", "NEW.fence AND last"),
            Edit(_SQLITE, "AND lock_id = NEW.lock_id AND last", "AND last"),
        ),
        (f"{_ON_SQLITE}::test_a_change_is_made_under_its_lock",),
    ),
    Defect(
        "sqlite-log-may-have-gaps",
        "An entry can be left out.",
        tuple(
            Edit(path, "NEW.sequence IS NOT 1 + coalesce((", "NEW.sequence < 1 + coalesce((")
            for path in (_FIRST, _SQLITE)
        ),
        (f"{_ON_SQLITE}::test_an_attack_is_refused",),
    ),
    Defect(
        "sqlite-fence-may-fall",
        "An old token becomes good again.",
        tuple(
            Edit(path, "NEW.fence < OLD.fence OR NEW.fence > OLD.fence + 1 ", "NEW.fence > OLD.fence + 1 ")
            for path in (_FIRST, _SQLITE)
        ),
        (f"{_ON_SQLITE}::test_an_attack_is_refused",),
    ),
)
