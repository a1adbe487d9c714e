"""`edge-report health`: one line for each problem of a camera or device."""

import re
from typing import BinaryIO

from edge.host.one_line import printable
from edge.report.analysis.camera_health import find_problems
from edge.report.analysis.study import Study
from edge.report.output import Output, Written, counted

_LINE = re.compile(
    rb"no problem found$|.*: .*(no sign of life for|no frame for|blank frames|a storm of|taken at night"
    rb"|no night frame since|frames? dated|with only the time|with a time that is not|outside the start and end"
    rb"|far from this camera's|with the file's time|the scene changed for good|almost no contrast"
    rb"|the disk will be full|are unreadable, last|camera's clock (went|has)|was behind when)"
)
"""A line of a former list, by what every problem says."""


def is_own(file: BinaryIO) -> bool:
    """Whether the first line is one of such a list."""
    return _LINE.match(file.readline(4096).rstrip()) is not None


def write(study: Study, output: Output) -> Written:
    """Write the list, problems that last first."""
    findings = find_problems(study)
    with output.text() as file:
        for finding in findings:
            line = f"{finding.where}: {finding.text}{' (ongoing)' if finding.lasting else ''}"
            file.write(f"{printable(line)}\n")
        if not findings:
            file.write("no problem found\n")
    return Written(counted(len(findings), "problem"), problem_found=bool(findings))
