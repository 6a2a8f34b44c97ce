"""`python -m reports.findings`: FINDINGS.md, its pictures and the README's result, from reports/results alone."""

from __future__ import annotations

from reports.findings.page import FINDINGS_FILE, REPORTS_FOLDER, regenerate


def main() -> None:
    page = regenerate()
    print(f"{(REPORTS_FOLDER / FINDINGS_FILE).name} with {len(page.pictures)} pictures, and the README's result")


if __name__ == "__main__":
    main()
