"""A tool that we did not write reads our package and comes to our figures."""

import csv
from pathlib import Path

import pytest

from edge.commands.report import main
from edge.report.analysis.richness import richness
from edge.report.analysis.study import Study
from edge.report.read.load import load


def test_abundance_effort_and_richness_agree(made: Path, config: Path, tmp_path: Path) -> None:
    ecology = pytest.importorskip("camtraptools.ecology")
    package = tmp_path / "dp"
    assert main(["camtrap-dp", "--db", str(made), "--out", str(package), "--config", str(config)]) == 0
    summary, _, _ = ecology.run(package, tmp_path / "out")
    study = Study(load([made]))
    ours = {row.taxon.scientific_name: row for row in study.species if row.taxon.rank == "species"}
    theirs = summary[["events", "rai"]].to_dict("index")
    assert set(theirs) == {name for name, row in ours.items() if row.abundance.events}
    for name, figures in theirs.items():
        assert figures["events"] == ours[name].abundance.events
        assert figures["rai"] == pytest.approx(ours[name].abundance.index, abs=0.006)
    found = richness(study.events, study.efforts, study.species_codes)
    estimate = summary.attrs["richness"]
    assert estimate["cameraDays"] == study.trap_nights
    assert estimate["observedSpecies"] == found.observed
    assert estimate["estimatedSpecies"] == pytest.approx(found.chao2, abs=0.06)
    with (tmp_path / "out" / "effort.csv").open(encoding="utf-8") as file:
        nights = {row["site"]: sum(int(v) for k, v in row.items() if k != "site") for row in csv.DictReader(file)}
    assert nights == {d.name: e.trap_nights for d, e in zip(study.survey.deployments, study.efforts, strict=True)}
