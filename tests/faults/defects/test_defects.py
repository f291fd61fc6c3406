"""The job that plants defects can itself fail: it sees what is not noticed, and what is not there any more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.backends import REPLICAS
from tests.faults.defects.__main__ import main
from tests.faults.defects.all_defects import DEFECTS
from tests.faults.defects.defect import Defect, Edit, NotPlantedError
from tests.faults.defects.verdicts import Outcome, Trees, Verdict

ROOT = Path(__file__).resolve().parents[3]
TEST = "tests/managers/test_paging.py::test_nothing_is_a_page_too"
#: Of what that test looks at.
CODE = "managers/paging.py"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_fits_the_code_of_today(defect: Defect) -> None:
    """Its texts are there, once; the code compiles with it; its tests exist."""
    for path, text in defect.planted(ROOT).items():
        assert text != path.read_text("utf-8")
        if path.suffix == ".py":
            compile(text, path, "exec")
    assert defect.backend in REPLICAS
    for test in defect.noticed_by:
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), test


def test_every_defect_has_a_name_a_reason_and_a_test() -> None:
    names = [defect.name for defect in DEFECTS]
    assert len(set(names)) == len(names)
    for defect in DEFECTS:
        assert defect.why.endswith(".")
        assert defect.noticed_by


def test_a_text_that_moved_is_an_error() -> None:
    """Not a defect that is quietly planted nowhere."""
    for text in ("", "old old"):
        with pytest.raises(NotPlantedError):
            Edit(CODE, "old", "new").planted(text)


def test_the_list_is_printed_and_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", DEFECTS[0].name]) == 0
    assert "mistakes" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--only", "no such defect"])
    assert ended.value.code == 2


@pytest.mark.slow
async def test_what_is_planted_is_what_runs_and_what_nobody_notices_is_said(tmp_path: Path) -> None:
    """The code outside the copy stays as it is, and the copy is sound again after each defect."""
    text = (ROOT / "src/foundry" / CODE).read_text("utf-8")

    def defect(new: str, old: str = "    total = 0\n", test: str = TEST) -> Defect:
        return Defect("a defect", "It is for this test.", (Edit(CODE, old, new),), (test,))

    wrong = defect("    raise ZeroDivisionError\n")
    planted = {
        Outcome.NOT_NOTICED: [defect("    total = 1\n")],
        Outcome.NOT_PLANTED: [defect("", old="no such text")],
        Outcome.NOT_RUN: [defect("    total =\n"), defect("    total = 1\n", test=f"{TEST}_of_none")],
        Outcome.RED: [wrong],
    }
    trees, told = Trees(ROOT, tmp_path, 1, limit_s=60.0), list[Verdict]()
    for outcome, defects in planted.items():
        verdicts = await trees.plant(defects, told.extend)
        assert [verdict.outcome for verdict in verdicts] == [outcome] * len(defects), verdicts
    assert len(told) == 5
    assert await trees.not_green([wrong]) == {}
    assert (ROOT / "src/foundry" / CODE).read_text("utf-8") == text
