"""`python -m reports.findings`: write reports/FINDINGS.md and its pictures again from reports/results alone."""

from __future__ import annotations

from reports.findings.page import HERE, PAGE, regenerate


def main() -> None:
    page = regenerate()
    print(f"{(HERE / PAGE).name} and {len(page.pictures)} pictures")


if __name__ == "__main__":
    main()
