"""Files that only their owner may read: keys, endpoints, settings of a stage."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, readable by its owner alone, in one step.

    The content goes to a new file beside it, which is then renamed: a reader sees the old file or the new
    one, never half of one, and no moment exists at which the mode is wider than 0600.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(path)
    except BaseException:  # Whatever happened, also ctrl-C: the draft must not stay behind.
        draft.unlink(missing_ok=True)
        raise
