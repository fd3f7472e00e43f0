"""What the delivery service's wire refuses besides bytes that are not what their format says."""

from chalicelib.errors import Refusal


class CannotOpen(Refusal):
    """Something sealed does not open: another key, label, context, or content. Which of them cannot be told."""

    def __init__(self) -> None:
        super().__init__("something sealed does not open with the key it names")
