"""Ways of answering that choose nothing as they go: what a policy that builds its workflow turn by turn must beat."""
