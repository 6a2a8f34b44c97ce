"""The environment of an episode: rollout, interfaces, prompts, injected faults and their diagnosis."""
