"""Examples have no deadline: test machines are shared, and what must be bounded is bounded in steps."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
