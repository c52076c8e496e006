"""Outputs of earlier runs that a change of --format leaves beside the new ones."""

from collections.abc import Iterator
from pathlib import Path

from bwcolor.batch.ledger import NO_FILE, Ledger, Record, fingerprint
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.skip_policy import root_of
from bwcolor.photo.formats.known import WRITABLE

NAMED = 3  # outputs that are named in a sentence


class OtherFormats:
    """What became of earlier outputs whose photos now have one of another format.

    replace: whether they are removed once the new output is there, as long as nobody has changed them.
    """

    def __init__(self, replace: bool) -> None:
        self._replace = replace
        self._kept: list[Path] = []
        self._changed: list[Path] = []
        self._replaced = 0

    def settle(self, outcome: Outcome, ledger: Ledger | None) -> list[Path]:
        """Looks for earlier outputs of a photo that was just made, and removes them where that is wanted.

        Returns those that it removed.
        """
        removed: list[Path] = []
        if ledger is None or outcome.state != "done":
            return removed
        for record in _of_other_formats(outcome, ledger):
            path = ledger.out / record.path
            if not self._replace:
                self._kept.append(record.path)
            elif fingerprint(path, read=True).sha256 == record.output.sha256 and _removed(path):
                ledger.forget(record.target)
                removed.append(path)
            else:
                self._changed.append(record.path)
        self._replaced += len(removed)
        return removed

    def in_words(self) -> Iterator[str]:
        """What to say of them at the end of a run."""
        if self._kept:
            yield f"{_still_there(self._kept)}; --overwrite replaces such files"
        if self._replaced:
            yield f"{_count(self._replaced)} {'was' if self._replaced == 1 else 'were'} replaced"
        if self._changed:
            yield f"{_still_there(self._changed)}, modified by somebody since"


def _of_other_formats(outcome: Outcome, ledger: Ledger) -> list[Record]:
    """Records of this photo's outputs in the same folder that differ in their endings only and are there still."""
    job = outcome.job
    bare, own = _bare(job.target, job.source), job.source.suffix
    endings = (own, *WRITABLE.values(), *(own + ending for ending in WRITABLE.values()))
    names = {bare.with_name(bare.name + ending) for ending in endings} - {job.target}
    return [
        record
        for record in ledger.find_all(sorted(names))
        if (record.state, record.source, record.root) == ("done", job.name, root_of(job))
        and record.making.model  # copies of photos that are in color are no outputs of another format
        and record.output.sha256
        and fingerprint(ledger.out / record.path) != NO_FILE
    ]


def _bare(output: Path, source: Path) -> Path:
    """An output's path without its ending, nor that of its photo before it: scan.gif.png -> scan."""
    bare = output.with_suffix("")
    return bare.with_suffix("") if bare.suffix.lower() == source.suffix.lower() else bare


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:  # read-only, or open in another program
        return False
    return True


def _count(number: int) -> str:
    return "1 earlier output in another format" if number == 1 else f"{number:,} earlier outputs in other formats"


def _still_there(paths: list[Path]) -> str:
    names = ", ".join(map(str, sorted(paths)[:NAMED])) + (", ..." if len(paths) > NAMED else "")
    return f"{_count(len(paths))} {'is' if len(paths) == 1 else 'are'} still there ({names})"
