"""Evaluation of policies and baselines: targets, answerers, scores, storage; and single questions, live."""
