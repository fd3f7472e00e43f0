"""The port `RebuildJobs`: the table `jobs`, one partition for each rebuild.

rebuild#VERSION / meta       not_before, segments
rebuild#VERSION / seg#NNNN   the object that holds the segment's positions, and how many identifiers gave them
"""

import functools

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import PutError
from pynamodb.models import Model

from chalicelib.services.provider.state import RebuildJob, StoredObject
from chalicelib.storage import clients
from chalicelib.storage.dynamodb import SCHEMA

JOBS = "jobs"


class JobRow(Model):
    """A row of `jobs`; `model` gives it the name of its stage's table."""

    job = UnicodeAttribute(hash_key=True)
    part = UnicodeAttribute(range_key=True)
    not_before = NumberAttribute(null=True)
    segments = NumberAttribute(null=True)
    segment = NumberAttribute(null=True)
    keys = NumberAttribute(null=True)
    object_name = UnicodeAttribute(null=True)
    object_size = NumberAttribute(null=True)
    object_sha256 = UnicodeAttribute(null=True)
    schema = NumberAttribute(default=SCHEMA)


@functools.cache
def model(stage: str) -> type[JobRow]:
    """Return the row class of one stage: pynamodb ties a class to a table."""

    class Staged(JobRow):
        class Meta:
            table_name = f"glados-{stage}-{JOBS}"
            connect_timeout_seconds = clients.CONNECT_SECONDS
            read_timeout_seconds = clients.READ_SECONDS

    return Staged


class AwsRebuildJobs:
    """Rebuilds of one stage's filter."""

    def __init__(self, stage: str) -> None:
        self.rows = model(stage)

    def load(self, version: int) -> RebuildJob | None:
        """Return how far the rebuild of a version has come, as it is now."""
        meta: JobRow | None = None
        done = []
        for row in self.rows.query(_job(version), consistent_read=True):
            if row.part == "meta":
                meta = row
            else:
                stored = StoredObject(str(row.object_name), int(row.object_size or 0), str(row.object_sha256))
                done.append((int(row.segment or 0), stored, int(row.keys or 0)))
        if meta is None:
            return None
        return RebuildJob(version, int(meta.not_before or 0), int(meta.segments or 0), tuple(sorted(done, key=_number)))

    def create(self, job: RebuildJob) -> None:
        """Begin a rebuild; one that has begun goes on as it is."""
        row = self.rows(_job(job.version), "meta", not_before=job.not_before, segments=job.segments)
        try:
            row.save(condition=self.rows.job.does_not_exist())
        except PutError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise
            return
        for segment, positions, keys in job.done:
            self.finish_segment(job.version, segment, positions, keys)

    def finish_segment(self, version: int, segment: int, positions: StoredObject, keys: int) -> None:
        """Note that a segment's positions stand in an object."""
        self.rows(
            _job(version),
            f"seg#{segment:04d}",
            segment=segment,
            keys=keys,
            object_name=positions.name,
            object_size=positions.size,
            object_sha256=positions.sha256,
        ).save()

    def delete(self, version: int) -> None:
        """Remove a rebuild, its description first, so that what is left of a crash names no job."""
        rows = list(self.rows.query(_job(version), consistent_read=True))
        for row in rows:
            row.delete()


def _job(version: int) -> str:
    return f"rebuild#{version}"


def _number(entry: tuple[int, StoredObject, int]) -> int:
    return entry[0]
