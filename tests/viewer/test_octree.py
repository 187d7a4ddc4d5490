"""The octree without a browser: what it holds, and what a camera gets."""

import numpy as np
import pytest

from gridless.viewer.octree import Camera, Octree


@pytest.fixture(scope="module")
def positions():
    rng = np.random.default_rng(0)
    flat = np.column_stack([rng.uniform(0, 100, (60_000, 2)), rng.normal(0, 0.3, 60_000)])
    dense = rng.normal([20, 30, 5], 1, (20_000, 3))
    return np.concatenate([flat, dense]).astype(np.float32)


@pytest.fixture(scope="module")
def tree(positions):
    return Octree.build(positions, capacity=1000)


def looking_down(x, y, height, fov=1.0):
    rotation = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])  # right = +x, down = −y, forward = −z
    return Camera(np.array([x, y, height], float), rotation, fov, 800, 600)


def points_in(tree, nodes):
    return np.concatenate([tree.points_of(node) for node in nodes])


def test_every_point_is_in_one_node_inside_its_cube_and_its_parent(tree, positions):
    assert np.array_equal(np.sort(tree.order), np.arange(len(positions)))
    assert np.diff(tree.starts).max() <= 1000
    for node in range(len(tree)):
        half = tree.radii[node] / np.sqrt(3)
        far = np.abs(positions[tree.points_of(node)] - tree.centers[node]).max()
        assert far <= half * (1 + 1e-5)
        parent = tree.parents[node]
        assert np.abs(tree.centers[node] - tree.centers[parent]).max() <= tree.radii[parent] / np.sqrt(3)
        assert tree.levels[node] == (tree.levels[parent] + 1 if node else 0)


def test_a_nodes_sample_is_even_over_its_cube(tree, positions):
    root = positions[tree.points_of(0)]
    counts, *_ = np.histogram2d(root[:, 0], root[:, 1], bins=4, range=[[0, 100], [0, 100]])
    expected, *_ = np.histogram2d(positions[:, 0], positions[:, 1], bins=4, range=[[0, 100], [0, 100]])
    np.testing.assert_allclose(counts / counts.sum(), expected / expected.sum(), atol=0.01)


@pytest.mark.parametrize("budget", [999, 1000, 5000, 20_000, 10**6])
def test_the_budget_holds_and_no_node_comes_without_its_ancestors(tree, budget):
    nodes = tree.nodes_for(looking_down(50, 50, 60), budget)
    assert len(points_in(tree, nodes) if len(nodes) else []) <= budget
    seen = set()
    for node in nodes:
        assert node == 0 or tree.parents[node] in seen
        seen.add(node)
    assert (len(nodes) > 0) == (budget >= 1000)


def test_a_close_camera_gets_every_point_that_it_sees(tree, positions):
    camera = looking_down(20, 30, 12)
    chosen = points_in(tree, tree.nodes_for(camera, 10**6, smallest=0))
    local = (positions - camera.position) @ camera.rotation
    ahead = local[:, 2] > 0
    slope = np.tan(camera.fov / 2)
    inside = ahead & (np.abs(local[:, 1]) < slope * local[:, 2]) & (np.abs(local[:, 0]) < slope * 4 / 3 * local[:, 2])
    assert inside.sum() > 1000
    assert set(np.flatnonzero(inside)) <= set(chosen)
    assert len(chosen) < len(positions)


def test_coming_closer_shows_more_of_the_place_looked_at(tree, positions):
    def shown(height):
        chosen = positions[points_in(tree, tree.nodes_for(looking_down(80, 80, height), 10_000))]
        return (np.abs(chosen[:, :2] - 80) < 3).all(axis=1).sum()

    assert shown(8) > 2 * shown(100)


def test_from_far_away_the_root_is_enough_and_nothing_is_behind(tree):
    assert tree.nodes_for(looking_down(50, 50, 1e5), 10**6).tolist() == [0]
    assert tree.nodes_for(looking_down(50, 50, -1e3), 10**6).tolist() == []


def test_empty_single_and_equal_points():
    assert len(Octree.build(np.zeros((0, 3), np.float32))) == 0
    assert Octree.build(np.zeros((0, 3), np.float32)).nodes_for(looking_down(0, 0, 1), 10).tolist() == []
    assert Octree.build(np.ones((1, 3), np.float32)).points_of(0).tolist() == [0]
    same = Octree.build(np.ones((5000, 3), np.float32), capacity=100)
    assert np.array_equal(np.sort(same.order), np.arange(5000))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        Octree.build(np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match="finite"):
        Octree.build(np.full((4, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match="capacity"):
        Octree.build(np.zeros((4, 3), np.float32), capacity=0)
