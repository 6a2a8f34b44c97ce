"""Baselines with fixed workflows, which a policy that builds its workflow turn by turn has to beat."""
