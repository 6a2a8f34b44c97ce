"""Supervised warm start: scripted episodes, imitation, and the recipe of the tiny start policy."""
