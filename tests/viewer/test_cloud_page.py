"""The page of a cloud: colors, classes, picking, what browsers are sent, and a picture of it."""

import shutil
import time
from functools import partial
from threading import Timer
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import MagicMock
from urllib.parse import parse_qs

import numpy as np
import pytest

pytest.importorskip("viser")

from matplotlib.image import imread

from gridless.cli import view as view_module
from gridless.cli.main import main
from gridless.cloud import PointCloud
from gridless.data import LabelMap, plain_from_settings
from gridless.io import write
from gridless.models import build_model, save_model
from gridless.viewer import screenshot
from gridless.viewer.cloud_page import CloudPage
from gridless.viewer.coloring import color_by, right_or_wrong, scale_text, ways_of_coloring
from gridless.viewer.pace import Pace
from tests.viewer.browser import browser_at, program_or_skip


class Camera(NamedTuple):
    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    up_direction: tuple[float, float, float]


def cloud_of(num_points=40_000):
    rng = np.random.default_rng(0)
    xy = rng.uniform(-50, 50, (num_points, 2))
    label = np.where(xy[:, 0] < 0, 2, 6)
    columns = {"label": label, "guess": np.where(xy[:, 1] < 40, label, 2), "intensity": rng.random(num_points)}
    return PointCloud(np.column_stack([xy, np.zeros(num_points)]) + np.array([7e5, 6.2e6, 100]), columns)


@pytest.fixture(scope="module")
def page():
    cloud = cloud_of()
    ways = {name: partial(color_by, cloud, name) for name in ways_of_coloring(cloud)}
    shown = CloudPage(cloud, ways | {"right or wrong": partial(right_or_wrong, cloud["label"], cloud["guess"])})
    yield shown
    shown.server.stop()


def test_a_point_under_the_pointer_is_picked_with_its_values(page):
    nodes = list(range(len(page.tree)))
    for row in (0, 17, 39_999):
        origin = page.points[row] + np.array([0, 0, 2.0])
        picked = page.picked(origin, np.array([0, 0, -1.0]), nodes)
        assert np.linalg.norm(page.points[picked] - page.points[row]) < 1e-3
        assert f"label: {page.cloud['label'][picked]}" in page.values_of(picked)
        assert f"y: {page.cloud.positions[picked, 1]:.3f}" in page.values_of(picked)
    assert page.picked(np.array([0, 0, 2.0]), np.array([0, 0, 1.0]), nodes) is None
    assert page.picked(np.array([0, 0, 2.0]), np.array([0, 0, -1.0]), []) is None


def test_hidden_classes_are_neither_sent_nor_picked(page):
    page.color_by("label")
    page.show_class(0, False)
    sent = np.concatenate([page.rows(node) for node in range(len(page.tree))])
    assert set(page.cloud["label"][sent]) == {6}
    page.show_class(0, True)
    assert sum(len(page.rows(node)) for node in range(len(page.tree))) == len(page.cloud)


def test_colorings_of_classes_values_and_errors(page):
    assert ways_of_coloring(page.cloud) == ["label", "height", "guess", "intensity"]
    assert [count for *_, count in color_by(page.cloud, "label").classes] == np.bincount(page.cloud["label"])[
        [2, 6]
    ].tolist()
    scale = color_by(page.cloud, "intensity").scale
    np.testing.assert_allclose(scale, (0.01, 0.99), atol=0.01)
    wrong = right_or_wrong(page.cloud["label"], page.cloud["guess"]).classes[1]
    assert wrong[2] == int((page.cloud["label"] != page.cloud["guess"]).sum())
    with pytest.raises(ValueError, match="color by 'x'"):
        color_by(page.cloud, "x")


@pytest.mark.parametrize(
    ("low", "width"), [(306_234_560.0, 736.0), (1e12, 100.0), (-9e299, 1.8e300), (1e300, 1e298), (5e-324, 1e-320)]
)
def test_values_of_any_size_take_all_colors(low, width):
    values = low + np.linspace(0, 1, 5000) * width
    shown = color_by(PointCloud(np.zeros((5000, 3)), {"value": np.append(values[:-1], np.nan)}), "value")
    assert len(np.unique(shown.colors, axis=0)) > 250
    assert shown.scale == pytest.approx((values[50], values[-51]), rel=1e-6, abs=width / 1000)


def test_stray_values_and_colors_beyond_float32_are_cut_off():
    values = np.append(np.linspace(0, 0.1, 999), 1e308)
    shown = color_by(PointCloud(np.zeros((1000, 3)), {"value": values, "rgb": np.full((1000, 3), 1e300)}), "value")
    assert shown.scale == pytest.approx((0.001, 0.099), abs=1e-3)
    assert color_by(PointCloud(np.zeros((1, 3)), {"rgb": np.full((1, 3), 1e300)}), "rgb").colors.tolist() == [[255] * 3]


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.01, 0.99), "0.01 to 0.99"),
        ((306_234_560.0, 306_235_296.0), "306234560 to 306235296"),
        ((1e12, 1e12 + 100), "1000000000000 to 1000000000100"),
        ((306_234_560.0, 306_234_560.0), "306234560 to 306234560"),
        ((1e300, 1e300), "1.0000000000000001e+300 to 1.0000000000000001e+300"),
        ((0.0, 0.0), "0 to 0"),
    ],
)
def test_the_legend_tells_the_ends_apart(ends, text):
    assert scale_text(*ends) == text


def test_clouds_that_cannot_be_shown_are_refused():
    with pytest.raises(ValueError, match="at least one point"):
        CloudPage(PointCloud(np.zeros((0, 3))), {})
    with pytest.raises(ValueError, match="NaN"):
        CloudPage(PointCloud(np.full((1, 3), np.nan)), {})


def test_a_picture_from_above_shows_each_class_on_its_side(tmp_path):
    program_or_skip()
    write(tmp_path / "cloud.npz", cloud_of())
    camera = "initialCameraPosition=0,-0.001,6&initialCameraLookAt=0,0,0"
    words = ["view", str(tmp_path / "cloud.npz"), "--color", "label", "--camera", camera]
    assert main([*words, "--screenshot", str(tmp_path / "view.png")]) == 0
    picture = imread(tmp_path / "view.png")[..., :3]
    assert picture.shape == (800, 1280, 3)
    middle = picture[200:600]
    left, right = middle[:, 340:600].reshape(-1, 3), middle[:, 680:940].reshape(-1, 3)
    blue, orange = np.array([0, 0x72, 0xB2]) / 255, np.array([0xE6, 0x9F, 0]) / 255
    for side, own, other in ((left, blue, orange), (right, orange, blue)):
        assert (np.abs(side - own).max(axis=1) < 0.1).mean() > 0.1
        assert (np.abs(side - other).max(axis=1) < 0.1).mean() < 0.001


def test_a_link_opens_the_view_that_it_was_taken_from(tmp_path, page, monkeypatch):
    program_or_skip()
    given = page.link(Camera(position=(3.25, -4.5, 2.125), look_at=(0.5, 0.25, -0.125), up_direction=(0.0, 0.0, 1.0)))
    links = []
    link_of = page.link
    monkeypatch.setattr(page, "link", lambda camera: links.append(link_of(camera)) or links[-1])
    screenshot.write_screenshot(page, tmp_path / "view.png", query=given.partition("?")[2])
    shown, wanted = (parse_qs(link.partition("?")[2]) for link in (links[-1], given))
    assert shown.keys() == wanted.keys()
    for name, (numbers,) in wanted.items():
        found = np.array(shown[name][0].split(","), float)
        np.testing.assert_allclose(found, np.array(numbers.split(","), float), atol=1e-4, err_msg=name)


class SlowClient:
    """A browser that takes the page's camera late, and draws points too small at first."""

    def __init__(self, page):
        self.page, self.client_id, self.renders = page, 0, 0
        self.gui, self.scene = MagicMock(), MagicMock()
        self.camera = SimpleNamespace(
            position=np.full(3, 3.0),
            look_at=np.zeros(3),
            up_direction=np.array([0.0, 0, 1]),
            wxyz=np.array([1.0, 0, 0, 0]),
            fov=1.0,
            image_width=64,
            image_height=48,
        )
        self.camera.on_update = lambda moved: setattr(self, "moved", moved)

    def flush(self):
        pass

    def open(self):
        self.page._connect(self)
        Timer(1.5, self.take_camera).start()

    def take_camera(self):
        self.camera.position = self.page.server.viser.initial_camera.position
        self.moved(self.camera)

    def get_render(self, height, width, **options):
        self.renders += 1
        picture = np.zeros((height, width, 4), np.uint8)
        picture[..., 3] = 255
        picture[0, 0, :2] = self.camera.position[0], min(self.renders, 2)
        return picture


def test_a_slow_browser_is_waited_for(tmp_path, page, monkeypatch):
    client = SlowClient(page)
    (tmp_path / "browser").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "browser").chmod(0o755)
    monkeypatch.setattr(screenshot, "require_browser", lambda: str(tmp_path / "browser"))
    monkeypatch.setattr(page.server.viser, "get_clients", lambda: {0: client})
    client.open()
    try:
        screenshot.write_screenshot(page, tmp_path / "view.png", width=64, height=48)
    finally:
        page._disconnect(client)
    color = imread(tmp_path / "view.png")[0, 0] * 255
    assert color[:2].round().tolist() == [0, 2]  # the page's camera, and points of their size


def test_a_browser_whose_pictures_never_agree_is_given_up():
    client = SimpleNamespace(get_render=lambda *size, **options: np.random.default_rng().random((2, 2, 4)))
    with pytest.raises(TimeoutError, match="did not show the page in time"):
        screenshot._settled_render(client, 2, 2, time.monotonic() + 0.05)


def test_mouse_and_panel_in_a_browser(tmp_path, page):
    page.color_by("label")
    with browser_at(page.server.address, tmp_path / "profile") as browser:
        first = browser.wait_for("location.search")
        browser.mouse("mousePressed", 400, 350)
        for step in range(1, 6):
            browser.mouse("mouseMoved", 400 + 20 * step, 350)
        browser.mouse("mouseReleased", 500, 350)
        browser.wait_for(f"location.search != {first!r}")
        fields = "[...document.querySelectorAll('input')]"
        browser.wait_for(f"{fields}.some(field => field.value == location.href)")
        browser.click(400, 350)
        texts = "[...document.querySelectorAll('textarea')].map(field => field.value)"
        assert "intensity: " in browser.wait_for(f"{texts}.find(text => text.includes('label:'))")
        toggles = "[...document.querySelectorAll('input[type=checkbox]')].slice(-2)"
        assert browser.value(f"{toggles}.length") == 2
        browser.value(f"{toggles}[0].click()")
        deadline = time.monotonic() + 30
        while page.hidden != {0}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    page.show_class(0, True)


def waited_for(condition):
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def drawn(page):
    (stream,) = page._streams.values()
    return sum(len(page.rows(node)) for node, (handle, _) in list(stream.shown.items()) if handle.visible)


def test_fewer_points_can_be_asked_for_in_the_panel(tmp_path, page):
    with browser_at(page.server.address, tmp_path / "profile") as browser:
        page.draw_all()
        fields = "[...document.querySelectorAll('input')]"
        assert browser.wait_for(f"{fields}.some(field => field.value == '{page.budget}')")
        waited_for(lambda: page.is_settled())
        everything, budget = drawn(page), page.budget
        page.show_at_most(20_000)
        waited_for(lambda: page.is_settled())
        assert 0 < drawn(page) <= 20_000 < everything
        page.show_at_most(budget)
        page.draw_all()
        waited_for(lambda: page.is_settled() and drawn(page) == everything)


def test_a_slow_browser_draws_fewer_points_while_the_camera_moves(tmp_path, page):
    with browser_at(page.server.address, tmp_path / "profile") as browser:
        page.draw_all()
        browser.wait_for("location.search")
        waited_for(lambda: page.is_settled() and drawn(page) == len(page.points))
        page.pace = Pace(20_000, len(page.points))
        # one report of slow frames, told as the page's script tells it, and then no more
        browser.value("fetch('report?5000')")
        waited_for(lambda: page.pace.moving == 20_000)
        page.pace.learn = lambda milliseconds, drawn: None
        browser.mouse("mousePressed", 400, 350)
        for step in range(1, 6):
            browser.mouse("mouseMoved", 400 + 20 * step, 350)
        waited_for(lambda: 0 < drawn(page) <= 20_000)
        browser.mouse("mouseReleased", 500, 350)
        waited_for(lambda: page.is_settled() and drawn(page) == len(page.points))


def test_the_number_of_points_follows_the_time_of_frames():
    pace = Pace(1_000, 1_000_000)
    for _ in range(40):  # drawing that takes 1 ms for 2,000 points
        pace.learn(pace.moving / 2_000, pace.moving)
    assert pace.moving == pytest.approx(100_000, rel=0.01)
    assert pace.resting == 2 * pace.moving
    pace.learn(1e9, pace.moving)
    assert pace.moving == 1_000
    for _ in range(40):
        pace.learn(1e-3, pace.moving)
    assert pace.moving == pace.resting == 1_000_000
    for milliseconds, drawn in ((float("nan"), 5), (-1.0, 5), (0.0, 5), (5.0, 0)):
        pace.learn(milliseconds, drawn)
    assert pace.moving == 1_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--color", "nothing"], "cannot color by 'nothing'"),
        (["--truth", "label"], "belong together"),
        (["--model", "airborne"], "--model says which labels"),
        (["--truth", "label", "--prediction", "none"], "no column 'none'"),
        (["--camera", "initialCameraPosition=1,2,3"], "--camera is that of a --screenshot"),
        (["--screenshot", "nowhere/picture.png"], "no such folder"),
        (["--budget", "10000"], "--budget must be at least 50,000, got 10,000"),
        (["--budget", "-5"], "--budget must be at least 50,000, got -5"),
        (["--screenshot", "p.png", "--camera", "initialCameraLookAt=1,x"], "initialCameraLookAt must be three numbers"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr(view_module, "require_browser", lambda: "browser")
    write(tmp_path / "cloud.npz", cloud_of(10))
    assert main(["view", str(tmp_path / "cloud.npz"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_labels_that_a_model_takes_for_one_class_agree(tmp_path):
    model = build_model("pccn", in_channels=1, num_classes=2)
    labels = LabelMap({"ground": [2], "vegetation": [3, 4, 5]}, ignored=[1])
    model.metadata = {"labels": plain_from_settings(labels)}
    save_model(tmp_path / "model.safetensors", model)
    labels = view_module._labels_of(tmp_path / "model.safetensors", [])
    truth, prediction = np.array([2, 4, 5, 2, 1]), np.array([2, 3, 3, 3, 2])

    def counts(labels):
        return {name: count for name, _, count in view_module._comparison(truth, prediction, labels)().classes}

    assert counts(labels) == {"right": 3, "wrong": 1, "not scored": 1}
    assert counts(None) == {"right": 1, "wrong": 4}
    with pytest.raises(ValueError, match="view: --truth"):
        view_module._comparison(np.array([9]), np.array([2]), labels)


def test_a_damaged_file_is_named(tmp_path, capsys):
    (tmp_path / "cloud.las").write_bytes(b"LASF" + bytes(40))
    assert main(["view", str(tmp_path / "cloud.las")]) == 2
    # A long path is broken over lines.
    assert "cloud.las" in "".join(capsys.readouterr().err.replace("│", "").split())


def test_a_screenshot_without_a_browser_says_so_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    words = ["view", str(tmp_path / "not read.npz"), "--screenshot", str(tmp_path / "picture.png")]
    assert main(words) == 2
    assert "a screenshot needs a browser" in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_a_browser_that_ends_is_not_waited_for(tmp_path, page, monkeypatch):
    monkeypatch.setattr(screenshot, "require_browser", lambda: "true")  # the program that ends at once
    with pytest.raises(ChildProcessError, match="the browser ended with 0"):
        screenshot.write_screenshot(page, tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())
