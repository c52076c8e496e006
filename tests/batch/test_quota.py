"""A limit on photos that are worked on, whatever becomes of each."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bwcolor.batch.plan import Job
from bwcolor.batch.quota import Quota


@given(
    work=st.lists(st.booleans(), max_size=30),
    limit=st.none() | st.integers(0, 40),
    at_once=st.integers(1, 5),
)
def test_as_many_photos_are_worked_on_as_the_limit_allows(work: list[bool], limit: int | None, at_once: int) -> None:
    """Each photo is work or turns out to need none; several are in work at once."""
    jobs = [Job(Path(f"/in/{number}"), Path(f"/out/{number}")) for number in range(len(work))]
    quota = Quota(jobs, limit)
    needs_work = dict(zip(jobs, work, strict=True))
    in_work: list[Job] = []
    ended: list[Job] = []
    while True:
        while len(in_work) < at_once and (job := next(quota, None)) is not None:
            in_work.append(job)
        if not in_work:
            break
        ended.append(in_work.pop(0))
        if not needs_work[ended[-1]]:
            quota.give_back()
    worked = sum(needs_work[job] for job in ended)
    assert ended == jobs[: len(ended)], "in their order, each once"
    assert worked == min(sum(work), len(work) if limit is None else limit)
    assert quota.left == len(jobs) - len(ended)
    assert not quota.left or worked == limit
