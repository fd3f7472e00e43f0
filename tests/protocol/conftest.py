"""How properties are tried here: the same examples in every run, and no deadline on a busy machine."""

import hypothesis

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")
