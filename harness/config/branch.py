"""Settings of `branch:`: arms that continue from one trunk a seed, trained once."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from harness.config.schema import Section
from harness.types import Count


class Branch(Section):
    """A trunk of `after` steps is trained once a seed; every arm continues from its weights, optimizer and streams."""

    after: Count
    """Steps of the trunk. An arm's own steps, its curve and its area begin there."""
    arm: Annotated[dict[str, Any], Field(min_length=1)]
    """Swept settings of the arm that trains the trunk, as {name: value}, as many as identify it."""
