"""`RebuildJobs`: how far a rebuild has come; every step can be repeated."""

from functools import partial

from chalicelib.services.provider.state import RebuildJob
from tests.contracts.examples import NOW
from tests.contracts.filters import stored_object
from tests.contracts.ports import Ports
from tests.contracts.races import race, winners

JOB = RebuildJob(version=2, not_before=NOW, segments=4)


def stored(ports: Ports) -> RebuildJob:
    found = ports.rebuild_jobs.load(2)
    assert found is not None
    return found


def test_a_job_is_read_as_it_was_created(ports: Ports) -> None:
    assert ports.rebuild_jobs.load(2) is None
    ports.rebuild_jobs.create(JOB)
    assert stored(ports) == JOB
    assert ports.rebuild_jobs.load(1) is None


def test_an_existing_job_is_left_alone(ports: Ports) -> None:
    ports.rebuild_jobs.create(JOB)
    ports.rebuild_jobs.finish_segment(2, 0, stored_object("0"), 7)
    ports.rebuild_jobs.create(RebuildJob(version=2, not_before=NOW + 1, segments=8))
    assert (stored(ports).segments, stored(ports).not_before) == (4, NOW)
    assert stored(ports).done == ((0, stored_object("0"), 7),)


def test_a_segment_that_is_finished_again_is_done_once(ports: Ports) -> None:
    ports.rebuild_jobs.create(JOB)
    ports.lose_reply("rebuild_jobs", "finish_segment")
    race(partial(ports.rebuild_jobs.finish_segment, 2, 3, stored_object("3"), 7))
    ports.rebuild_jobs.finish_segment(2, 3, stored_object("3"), 7)
    assert stored(ports).done == ((3, stored_object("3"), 7),)


def test_segments_that_are_finished_at_once_are_all_done(ports: Ports) -> None:
    ports.rebuild_jobs.create(JOB)
    finish = ports.rebuild_jobs.finish_segment
    outcomes = race(*(partial(finish, 2, segment, stored_object(str(segment)), segment) for segment in range(4)))
    assert winners(outcomes, AssertionError) == 4
    assert sorted(stored(ports).done, key=lambda done: done[0]) == [
        (segment, stored_object(str(segment)), segment) for segment in range(4)
    ]


def test_a_late_worker_brings_no_deleted_job_back(ports: Ports) -> None:
    ports.rebuild_jobs.create(JOB)
    for _ in range(2):
        ports.rebuild_jobs.delete(2)
    race(partial(ports.rebuild_jobs.finish_segment, 2, 0, stored_object("0"), 7))
    assert ports.rebuild_jobs.load(2) is None
