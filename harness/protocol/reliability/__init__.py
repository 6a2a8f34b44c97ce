"""Parse reliability: synthetic turns with known boundaries, malformations, and the benchmark."""
