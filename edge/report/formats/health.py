"""`edge-report health`: one line for each problem of a camera or device."""

from edge.report.analysis.camera_health import find_problems
from edge.report.analysis.study import Study
from edge.report.output import Output, Written, counted


def write(study: Study, output: Output) -> Written:
    """Write the list, problems that last first."""
    findings = find_problems(study)
    with output.text() as file:
        for finding in findings:
            file.write(f"{finding.where}: {finding.text}{' (ongoing)' if finding.lasting else ''}\n")
        if not findings:
            file.write("no problem found\n")
    return Written(counted(len(findings), "problem"), problem_found=bool(findings))
