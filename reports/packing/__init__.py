"""Results of finished studies as small committed data, one folder a study, from which FINDINGS.md is generated.

    provenance.json     command, hashes of configuration and plan, version of the code, kind of machine, arms
    sweep.yaml          the sweep as it ran, without places
    trials.csv          one row a trial, excluded ones too (`analysis.frames`)
    metrics.parquet     every evaluation metric and the training traces that an analysis reads
    questions.parquet   the last greedy evaluation, one row a question and trial, without texts
    tables/NAME.csv     the report's tables of what only whole episodes show: parsing, self-correction, prompts
    report.html         the report page

`python -m reports.packing runs/NAME` writes such a folder, `read_study` reads it.
"""
