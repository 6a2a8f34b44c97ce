"""Simulated type-I error, power and coverage of every test that a report uses."""
