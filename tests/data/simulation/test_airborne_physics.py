"""The simulated survey obeys the geometry: what is hit lies on a surface, what is hidden is not hit."""

from dataclasses import replace

import numpy as np
import pytest

from gridless.data.simulation.objects import BUILDING, HIGH_VEGETATION, WIRE, broadleaf, building, conductor
from gridless.data.simulation.scanner import GROUND, ScannerSettings, fly, scan
from gridless.data.simulation.shapes import (
    Cylinder,
    Foliage,
    Mesh,
    box_polygons,
    polygons_to_triangles,
)
from gridless.data.simulation.terrain import Terrain, random_terrain

SIZE = (24.0, 24.0)
BASE = 100.0
FLAT = Terrain(BASE, np.zeros(2), np.zeros((0, 4)))
EXACT = ScannerSettings(range_noise=0.0, pointing_noise=0.0)
THIN = replace(EXACT, divergence=0.0, rays_per_pulse=1)


def survey(shapes=(), terrain=FLAT, settings=EXACT, density=8.0, seed=0):
    rng = np.random.default_rng(seed)
    return scan(terrain, list(shapes), fly(SIZE, BASE, density, settings, rng), settings, rng)


def box(lower, upper, label=BUILDING):
    return Mesh(polygons_to_triangles(box_polygons(lower, upper)), label, 0.5)


def test_rays_meet_rolling_terrain_exactly():
    terrain = random_terrain(np.random.default_rng(4), SIZE, BASE)
    cloud = survey(terrain=terrain, settings=THIN)
    x, y, z = cloud.positions.T
    np.testing.assert_allclose(z, terrain.height(x, y), rtol=0, atol=1e-6)
    assert np.ptp(z) > 0.3
    assert (cloud["number_of_returns"] == 1).all()


def test_terrain_hit_is_the_first_crossing():
    terrain = random_terrain(np.random.default_rng(2), SIZE, BASE)
    rng = np.random.default_rng(0)
    pulses = fly(SIZE, BASE, 2.0, THIN, rng)
    hits = terrain.intersect(pulses.origins, pulses.directions)
    for share in np.linspace(0.98, 0.99999, 40):
        x, y, z = (pulses.origins + share * hits.distance[:, None] * pulses.directions).T
        assert (z > terrain.height(x, y)).all()


def test_bare_ground_gives_one_return_and_a_tree_several():
    assert survey()["number_of_returns"].max() == 1
    cloud = survey(broadleaf((12.0, 12.0, BASE), 12.0, 3.5, np.random.default_rng(1)))
    crown = cloud["classification"] == HIGH_VEGETATION
    assert cloud["number_of_returns"][crown].max() >= 3
    below = (cloud["classification"] == GROUND) & (cloud["return_number"] > 1)
    assert below.sum() > 20  # light comes through the crown
    assert np.hypot(*(cloud.positions[below, :2] - 12.0).T).max() < 8.0


def test_wall_hides_the_ground_behind_it():
    settings = replace(THIN, overlap=0.0)
    rng = np.random.default_rng(0)
    pulses = fly(SIZE, BASE, 20.0, settings, rng)
    x = pulses.origins[:, 0]
    one_side = pulses.strip == pulses.strip[np.argmax(np.abs(x - 12.0))]
    assert np.unique(x[one_side]).size == 1
    pulses = type(pulses)(*(getattr(pulses, name)[one_side] for name in pulses.__dataclass_fields__))
    # Bring the aircraft 200 m to the west of the scene, so that the shadow falls to the east.
    angle = np.arctan((pulses.origins[:, 0] * 0 + rng.uniform(0, 24, one_side.sum()) + 200.0) / 700.0)
    origins = np.column_stack([np.full(len(angle), -200.0), pulses.origins[:, 1], np.full(len(angle), BASE + 700)])
    directions = np.column_stack([np.sin(angle), np.zeros(len(angle)), -np.cos(angle)])
    pulses = replace(pulses, origins=origins, directions=directions)
    cloud = scan(FLAT, [box((8, 2, BASE - 1), (10, 22, BASE + 10))], pulses, settings, rng)
    shadow_end = 10.0 + 10.0 * 210.0 / 690.0
    px, py, _ = cloud.positions[cloud["classification"] == GROUND].T
    beside = (py > 2) & (py < 22)
    assert not (beside & (px > 8.0) & (px < shadow_end - 0.01)).any()
    assert (beside & (px > shadow_end) & (px < shadow_end + 0.5)).any()
    assert (beside & (px > 7.5) & (px < 8.0)).any()  # the lit side has no shadow
    walls = cloud.positions[(cloud["classification"] == BUILDING) & (cloud.positions[:, 2] < BASE + 9.9)]
    assert len(walls) > 20
    np.testing.assert_allclose(walls[(walls[:, 1] > 2.01) & (walls[:, 1] < 21.99), 0], 8.0, atol=1e-6)


@pytest.mark.parametrize("roof", ["flat", "gable", "hip"])
def test_nothing_is_seen_under_a_roof(roof):
    shapes = building((12.0, 12.0, BASE), 12.0, 8.0, 5.0, roof, 0.0, np.random.default_rng(3))
    cloud = survey(shapes, density=20.0, settings=THIN)
    inside = (np.abs(cloud.positions[:, 0] - 12) < 5.99) & (np.abs(cloud.positions[:, 1] - 12) < 3.99)
    assert inside.sum() > 500
    assert (cloud["classification"][inside] == BUILDING).all()
    assert cloud.positions[inside, 2].min() > BASE + 4.5


def test_gable_roof_points_lie_on_two_planes():
    shapes = building((12.0, 12.0, BASE), 12.0, 8.0, 5.0, "gable", 0.0, np.random.default_rng(3))
    pitch = np.random.default_rng(3).uniform(0.5, 0.9)
    settings = replace(THIN, range_noise=0.02)
    cloud = survey(shapes[:2], density=20.0, settings=settings)
    roof = (cloud["classification"] == BUILDING) & (cloud.positions[:, 2] > BASE + 5.1)
    _, y, z = cloud.positions[roof].T
    residual = z - (BASE + 5.0 + pitch * (4.0 - np.abs(y - 12.0)))
    assert len(residual) > 500
    assert np.abs(residual).max() < 0.12
    assert residual.std() == pytest.approx(0.02, rel=0.2)


def test_wire_echoes_lie_on_the_catenary_and_leave_light_for_the_ground():
    wires = conductor((2.0, 12.0, BASE + 10), (22.0, 12.0, BASE + 10), sag=0.5)
    cloud = survey(wires, density=30.0)
    wire = cloud["classification"] == WIRE
    x, y, z = cloud.positions[wire].T
    assert wire.sum() > 40
    assert np.abs(y - 12.0).max() < 0.35  # within the beam's footprint
    assert ((z > BASE + 9.4) & (z < BASE + 10.1)).all()
    assert z[np.abs(x - 12) < 2].mean() < z[np.abs(x - 12) > 8].mean() - 0.25
    assert (cloud["number_of_returns"][wire] >= 2).mean() > 0.8


def test_range_noise_has_the_asked_spread():
    cloud = survey(settings=replace(THIN, range_noise=0.05), density=15.0)
    cosine = np.cos(np.radians(0.006 * cloud["scan_angle"]))
    error = (cloud.positions[:, 2] - BASE) / cosine
    assert len(error) > 5000
    assert abs(error.mean()) < 4 * 0.05 / np.sqrt(len(error))
    assert error.std() == pytest.approx(0.05, rel=0.05)


def test_brightness_falls_with_the_square_of_the_range():
    near = survey(settings=THIN)
    rng = np.random.default_rng(0)
    pulses = fly(SIZE, BASE, 8.0, THIN, rng)
    far = scan(FLAT, [], replace(pulses, origins=pulses.origins - 700 * pulses.directions), THIN, rng)
    ratio = far["intensity"].mean() / near["intensity"].mean()
    assert 0.2 < ratio < 0.3


def test_foliage_lets_through_what_beer_and_lambert_say():
    crown = Foliage(np.array([0.0, 0.0, 5.0]), np.array([2.0, 2.0, 2.0]), 0.4, HIGH_VEGETATION, 0.5)
    origins = np.tile([0.0, 0.0, 100.0], (20_000, 1))
    directions = np.tile([0.0, 0.0, -1.0], (20_000, 1))
    hits = crown.intersect(origins, directions, np.random.default_rng(0))
    missed = ~np.isfinite(hits.distance)
    assert missed.mean() == pytest.approx(np.exp(-0.4 * 4.0), abs=0.012)
    assert hits.distance[~missed].min() >= 93.0
    assert hits.distance[~missed].max() <= 97.0


def test_cylinder_and_mesh_hits_are_on_their_surfaces():
    rng = np.random.default_rng(0)
    origins = np.column_stack([rng.uniform(-2, 2, 500), rng.uniform(-2, 2, 500), np.full(500, 50.0)])
    directions = np.column_stack([rng.normal(0, 0.02, (500, 2)), -np.ones(500)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    bar = Cylinder(np.array([-1.0, 0.0, 3.0]), np.array([1.0, 0.0, 3.0]), 0.5, WIRE, 0.5)
    hits = bar.intersect(origins, directions, rng)
    hit = np.isfinite(hits.distance)
    x, y, z = (origins[hit] + hits.distance[hit, None] * directions[hit]).T
    assert hit.sum() > 30
    np.testing.assert_allclose(np.hypot(y, z - 3.0), 0.5, atol=1e-9)
    assert np.abs(x).max() <= 1.0
    assert (z >= 3.0 - 1e-6).mean() > 0.9  # the near side, not the far one
    top = box((-1, -1, 0), (1, 1, 2)).intersect(origins, np.tile([0.0, 0.0, -1.0], (500, 1)), rng)
    expected = np.where((np.abs(origins[:, :2]) < 1).all(axis=1), 48.0, np.inf)
    np.testing.assert_allclose(top.distance, expected)


def test_echoes_of_a_pulse_come_in_order_of_range():
    cloud = survey(broadleaf((12.0, 12.0, BASE), 14.0, 4.0, np.random.default_rng(1)))
    same = np.diff(cloud["gps_time"]) == 0
    assert same.sum() > 100
    assert (np.diff(cloud.positions[:, 2])[same] < 0).all()
    assert (np.diff(cloud["return_number"].astype(int))[same] == 1).all()


@pytest.mark.parametrize(
    "wrong", [{"altitude": 0.0}, {"half_angle": 80.0}, {"overlap": 1.0}, {"rays_per_pulse": 0}, {"range_noise": -1.0}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScannerSettings(**wrong)
