"""The error that ends a report with one line."""


class ReportError(Exception):
    """A report that cannot be made, in one line that says what to do."""
