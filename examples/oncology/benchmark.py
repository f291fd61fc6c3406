"""A benchmark of the agent: judges the cases of the test corpus and prints each step of its reasoning.

    foundry export PROJECT -o payload.json
    foundry run exec PROJECT --harness benchmark -- python benchmark.py payload.json

It tests the exported version: its prompt decides which criteria are judged, its corpus which cases. Without a payload
it tests the files beside it. In place of a model a few rules read the records, so that it says the same every time. It
ends with 0 if every decision is the expected one.
"""

# ruff: noqa: INP001 - a script, to be run on its own

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

MET, NOT_MET, UNKNOWN = "met", "not_met", "unknown"

#: Limits of the blood count in the order of the prompt: name in the record, what is missing without it, least value.
BLOOD = (("ANC", "absolute neutrophil count", 1.5), ("platelets", "platelets", 100.0), ("Hb", "haemoglobin", 9.0))


def age(record: str) -> tuple[str, str]:
    """I1: 18 or older."""
    years = int(re.search(r"(\d+) years", record)[1])
    return (MET if years >= 18 else NOT_MET), f"{years} years"  # noqa: PLR2004 - as the criterion says


def cancer(record: str) -> tuple[str, str]:
    """I2: non-small cell lung cancer, stage IIIB to IV."""
    kind = re.search(r"(Adenocarcinoma|Squamous cell carcinoma)[^,]*", record)[0]
    stage = re.search(r"stage (I+V?[ABC]?|IV[AB]?)", record)[1]
    return (MET if stage in {"IIIB", "IIIC", "IV", "IVA", "IVB"} else NOT_MET), f"{kind}, stage {stage}"


def mutation(record: str) -> tuple[str, str]:
    """I3: EGFR exon 19 deletion or L858R."""
    found = re.search(r"EGFR (exon 19 deletion|L858R)( \(\w+\))?", record)
    return (MET, found[0]) if found else (NOT_MET, "EGFR wild type")


def progression(record: str) -> tuple[str, str] | None:
    """I4: progression on a third-generation inhibitor."""
    found = re.search(r"Progression on osimertinib(, CT of [^.]*)?", record)
    return (MET, found[0]) if found else None


def lesion(record: str) -> tuple[str, str] | None:
    """I5: a measurable lesion, 10 mm or more."""
    found = re.search(r"Target lesion (\d+) mm", record)
    return (MET if int(found[1]) >= 10 else NOT_MET, found[0]) if found else None  # noqa: PLR2004 - RECIST 1.1


def performance(record: str) -> tuple[str, str]:
    """I6: ECOG 0 or 1."""
    status = int(re.search(r"ECOG (\d)", record)[1])
    return (MET if status <= 1 else NOT_MET), f"ECOG {status}" + ("" if status <= 1 else ", and not 0 or 1")


def blood(record: str) -> tuple[str, str] | None:
    """I7: neutrophils, platelets, haemoglobin."""
    found = {name: re.search(rf"{name} (\d+(?:\.\d+)?)", record) for name, _, _ in BLOOD}
    if "Blood count not yet back" in record:
        return UNKNOWN, "blood count not yet back: a laboratory value is never inferred"
    if not all(found.values()):
        return None
    enough = all(float(found[name][1]) >= least for name, _, least in BLOOD)
    return (MET if enough else NOT_MET), ", ".join(found[name][0] for name, _, _ in BLOOD)


def brain(record: str) -> tuple[str, str] | None:
    """E1: untreated brain metastases."""
    found = re.search(r"(\w+ )?untreated \w+ metastases on MRI", record)
    return (MET, found[0]) if found else (NOT_MET, "MRI brain clear") if "MRI brain clear" in record else None


def pneumonitis(record: str) -> tuple[str, str] | None:
    """E2: pneumonitis that needed steroids."""
    found = re.search(r"Pneumonitis in \d+, treated with prednisolone", record)
    return (MET, f"{found[0]}: a steroid, at any time") if found else None


def qtc(record: str) -> tuple[str, str] | None:
    """E3: QTcF over 470 ms."""
    found = re.search(r"QTcF (\d+) ms", record)
    return (MET if int(found[1]) > 470 else NOT_MET, found[0]) if found else None  # noqa: PLR2004 - as the criterion says


RULES: dict[str, Callable[[str], tuple[str, str] | None]] = {
    "I1": age,
    "I2": cancer,
    "I3": mutation,
    "I4": progression,
    "I5": lesion,
    "I6": performance,
    "I7": blood,
    "E1": brain,
    "E2": pneumonitis,
    "E3": qtc,
}


def judge(record: str, criteria: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield criterion, verdict and evidence, up to the first that speaks against the patient."""
    for name in criteria:
        judged = RULES[name](record) if name in RULES else None
        if judged is None:
            continue  # the record says nothing of it
        yield name, *judged
        if judged[0] == (NOT_MET if name.startswith("I") else MET):
            return


def decide(steps: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the decision that follows from the steps, in the form of the corpus."""
    name, verdict, _ = steps[-1]
    if verdict == (NOT_MET if name.startswith("I") else MET):
        return {"decision": "not_eligible", "because": [name]}
    if any(step[1] == UNKNOWN for step in steps):
        return {"decision": "needs_review", "missing_data": [what for _, what, _ in BLOOD]}
    return {"decision": "eligible"}


def texts(payload: Path | None) -> dict[str, str]:
    """Return prompt, model configuration and corpus: of an exported version, or of the files beside this one."""
    if payload is not None:
        fields = json.loads(payload.read_text("utf-8"))["fields"]
        return {name: field.get("text", "") for name, field in fields.items()}
    files = {
        "system_prompt": "system_prompt.txt",
        "model_config": "model_config.json",
        "test_corpus/eligibility": "test_corpus/eligibility.jsonl",
    }
    return {name: (HERE / file).read_text("utf-8") for name, file in files.items()}


def main() -> int:
    """Judge every case; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("payload", nargs="?", type=Path, help="what `foundry export` wrote")
    parser.add_argument("--pace", type=float, default=0.0, metavar="S", help="seconds between two lines")
    parser.add_argument("--ask", action="store_true", help="wait for a line on standard input before each case")
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        time.sleep(options.pace)  # as a model would take its time

    fields = texts(options.payload)
    criteria = re.findall(r"^([IE]\d+)  ", fields["system_prompt"], re.MULTILINE)
    cases = [json.loads(line) for line in fields["test_corpus/eligibility"].splitlines()]
    model = json.loads(fields["model_config"])
    say(f"{len(cases)} cases, {len(criteria)} criteria; {model['model']}, seed {model['seed']}")
    right = 0
    for case in cases:
        if options.ask:
            sys.stdin.readline()
        say(f"{case['id']}  {case['input'].partition('.')[0]}")
        steps = list(judge(case["input"], criteria))
        for name, verdict, evidence in steps:
            say(f"  {name}  {verdict:<8} {evidence}")
        answer = decide(steps)
        as_expected = answer == case["expected"]
        right += as_expected
        because = ", ".join(answer.get("because", answer.get("missing_data", [])))
        say(
            f"  -> {answer['decision']}{f' ({because})' if because else ''}{'' if as_expected else '  NOT AS EXPECTED'}"
        )
    say(f"{right} of {len(cases)} as expected")
    return 0 if right == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
