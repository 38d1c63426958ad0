"""Says a failure at once, and in the last lines what was skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import pytest


class Failures:
    """Names each failed test as soon as it has failed; its details come at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = crash.message.splitlines()[0] if crash and crash.message else report.when
            reporter.ensure_newline()
            reporter.write_line(f"FAILED {report.nodeid}: {said}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Speak in the process that a person sees, and not in those that run its tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Failures(config))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    yield
    terminalreporter.section("skipped", sep="-")
    for line in skipped(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


def skipped(reports: list[pytest.TestReport]) -> list[str]:
    """One line for each reason, with how many tests it kept from running, and where they are."""
    if not reports:
        return ["No test was skipped."]
    counts: Counter[tuple[str, str]] = Counter()
    for report in reports:
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        counts[report.nodeid.partition("::")[0], told.removeprefix("Skipped: ")] += 1
    return [f"{n} of {file}: {reason}" for (file, reason), n in sorted(counts.items())]
