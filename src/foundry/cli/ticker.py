"""What happens in a project as lines, one after the other: for terminals that cannot be redrawn, pipes and scripts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from foundry.cli import events
from foundry.cli.cells import calm, colourless
from foundry.cli.consoles import lasted
from foundry.cli.output import Output, to_json
from foundry.cli.panels import place_now, words_of
from foundry.cli.tables import state_of
from foundry.cli.threads import mark
from foundry.cli.words import enum_word, line_count, name_of, person, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coreason.foundry.v1.comment_pb2 import Comment
    from coreason.foundry.v1.run_pb2 import RunLog
    from coreason.foundry.v1.session_event_pb2 import SessionPresence
    from coreason.foundry.v1.session_pb2 import ServerEvent
    from foundry.client import Workspace

# The secret in `opened` brings a session back, so it is nothing to print.
_SILENT: Final = frozenset({"opened", "tick", "caught_up"})

_STDERR: Final = 2


def tell_state(output: Output, state: Workspace) -> None:
    """Print what there is when the watching begins."""
    here = sorted(state.presence.values(), key=lambda presence: presence.session_id)
    held = [state.locks[field] for field in sorted(state.locks)]
    runs = sorted(state.runs.values(), key=lambda run: run.run_id)
    if output.as_json:
        project, locks, presence = to_json(state.project), list(map(to_json, held)), list(map(to_json, here))
        running = list(map(to_json, runs))
        output.line({"state": {"project": project, "locks": locks, "presence": presence, "runs": running}})
        return
    opening = Text.assemble((calm(state.project.name), "bold"), f", version {state.head_version}")
    if enum_word(state.project, "state") != "active":
        opening.append(", ").append_text(Text(state_of(state.project).plain.upper(), "bold"))
    output.show(opening)
    for principal in {it.principal.subject: it.principal for it in here}.values():
        output.show(Text.assemble(person(principal), " is here"))
    for lock in held:
        output.show(Text.assemble(person(lock.holder), f" holds {plain(lock.field)}"))
    for run in runs:
        what = f"run {short(run.run_id)}: {calm(run.harness)} on version {run.version_number}".replace("  ", " ")
        output.show(Text.assemble(what, " by ", person(run.starter), " is running"))


def tell(output: Output, event: ServerEvent) -> None:
    """Print one event, console lines one by one; what only concerns the stream itself is left out."""
    kind = event.WhichOneof("event")
    if kind in _SILENT:
        return
    if output.as_json:
        output.line(event)
        return
    match kind:
        case "entry":
            output.show(events.line(event.entry))
        case "run_log":
            _tell_lines(output, event.run_log)
        case "presence":
            update = event.presence
            changed = [] if update.snapshot else update.sessions
            for line in presence_lines(update.joined_subjects, update.left_subjects, changed, datetime.now(UTC)):
                output.show(line)
        case "going_away":
            output.show(Text("the server is restarting; this goes on by itself", "yellow"))
        case "resync":
            output.show(Text("something was missed here; `foundry log` and `foundry logs` have it", "yellow"))


def tell_remark(output: Output, comment: Comment) -> None:
    """Print what a comment or a task says."""
    if comment.HasField("delete_time"):
        return
    sign = Text("[reply]" if comment.parent_comment_id else "[comment]", "blue")
    if enum_word(comment, "kind") == "task":
        sign = mark(comment)
    elif enum_word(comment, "state") == "resolved":
        sign = Text("[resolved]", "green")
    whose = Text.assemble(" for ", calm(comment.assignee)) if comment.assignee else Text()
    place = place_now(comment)
    where = Text.assemble(" on ", place) if place.plain else Text()
    output.show(Text.assemble("       ", sign, " ", person(comment.author), whose, where, ": ", words_of(comment)))


def _tell_lines(output: Output, log: RunLog) -> None:
    """Print lines of a console: many come at a time, and nothing of them may drive a terminal."""
    name = short(log.run_id)
    if log.lines:
        # What goes on in the next line keeps its prefix: a line of ours is a line of the console.
        lines = (f"run {name} {'!' if line.stream == _STDERR else '|'} {colourless(line.text)}\n" for line in log.lines)
        output.console.file.write("".join(lines))  # not as rich text: thousands a second are none too many
        output.console.file.flush()
    if log.HasField("finished_run"):
        run = log.finished_run
        how = f"{enum_word(run, 'state')} after {lasted(run)}, {line_count(run.line_count)}"
        output.show(Text(f"run {name} {how}"))


def short(run_id: str) -> str:
    """Return the end of a run's id, enough to tell two apart: its beginning is the time."""
    return run_id[-6:]


def presence_lines(
    joined: Iterable[str], left: Iterable[str], changed: Iterable[SessionPresence], now: datetime
) -> list[Text]:
    """Return a line for each who came, who went, and who looks at something else."""
    sentences = [
        *(f"{subject}  joined" for subject in joined),
        *(f"{subject}  left" for subject in left),
        *(f"{name_of(it.principal)}  at {it.focus_field}" for it in changed if it.focus_field),
    ]
    return [Text(f"       {now:%H:%M:%S}  {plain(sentence)}", "dim") for sentence in sentences]
