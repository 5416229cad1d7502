"""The count of rules is honest: what did not pass is open, what is unknown is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.__main__ import ROOT, main, verdict
from tests.conformance.documented import PAGE, Decisions, parse_decisions
from tests.conformance.markers import TESTS, ids_in, marked_ids
from tests.conformance.record import (
    RECORD,
    Record,
    load_record,
    save_record,
    updated,
)
from tests.conformance.report import (
    Evidence,
    State,
    open_ids,
    problems,
    states,
    table,
)
from tests.conformance.rules import IDS, ConformanceError, Rule, parse_rules

LIST = """\
# A comment.

[NET] outbound safety
NET-01 M one guarded transport
NET-02 M* address connected is checked
NET-03 S any private address refuses

[DOS-A] denial of service
DOS-A01 A dripping server
DOS-A02 A endless body
"""

PAGE_TEXT = """\
# Conformance

| rules | of no table of ours |
| --- | --- |

## Decided otherwise

| rules | what it does | why |
| --- | --- | --- |
| NET-02, NET-03 | `a \\| b` | it is better |

## Not applicable

| rules | why |
| --- | --- |
| DOS-A02 | there is none |

## Behind
"""

RULES = parse_rules(LIST)


def evidence(
    *,
    ids: dict[str, dict[str, str]],
    otherwise: tuple[str, ...] = (),
    not_applicable: tuple[str, ...] = (),
    marked: tuple[str, ...] = (),
) -> Evidence:
    return Evidence(
        rules=RULES,
        decisions=Decisions(
            otherwise=dict.fromkeys(otherwise, "why"),
            not_applicable=dict.fromkeys(not_applicable, "why"),
        ),
        record=Record(ids=ids, full_run="2026-01-01T00:00:00+00:00"),
        marked=dict.fromkeys(marked, "tests/test_a.py:7"),
    )


# --- The project itself ---------------------------------------------------------------


def test_list_when_read_then_holds_every_rule_and_every_attack() -> None:
    """None of the rules and attacks was dropped from the list, or has a long title."""
    rules = parse_rules(IDS.read_text(encoding="utf-8")).values()
    attacks = [rule for rule in rules if rule.level == "A"]
    assert (len(rules) - len(attacks), len(attacks)) == (392, 215)
    assert [rule.id for rule in rules if len(rule.title.split()) > 5] == []


def test_list_when_numbered_then_no_group_has_a_gap() -> None:
    """The ids of a group count from 1 to its end."""
    rules = parse_rules(IDS.read_text(encoding="utf-8")).values()
    numbers: dict[str, list[int]] = {}
    for rule in rules:
        numbers.setdefault(rule.group, []).append(int(rule.id[-2:]))
    assert {
        group: found
        for group, found in numbers.items()
        if found != [*range(1, len(found) + 1)]
    } == {}


def test_markers_when_compared_then_every_id_exists() -> None:
    """No test claims to show a rule that does not exist."""
    rules = parse_rules(IDS.read_text(encoding="utf-8"))
    marked = marked_ids(TESTS)
    assert marked
    assert {id_: where for id_, where in marked.items() if id_ not in rules} == {}


def test_page_when_compared_then_every_id_exists_and_none_contradicts_a_test() -> None:
    """What is decided otherwise exists; what is not applicable has no test."""
    rules = parse_rules(IDS.read_text(encoding="utf-8"))
    decisions = parse_decisions(PAGE.read_text(encoding="utf-8"))
    assert decisions.otherwise.keys() <= rules.keys()
    assert decisions.not_applicable.keys() <= rules.keys() - marked_ids(TESTS).keys()


# --- The list -------------------------------------------------------------------------


def test_parse_rules_when_the_list_is_good_then_keeps_its_order() -> None:
    """Ids, levels, titles and groups come out as they stand."""
    assert list(RULES) == ["NET-01", "NET-02", "NET-03", "DOS-A01", "DOS-A02"]
    assert RULES["NET-02"] == Rule(
        id="NET-02", level="M*", title="address connected is checked"
    )
    assert [rule.group for rule in RULES.values()] == [*["NET"] * 3, *["DOS-A"] * 2]


@pytest.mark.parametrize(
    "line",
    [
        "NET-01 M again",  # twice
        "DOS-01 M of another group",
        "NET-04 X no such level",
        "NET-4 M one digit",
        "NET-04 M",
        "net-04 M small",
        " NET-04 M indented",
        "[net] small",
    ],
)
def test_parse_rules_when_a_line_is_bad_then_refuses(line: str) -> None:
    """A slip in the list is no rule less, but an error."""
    good = "[NET] outbound safety\nNET-01 M one guarded transport\n"
    assert len(parse_rules(good)) == 1
    with pytest.raises(ConformanceError):
        parse_rules(good + line)


# --- The page -------------------------------------------------------------------------


def test_parse_decisions_when_the_page_is_good_then_gives_both_tables() -> None:
    """Each id of a row has the text of its row; other tables are left alone."""
    assert parse_decisions(PAGE_TEXT) == Decisions(
        otherwise=dict.fromkeys(["NET-02", "NET-03"], "`a \\| b`: it is better"),
        not_applicable={"DOS-A02": "there is none"},
    )


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("## Not applicable", "## Elsewhere"),
        ("## Behind", "## Not applicable"),
        ("| rules | what it does | why |", "| rules | why | what it does |"),
        ("| --- | --- | --- |\n", ""),
        ("| it is better |", "| |"),
        ("| it is better |", "|"),
        ("| it is better |", "| it is better | so |"),
        ("| it is better |", "| it is better"),
        ("| it is better |", "| it is better | so"),
        ("| there is none |", "|  |"),
        ("NET-02, NET-03", "NET-02 and NET-03"),
        ("NET-02, NET-03", "NET-02,NET-03"),
        ("NET-02, NET-03", "NET-02 to 03"),
        ("NET-02, NET-03", "NET-02, NET-02"),
        ("| DOS-A02 |", "| NET-03 |"),
    ],
)
def test_parse_decisions_when_the_page_is_bad_then_refuses(good: str, bad: str) -> None:
    """A table that cannot be read to the letter is an error, never an empty list."""
    assert PAGE_TEXT.count(good) == 1
    with pytest.raises(ConformanceError):
        parse_decisions(PAGE_TEXT.replace(good, bad))


# --- The markers ----------------------------------------------------------------------


def test_ids_in_when_markers_differ_in_form_then_finds_all() -> None:
    """Decorators, module marks, parameters and starred tuples; nothing else."""
    source = """
pytestmark = [pytest.mark.covers("A-01"), mark.covers("A-02")]

@pytest.mark.covers("A-03", *("A-04", "A-05"))
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.covers("A-06"))])
def test_x(x):
    # pytest.mark.covers("A-07")
    '''pytest.mark.covers("A-08")'''
    roof.covers("A-09")
"""
    assert sorted(found for _, found in ids_in(source)) == [
        f"A-0{number}" for number in range(1, 7)
    ]


@pytest.mark.parametrize("argument", ["X", "*XS", "f'A-{1}'", "*('A-01', X)", "1"])
def test_ids_in_when_an_id_is_not_written_out_then_refuses(argument: str) -> None:
    """No marker is overlooked because it is clever."""
    with pytest.raises(ConformanceError):
        list(ids_in(f"pytest.mark.covers({argument})"))


def test_marked_ids_when_a_folder_is_read_then_says_where(tmp_path: Path) -> None:
    """Modules at every depth count, those of other projects do not."""
    text = 'pytest.mark.covers("NET-01")\n'
    for place in ("tests/a.py", "tests/deep/b.py", "tests/node_modules/c.py"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("01", f"0{ord(path.stem) - 96}"))
    assert marked_ids(tmp_path / "tests") == {
        "NET-01": "tests/a.py:1",
        "NET-02": "tests/deep/b.py:1",
    }


# --- Counting -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([], State.OPEN),
        (["passed"], State.COVERED),
        (["passed", "skipped"], State.COVERED),
        (["passed", "failed"], State.OPEN),
        (["skipped"], State.OPEN),
        (["failed"], State.OPEN),
    ],
)
def test_state_when_tests_ended_so_then_only_passing_ones_cover(
    outcomes: list[str], state: State
) -> None:
    """A rule is covered if a test of it passed, and none failed."""
    tests = {f"test_{number}": outcome for number, outcome in enumerate(outcomes)}
    assert states(evidence(ids={"NET-01": tests}))["NET-01"] is state


KNOWN = evidence(
    ids={
        "NET-01": {"a": "passed"},
        "NET-02": {"b": "passed"},
        "NET-03": {"c": "failed"},
    },
    otherwise=("NET-02",),
    not_applicable=("DOS-A02",),
    marked=("NET-01", "NET-02", "NET-03"),
)


def test_table_when_printed_then_every_rule_is_counted_once() -> None:
    """By group, and for rules and attacks."""
    assert [line.split() for line in table(KNOWN)[1:]] == [
        ["NET", "3", "1", "1", "0", "1"],
        ["DOS-A", "2", "0", "0", "1", "1"],
        [],
        ["rules", "3", "1", "1", "0", "1"],
        ["attacks", "2", "0", "0", "1", "1"],
        ["together", "5", "1", "1", "1", "2"],
    ]
    assert len({len(line) for line in table(KNOWN) if line}) == 1


def test_open_when_printed_then_says_what_is_missing() -> None:
    """Level and title stand beside the id, and whether a test failed."""
    assert open_ids(KNOWN) == [
        "NET-03    S   any private address refuses (its tests fail)",
        "DOS-A01   A   dripping server",
    ]


def test_problems_when_all_is_well_then_there_are_none() -> None:
    """Known ids, a shown decision and an untested inapplicable rule are in order."""
    assert problems(KNOWN) == []


def test_problems_when_ids_are_unknown_then_names_each_place() -> None:
    """An id that does not exist is reported from the page, a test, and a run."""
    known = evidence(
        ids={"NET-09": {"a": "passed"}}, not_applicable=("NET-07",), marked=("NET-08",)
    )
    assert problems(known) == [
        "NET-07, in docs/conformance.md, does not exist",
        "NET-08, in tests/test_a.py:7, does not exist",
        "NET-09, in a test that ran, does not exist",
    ]


def test_problems_when_page_and_tests_contradict_then_names_both() -> None:
    """A decision needs a test that passes; what is not applicable can have none."""
    known = evidence(
        ids={"NET-02": {"a": "passed", "b": "failed"}, "DOS-A01": {"c": "skipped"}},
        otherwise=("NET-01", "NET-02"),
        not_applicable=("NET-03", "DOS-A01"),
        marked=("NET-02", "NET-03"),
    )
    assert problems(known) == [
        "NET-01 is decided otherwise, but no passing test shows what is done",
        "NET-02 is decided otherwise, but no passing test shows what is done",
        "DOS-A01 is not applicable, but a test covers it",
        "NET-03 is not applicable, but a test covers it",
    ]


def test_verdict_when_a_group_is_required_then_its_open_ids_fail() -> None:
    """Other groups may stay open; a group that does not exist is an error."""
    assert verdict(KNOWN, []) == []
    assert verdict(KNOWN, ["DOS-A"]) == ["DOS-A01 is required, and open"]
    assert verdict(KNOWN, ["DOS"]) == ["there is no group 'DOS'"]


# --- The record -----------------------------------------------------------------------


def test_updated_when_a_part_ran_then_the_rest_stays() -> None:
    """A run of some tests replaces what was known of these tests, and of no others."""
    before = Record(
        ids={"A-01": {"x": "passed", "y": "passed"}, "A-02": {"x": "passed"}},
        full_run="then",
    )
    after = updated(before, {"x": "failed", "z": "passed"}, {"x": ("A-01", "A-03")})
    assert after == Record(
        ids={"A-01": {"x": "failed", "y": "passed"}, "A-03": {"x": "failed"}},
        full_run="then",
    )


def test_record_when_saved_then_loads_the_same(tmp_path: Path) -> None:
    """What was written is read, and no draft is left."""
    path = tmp_path / RECORD
    assert load_record(path) == Record()
    record = Record(ids={"A-01": {"x[é]": "passed"}}, full_run="then")
    save_record(record, path)
    assert load_record(path) == record
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 0, "ids": {}}'])
def test_record_when_damaged_then_says_what_to_run(tmp_path: Path, text: str) -> None:
    """An unreadable record is an error that names the remedy."""
    path = tmp_path / "conformance.json"
    path.write_text(text)
    with pytest.raises(ConformanceError, match=r"make test$"):
        load_record(path)


SOME_TESTS = """
import pytest

@pytest.fixture
def breaks_afterwards():
    yield
    raise RuntimeError

@pytest.mark.covers("NET-01", "NET-02")
@pytest.mark.parametrize("x", [1, 2])
def test_passes(x): pass

@pytest.mark.covers("NET-03")
def test_fails(): assert False

@pytest.mark.covers("NET-04")
def test_fails_late(breaks_afterwards): pass

@pytest.mark.covers("NET-05")
def test_skips(): pytest.skip("no")

@pytest.mark.covers("NET-06")
@pytest.mark.xfail
def test_fails_as_expected(): assert False

@pytest.mark.covers("NET-07")
@pytest.mark.xfail
def test_passes_unexpectedly(): pass

def test_covers_nothing(): pass
"""


# Other plugins take a second to load.
ONLY_WORKERS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}


def run_pytest(folder: Path, *arguments: str) -> Record:
    """Run the tests in a folder, with the recorder; give what it wrote."""
    settings = {
        name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env={**settings, **ONLY_WORKERS, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return load_record(folder / RECORD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small project with tests that pass, fail and skip."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = covers\n")
    plugins = 'pytest_plugins = ["tests.conformance.recorder"]\n'
    (tmp_path / "conftest.py").write_text(plugins)
    (tmp_path / "test_some.py").write_text(SOME_TESTS)
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_recorder_when_all_tests_run_then_writes_how_each_ended(
    folder: Path, workers: int
) -> None:
    """Only a test that passed to its very end is one that passed, in any worker."""
    passing = {f"test_some.py::test_passes[{x}]": "passed" for x in (1, 2)}
    record = run_pytest(folder, f"--numprocesses={workers}")
    assert record.full_run
    assert record.ids == {
        "NET-01": passing,
        "NET-02": passing,
        "NET-03": {"test_some.py::test_fails": "failed"},
        "NET-04": {"test_some.py::test_fails_late": "failed"},
        "NET-05": {"test_some.py::test_skips": "skipped"},
        "NET-06": {"test_some.py::test_fails_as_expected": "skipped"},
        "NET-07": {"test_some.py::test_passes_unexpectedly": "skipped"},
    }


def test_recorder_when_some_tests_run_then_changes_these_only(folder: Path) -> None:
    """After a repair, the repaired test alone need be run; that is no full run."""
    assert run_pytest(folder, "-k", "passes").full_run is None
    before = run_pytest(folder)
    (folder / "test_some.py").write_text(SOME_TESTS.replace("assert False", "pass", 1))
    after = run_pytest(folder, "test_some.py::test_fails")
    repaired = {"NET-03": {"test_some.py::test_fails": "passed"}}
    assert after == Record(ids={**before.ids, **repaired}, full_run=before.full_run)
    assert run_pytest(folder, "--collect-only") == after


def test_recorder_when_a_run_stops_early_then_it_is_no_full_run(folder: Path) -> None:
    """What was not reached is not known, so the record does not count as whole."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = covers\naddopts = -x\n")
    record = run_pytest(folder)
    assert record.full_run is None
    assert list(record.ids) == ["NET-01", "NET-02", "NET-03"]


def test_recorder_when_a_test_is_gone_then_a_full_run_forgets_it(folder: Path) -> None:
    """A full run leaves nothing of what was known before."""
    run_pytest(folder)
    (folder / "test_some.py").write_text("def test_other(): pass\n")
    assert run_pytest(folder).ids == {}


# --- The command ----------------------------------------------------------------------


def test_command_when_nothing_was_run_then_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a full run there is no table: a part would look like the whole."""
    save_record(Record(ids={"NET-01": {"a": "passed"}}), tmp_path / RECORD)
    assert main([], root=tmp_path) == 1
    assert capsys.readouterr().out == "no run of all tests is recorded: make test\n"


def test_command_when_a_group_is_open_then_fails_only_if_it_is_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same record is good enough as long as nobody requires the group."""
    shown = [*parse_decisions(PAGE.read_text(encoding="utf-8")).otherwise, "PAR-01"]
    ids = {rule_id: {"a": "passed"} for rule_id in shown}
    save_record(Record(ids=ids, full_run="then"), tmp_path / RECORD)
    assert main(["--require", ""], root=tmp_path) == 0
    assert "all tests were last run at then" in capsys.readouterr().out
    assert main(["--require", "PAR,NET"], root=tmp_path) == 1
    out = capsys.readouterr().out
    assert "PAR-02 is required, and open\n" in out
    assert "PAR-01 is required" not in out
    assert "CB-01 is required" not in out
