"""`python -m reports.findings`: FINDINGS.md, its pictures and the README's result, from reports/results alone."""

from __future__ import annotations

from reports.findings.page import HERE, PAGE, regenerate


def main() -> None:
    page = regenerate()
    print(f"{(HERE / PAGE).name} with {len(page.pictures)} pictures, and the README's result")


if __name__ == "__main__":
    main()
