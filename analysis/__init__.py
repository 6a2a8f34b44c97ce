"""Analysis of sweeps: loading, statistics, one module a research question. Importing the package is cheap."""
