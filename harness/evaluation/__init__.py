"""Evaluating and asking: what a target is, who answers, what the answers say, where they are kept."""
