"""An offline world of real facts about countries, cities, currencies and languages, with seven suites of questions."""

from harness.tasks.world.relations import RELATIONS, Relation
from harness.tasks.world.world import SUITES, World, load_world

__all__ = ["RELATIONS", "SUITES", "Relation", "World", "load_world"]
