"""The code interface: one small program a turn, interpreted without Python's own evaluator."""
