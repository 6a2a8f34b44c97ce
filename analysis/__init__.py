"""From journals to claims: loading, statistics, one module a question. Imports nothing heavy here."""
