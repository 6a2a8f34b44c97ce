"""Protocol between policy and environment: grammars, parser, observations, scores, reward. No I/O, no model."""

from harness.protocol.alternative_grammars import GRAMMARS
from harness.protocol.grammar import Grammar, Kind, short_forms
from harness.protocol.observation import neutralise, render_observation, truncate_middle, warning_text
from harness.protocol.parse import action_start_char, parse_turn, split_call, with_failure
from harness.protocol.reward import PUBLISHED_REWARD, RewardWeights, episode_failures, episode_reward, final_answer
from harness.protocol.scoring import exact_match, f1, lenient, normalize_answer
from harness.protocol.tags import XML, XML_CODE, TagGrammar

__all__ = [
    "GRAMMARS",
    "PUBLISHED_REWARD",
    "XML",
    "XML_CODE",
    "Grammar",
    "Kind",
    "RewardWeights",
    "TagGrammar",
    "action_start_char",
    "episode_failures",
    "episode_reward",
    "exact_match",
    "f1",
    "final_answer",
    "lenient",
    "neutralise",
    "normalize_answer",
    "parse_turn",
    "render_observation",
    "short_forms",
    "split_call",
    "truncate_middle",
    "warning_text",
    "with_failure",
]
