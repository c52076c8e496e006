"""What is done with a photo that was dealt with before, case by case; never is a file replaced that is not ours."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bwcolor.batch.ledger import NO_FILE, Ledger, Making, Record, fingerprint, making
from bwcolor.batch.outcome import ADOPTED, ADOPTED_STALE, COLOUR, COPIED, EXISTS, Outcome
from bwcolor.batch.plan import Job
from bwcolor.batch.skip_policy import (
    COPIED_BEFORE,
    DONE,
    EDITED,
    FAILED_BEFORE,
    OTHER_PHOTO,
    STALE,
    TAKEN_OVER,
    Policy,
    judged,
    recorded,
)
from bwcolor.options import ColorizeOptions

NOW = Making("a" * 64, "default 2", ColorizeOptions().as_json())
OTHER_MODEL = Making("c" * 64, "default 1", NOW.settings)
OTHER_SETTINGS = replace(NOW, settings=ColorizeOptions(strength=0.5).as_json())
UNMADE = Making("", "", "")
LATER = 7_000_000_000  # ns


@dataclass(frozen=True)
class Place:
    """A photo, its output and what the ledger knows of them."""

    root: Path
    job: Job
    ledger: Ledger

    @property
    def output(self) -> Path:
        return self.job.target

    def note(self, **changes: object) -> Record:
        """Writes the record of a photo that was just dealt with: done, unless `changes` say otherwise."""
        record = Record(
            self.job.target, self.job.target, self.job.name, self.root, fingerprint(self.job.source, read=True),
            fingerprint(self.output, read=True), NOW, "done",
        )  # fmt: skip
        record = replace(record, **changes)  # type: ignore[arg-type]
        self.ledger.write(record)
        return record

    def judged(self, policy: Policy | None = None, made: Making = NOW) -> Job | Outcome:
        return judged(self.job, self.ledger, made, policy or Policy())

    def moved(self, root: Path) -> "Place":
        """The same, with the photo in another folder."""
        root.mkdir()
        source = root / self.job.source.name
        if os.path.lexists(self.job.source):
            self.job.source.rename(source)
        return replace(self, root=root, job=replace(self.job, source=source))


def made(folder: Path) -> Iterator[Place]:
    root, out = folder / "photos", folder / "out"
    root.mkdir()
    out.mkdir()
    job = Job(root / "a.jpg", out / "a.jpg", "jpeg")
    job.source.write_bytes(b"gray")
    job.target.write_bytes(b"colour")
    with Ledger.open(out) as ledger:
        yield Place(root, job, ledger)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield from made(tmp_path)


def touched(path: Path) -> None:
    os.utime(path, ns=(LATER, path.stat().st_mtime_ns + LATER))


def changed(path: Path) -> None:
    """As many bytes as before, others, and a new time."""
    path.write_bytes(path.read_bytes()[::-1])
    touched(path)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def with_its_time_kept(path: Path) -> None:
    """As many bytes as before, others, and the same time: as `exiftool -P` may do it."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def gone(path: Path) -> None:
    path.unlink()


def a_link(path: Path) -> None:
    """To the same bytes."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def untouched(path: Path) -> None:
    pass


Expected = str | None  # the reason of a skipped or failed photo; None for work to be done
STALE_POLICY, RETRY, ANEW = Policy(redo_stale=True), Policy(retry_failed=True), Policy(overwrite=True)
RECOLOR, COPY = Policy(color_input="recolor"), Policy(color_input="copy")
FAILED = {"state": "failed", "reason": "is damaged", "output": NO_FILE}
BEFORE = FAILED_BEFORE.format("is damaged")
EARLIER = {"state": "failed", "reason": "is damaged", "lasting": True}  # with the output of an earlier run
LEFT = {"state": "skipped", "reason": COLOUR, "output": NO_FILE, "making": UNMADE}


@dataclass(frozen=True)
class Case:
    """known: of the record what differs from one of a photo that was done. output, input: what happened to the files
    since. replaces: whether the output may take the place of the file that lies there."""

    name: str
    expected: Expected
    known: dict[str, object] = field(default_factory=dict)
    output: Callable[[Path], None] = untouched
    input: Callable[[Path], None] = untouched
    policy: Policy = Policy()  # noqa: RUF009 - frozen
    made: Making = NOW
    replaces: bool = False


CASES = (
    Case("done", DONE),
    Case("done, taken over by its label", DONE, {"reason": ADOPTED}),
    Case("taken over by its label, another model", ADOPTED_STALE.format("model default 1"),
         {"reason": ADOPTED, "making": OTHER_MODEL}),
    Case("taken over by its label, stale", TAKEN_OVER, {"reason": ADOPTED, "making": OTHER_MODEL}, policy=STALE_POLICY),
    Case("taken over by its label, the photo changed", TAKEN_OVER, {"reason": ADOPTED}, input=changed),
    Case("the output was deleted", None, output=gone),
    Case("the output was edited", EDITED, output=changed),
    Case("the output grew", EDITED, output=longer),
    Case("the output is a link", EDITED, output=a_link),
    Case("the output is a folder", EDITED, output=a_folder),
    Case("the output was touched", DONE, output=touched),
    Case("the photo was touched", DONE, input=touched),
    Case("both were touched", DONE, output=touched, input=touched),
    Case("the photo was changed", None, input=changed, replaces=True),
    Case("the photo grew", None, input=longer, replaces=True),
    Case("the photo was changed, the output edited", EDITED, output=changed, input=changed),
    Case("the same, its time kept", EDITED, output=with_its_time_kept, input=changed),
    Case("the photo was changed, the output deleted", None, output=gone, input=changed),
    Case("the photo is gone", None, input=gone, replaces=True),  # its failure will tell
    Case("another model", STALE.format("model default 1"), {"making": OTHER_MODEL}),
    Case("another model, all stale", None, {"making": OTHER_MODEL}, policy=STALE_POLICY, replaces=True),
    Case("other settings", STALE.format("other settings"), {"making": OTHER_SETTINGS}),
    Case("other settings, all stale", None, {"making": OTHER_SETTINGS}, policy=STALE_POLICY, replaces=True),
    Case("the same, all stale", DONE, policy=STALE_POLICY),
    Case("stale and edited", EDITED, {"making": OTHER_MODEL}, output=changed, policy=STALE_POLICY),
    Case("stale and edited, its time kept", EDITED, {"making": OTHER_MODEL}, with_its_time_kept, policy=STALE_POLICY),
    Case("stale and deleted", None, {"making": OTHER_MODEL}, output=gone),
    Case("overwrite", None, policy=ANEW),
    Case("overwrite what was edited", None, output=changed, policy=ANEW),
    Case("failed for good", BEFORE, FAILED | {"lasting": True}, output=gone),
    Case("failed for good, try again", None, FAILED | {"lasting": True}, output=gone, policy=RETRY),
    Case("failed for good, all anew", None, FAILED | {"lasting": True}, output=gone, policy=ANEW),
    Case("failed for good, the photo was changed", None, FAILED | {"lasting": True}, output=gone, input=changed),
    Case("failed for good, the photo was touched", BEFORE, FAILED | {"lasting": True}, output=gone, input=touched),
    Case("failed for good, with another model", None, FAILED | {"lasting": True, "making": OTHER_MODEL}, output=gone),
    Case("failed for good, other settings", None, FAILED | {"lasting": True, "making": OTHER_SETTINGS}, output=gone),
    Case("failed in passing", None, FAILED, output=gone),
    Case("failed where a stranger's file lies", None, FAILED | {"lasting": True}),  # its label will tell
    Case("failed for good, an earlier output there", BEFORE, EARLIER),
    Case("failed in passing, an earlier output there", None, {"state": "failed"}, replaces=True),
    Case("in colour", COLOUR, LEFT, gone),
    Case("in colour, now copied", None, LEFT, gone, policy=COPY),
    Case("in colour, now colorized", None, LEFT, gone, policy=RECOLOR),
    Case("in colour, changed", None, LEFT, gone, changed),
    Case("copied", DONE, {"making": UNMADE, "reason": COPIED}, policy=COPY),
    Case("copied, all stale", DONE, {"making": UNMADE}, policy=replace(COPY, redo_stale=True)),
    Case("copied, no longer", DONE, {"making": UNMADE}),
    Case("copied, now colorized", COPIED_BEFORE, {"making": UNMADE}, policy=RECOLOR),
    Case("copied, now colorized, all stale", None, {"making": UNMADE}, policy=replace(RECOLOR, redo_stale=True),
         replaces=True),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, place: Place) -> None:
    place.note(**case.known)
    case.output(place.output)
    case.input(place.job.source)
    verdict = place.judged(case.policy, case.made)
    if case.expected is None:
        assert isinstance(verdict, Job)
        assert verdict.replace == (place.output if case.replaces else None)
        assert replace(verdict, replace=None, replaced=(-1, 0), changed=False) == place.job
    else:
        assert isinstance(verdict, Outcome)
        assert verdict.reason == case.expected
        assert verdict.state == ("failed" if case.expected == BEFORE else "skipped")
        assert verdict.unexpected == (case.expected in (EDITED, TAKEN_OVER)), "what needs a line of its own"
        assert verdict.left_alone == ("in color" if case.known.get("state") == "skipped" else None)


def test_no_record_is_work_and_replaces_nothing(place: Place) -> None:
    for policy in (Policy(), STALE_POLICY, RETRY, ANEW):
        assert place.judged(policy) == place.job


def test_a_touched_file_is_hashed_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.note()
    for path in (place.output, place.job.source):
        touched(path)
    read: list[Path] = []

    def counted(path: Path, read_: bool = False, **named: bool) -> object:
        if read_ or named.get("read"):
            read.append(path)
        return fingerprint(path, read_ or named.get("read", False))

    monkeypatch.setattr("bwcolor.batch.skip_policy.fingerprint", counted)
    for _ in range(3):
        verdict = place.judged()
        assert isinstance(verdict, Outcome)
        assert verdict.reason == DONE
    assert sorted(read) == sorted([place.output, place.job.source]), "each once, in three runs"
    known = place.ledger.find(place.output)
    assert known is not None
    assert (known.input, known.output) == (fingerprint(place.job.source, True), fingerprint(place.output, True))


def test_a_dry_run_may_judge_what_was_touched(place: Place) -> None:
    place.note()
    touched(place.output)
    peeked = Ledger.peek(place.ledger.out)
    assert peeked is not None
    with peeked:
        verdict = judged(place.job, peeked, NOW, Policy())
    assert isinstance(verdict, Outcome)
    assert verdict.reason == DONE
    known = place.ledger.find(place.output)
    assert known is not None
    assert known.output != fingerprint(place.output, read=True), "and writes nothing"


def test_a_photo_that_was_moved_is_known_by_its_bytes(place: Place, tmp_path: Path) -> None:
    place.note()
    moved = place.moved(tmp_path / "moved")
    verdict = moved.judged()
    assert isinstance(verdict, Outcome)
    assert verdict.reason == DONE
    record = place.ledger.find(place.output)
    assert record is not None
    assert record.root / record.source == moved.job.source
    changed(moved.job.source)
    verdict = moved.judged()
    assert isinstance(verdict, Job)
    assert (verdict.replace, verdict.changed) == (place.output, True)


@pytest.mark.parametrize("same_size_and_time", [False, True])
def test_another_photo_whose_output_would_have_this_name(
    same_size_and_time: bool, place: Place, tmp_path: Path
) -> None:
    record = place.note()
    other = place.moved(tmp_path / "others")
    changed(other.job.source)
    if same_size_and_time:
        os.utime(other.job.source, ns=(record.input.mtime_ns, record.input.mtime_ns))
        assert fingerprint(other.job.source) == replace(record.input, sha256="")
    for policy in (Policy(), STALE_POLICY, RETRY):
        verdict = other.judged(policy)
        assert isinstance(verdict, Outcome)
        assert (verdict.state, verdict.lasting) == ("failed", False)
        assert verdict.reason == OTHER_PHOTO.format(place.job.source)
    place.output.unlink()
    assert isinstance(other.judged(), Job)


def test_a_copy_under_another_name_is_looked_for_there(place: Place) -> None:
    copy = place.output.with_name("a.gif")
    place.output.rename(copy)
    place.note(path=copy, output=fingerprint(copy, read=True), making=UNMADE)
    verdict = place.judged()
    assert isinstance(verdict, Outcome)
    assert (verdict.reason, verdict.path) == (DONE, copy)
    changed(place.job.source)
    verdict = place.judged()
    assert isinstance(verdict, Job)
    assert verdict.replace == copy, "and what takes its place is named, not what lies under the target"


# Whatever happens to the files between two runs, under whatever choices.

HAPPENINGS = st.sampled_from([untouched, touched, changed, longer, with_its_time_kept, gone, a_link, a_folder])
POLICIES = st.builds(
    Policy, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["skip", "copy", "recolor"]), st.none()
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    known=st.fixed_dictionaries({
        "state": st.sampled_from(["done", "skipped", "failed"]), "lasting": st.booleans(),
        "making": st.sampled_from([NOW, OTHER_MODEL, OTHER_SETTINGS, UNMADE]),
    }),
    has_output=st.booleans(), to_output=HAPPENINGS,
    to_input=st.sampled_from([untouched, touched, changed, longer, gone]),
    policy=POLICIES, same_root=st.booleans(), same_model=st.booleans(),
)  # fmt: skip
def test_only_our_own_bytes_are_ever_replaced(
    known: dict[str, object], has_output: bool, to_output: Callable[[Path], None],
    to_input: Callable[[Path], None], policy: Policy, same_root: bool, same_model: bool,
) -> None:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for place in made(Path(folder)):
            record = place.note(**known, **({} if has_output else {"output": NO_FILE}))
            to_output(place.output)
            to_input(place.job.source)
            known_before = {fingerprint(place.job.source, read=True).sha256, record.input.sha256}
            place = place if same_root else place.moved(Path(folder, "others"))
            verdict = place.judged(policy, NOW if same_model else OTHER_MODEL)
            if not same_root and len(known_before) > 1 and isinstance(verdict, Job):
                assert verdict.replace is None, "another photo's output"
            if isinstance(verdict, Job) and verdict.replace is not None:
                assert not policy.overwrite
                assert not verdict.replace.is_symlink()
                assert fingerprint(verdict.replace, read=True).sha256 == record.output.sha256 != ""
            if isinstance(verdict, Outcome):
                assert not policy.overwrite
                assert verdict.state != "done"
                assert verdict.reason or known["state"] == "skipped"


# What a run leaves for the next one.


def ended(place: Place, **changes: object) -> Record | None:
    outcome = Outcome(
        place.job, "done", path=place.output, input=fingerprint(place.job.source, read=True),
        output=fingerprint(place.output, read=True), made_by=NOW,
    )  # fmt: skip
    return recorded(replace(outcome, **changes), place.ledger, NOW)  # type: ignore[arg-type]


def test_what_is_kept_of_each_end(place: Place) -> None:
    done = ended(place)
    assert done is not None
    assert (done.state, done.making, done.target, done.path) == ("done", NOW, place.output, place.output)
    assert done.output == fingerprint(place.output, read=True)
    adopted = ended(place, state="skipped", reason=ADOPTED, adopted=True)
    assert adopted is not None
    assert adopted.state == "done", "the next run need not look into it again"
    copied = ended(place, notes=(COPIED,), made_by=None)
    assert copied is not None
    assert copied.making == UNMADE
    assert ended(place, state="skipped", reason=EXISTS, output=NO_FILE) is None
    left = ended(place, state="skipped", reason="whatever its words", left_alone="in color", output=NO_FILE)
    assert left is not None
    assert left.state == "skipped", "the next run need not look into it again"


def test_a_failure_leaves_the_earlier_output_ours(place: Place) -> None:
    copy = place.output.with_name("a.gif")
    copy.write_bytes(b"copy")
    for path in (place.output, copy):
        before = place.note(path=path, output=fingerprint(path, read=True))
        for state in ({"state": "failed", "reason": "x"}, {"state": "skipped", "left_alone": "in color"}):
            known = ended(place, **state, path=None, output=NO_FILE, made_by=None)
            assert known is not None
            assert place.ledger.out / known.path == path
            assert known.output == before.output


def test_what_killed_the_worker_is_known_again(place: Place) -> None:
    """Nobody lives to say which bytes it were."""
    place.output.unlink()
    known = ended(place, state="failed", lasting=True, reason="took too long", input=NO_FILE, output=NO_FILE, path=None,
                  made_by=None)  # fmt: skip
    assert known is not None
    place.ledger.write(known)
    verdict = place.judged()
    assert isinstance(verdict, Outcome)
    assert verdict.state == "failed"
    longer(place.job.source)
    assert isinstance(place.judged(), Job)


def test_settings_that_change_no_output_make_nothing_stale() -> None:
    class Model:
        sha256, label = "a" * 64, "default 2"

    same = [ColorizeOptions(overwrite=True), ColorizeOptions(jobs=3), ColorizeOptions(max_pixels=7)]
    assert {making(Model(), options) for options in same} == {NOW}
    others = [ColorizeOptions(label="none"), ColorizeOptions(chroma_quality=50), ColorizeOptions(eight_bit=True)]
    assert NOW not in {making(Model(), options) for options in others}
