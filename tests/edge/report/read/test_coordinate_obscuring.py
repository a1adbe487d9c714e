"""Coarsened coordinates: near enough to be useful, never nearer than asked."""

import csv
from math import cos, hypot, radians
from pathlib import Path

import numpy as np
import pytest

from edge.commands.report import main
from edge.report.read.deployment import Deployment
from tests.support.database_by_hand import ByHand


@pytest.mark.parametrize("km", [1.0, 10.0, 50.0])
def test_within_the_stated_uncertainty_and_shared_by_neighbours(km: float) -> None:
    rng = np.random.default_rng(1)
    for latitude, longitude in zip(rng.uniform(-70, 70, 50), rng.uniform(-170, 170, 50), strict=True):
        there = Deployment("x", float(latitude), float(longitude)).obscured(km)
        assert there.latitude is not None
        assert there.longitude is not None
        assert there.uncertainty_m is not None
        away = hypot(
            (there.latitude - latitude) * 111.2, (there.longitude - longitude) * 111.2 * cos(radians(latitude))
        )
        assert away * 1000 <= there.uncertainty_m * 1.05
        again = Deployment("x", there.latitude, there.longitude).obscured(km)
        assert (again.latitude, again.longitude) == (there.latitude, there.longitude)


def test_only_where_the_sensitive_species_was(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for name, what in (("ridge", "lion"), ("ford", "impala")):
        database.deployment(name, latitude=-2.41234, longitude=36.91234, time_zone="UTC")
        database.frame(0, what, camera=name)
    config = tmp_path / "c.toml"
    config.write_text('[project]\nsensitive = ["Felidae"]\n')
    words = [
        "csv",
        "--db",
        str(database.path),
        "--config",
        str(config),
        "--obscure",
        "10",
        "--out",
        str(tmp_path / "t"),
    ]
    assert main(words) == 0
    with (tmp_path / "t").open() as file:
        places = {row["deployment"]: row["latitude"] for row in csv.DictReader(file)}
    assert places["ford"] == "-2.41234"
    assert places["ridge"] == "-2.383"  # the middle of a square of 10 km
