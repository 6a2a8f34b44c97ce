"""How reliably turns are parsed: synthetic turns, malformations, and the benchmark."""
