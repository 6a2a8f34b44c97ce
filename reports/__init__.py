"""Figures, tables and pages made from the analysis. Same input, same bytes."""
