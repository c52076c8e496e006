"""`bwcolor eval --card` and `bwcolor models info`: what was measured, kept beside the model."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_model import tiny_onnx, write_tiny
from typer.testing import CliRunner, Result

from bwcolor.checks.damage import DAMAGES
from bwcolor.cli.app import app
from bwcolor.cli.evaluate import DamageName
from bwcolor.imaging.metrics import hue_shares


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def colour_photos(tmp_path: Path) -> Path:
    root = tmp_path / "clic"
    root.mkdir()
    rng = np.random.default_rng(1)
    for number in range(2):
        noise = np.clip(rng.normal((150, 120, 80), 20, (48, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    return root


def test_eval_writes_a_card_that_info_shows(tmp_path: Path, colour_photos: Path) -> None:
    model = write_tiny(tmp_path / "tiny.onnx")
    assert "nothing yet" in run("models", "info", model).stdout
    measured = run("eval", colour_photos, "--model", model, "--size", "32", "--protocol", "crop", "--card")
    assert measured.exit_code == 0, measured.stderr
    assert f"Written to {tmp_path / 'tiny.onnx.card.json'}" in measured.stdout
    psnr = measured.stdout.split("model ")[1].split()[0]
    run("eval", colour_photos, "--model", model, "--protocol", "native", "--card")
    run("eval", colour_photos, "--model", model, "--size", "32", "--protocol", "crop", "--card", "--strength", "0.5")
    run("eval", colour_photos, "--model", model, "--size", "32", "--protocol", "crop", "--card")
    shown = run("models", "info", model).stdout
    assert shown.count("clic, 2 photos") == 3, "one for each protocol"
    assert f"PSNR {psnr} dB" in shown
    assert "area resize to 32 px; BT.601 gray input; detail auto; tones full; strength 1" in shown
    model.write_bytes(tiny_onnx(bias=(0.0, 0.0)))
    shown = run("models", "info", model).stdout
    assert "measured with another file" in shown
    assert psnr not in shown
    assert run("eval", colour_photos, "--model", model, "--card").exit_code == 0
    assert run("models", "info", model).stdout.count("clic, 2 photos") == 3, "all protocols by default"


def test_cards_that_can_not_be_written(tmp_path: Path, colour_photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_tiny(tmp_path / "tiny.onnx")
    two = run("eval", colour_photos, "--model", f"{model}+{model}", "--card")
    assert two.exit_code == 2
    assert "a card belongs to one file" in two.stderr
    assert run("eval", colour_photos, "--model", f"{model}+{model}").exit_code == 0
    card = tmp_path / "tiny.onnx.card.json"
    card.write_text("my notes")
    assert run("eval", colour_photos, "--model", model, "--card").exit_code == 2
    assert card.read_text() == "my notes"
    card.unlink()

    def read_only(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.link", read_only)
    monkeypatch.setattr(Path, "replace", read_only)
    failed = run("eval", colour_photos, "--model", model, "--card")
    assert failed.exit_code == 5
    assert "CIEDE2000" in failed.stdout
    assert "Permission denied" in failed.stderr
    assert "The figures above stand" in failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clic", "tiny.onnx"]


def test_eval_writes_all_figures_as_json(tmp_path: Path, colour_photos: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), (200, 90, 40), np.uint8)).save(colour_photos / "plain.png")
    (colour_photos / "bad.png").write_bytes(b"no photo")
    model = write_tiny(tmp_path / "tiny.onnx")
    report = tmp_path / "report.json"
    result = run("eval", colour_photos, "--model", model, "--size", "32", "--json", report)
    assert result.exit_code == 1, "one photo failed"
    assert f"Written to {report}" in result.stdout
    values = json.loads(report.read_text())
    assert [one["name"] for one in values["protocols"]] == ["crop", "resize", "native"]
    for one in values["protocols"]:
        assert one["failed"] == 1
        assert one["protocol"] in result.stdout
        assert f"{one['model']['psnr']:.2f}" in result.stdout
        assert [photo["path"] for photo in one["photos"]] == ["0.png", "1.png", "plain.png"]
        assert one["model"]["de00"] == pytest.approx(np.mean([photo["model"]["de00"] for photo in one["photos"]]))
        assert one["gray"]["colourfulness"] == 0
        assert one["hues_truth"]["orange"] > 0.5
        assert np.sum(one["ab_histogram"]) == pytest.approx(1, abs=1e-4)
    crop, resize, native = (one["model"]["psnr"] for one in values["protocols"])
    assert len({crop, resize, native}) == 3


def test_eval_compares_at_equal_colorfulness(tmp_path: Path, colour_photos: Path) -> None:
    """A weak and a strong model with the same hues are worth the same."""
    report = tmp_path / "report.json"
    for photo in colour_photos.iterdir():
        gray = np.random.default_rng(0).normal(120, 40, (48, 64, 1))
        Image.fromarray(np.clip(np.add(gray, (20, 0, -30)), 0, 255).astype(np.uint8)).save(photo)
    model = write_tiny(tmp_path / "tiny.onnx")
    found = []
    for strength in ("1", "0.6"):
        words = ("--protocol", "crop", "--size", "48", "--strength", strength, "--json", report)
        result = run("eval", colour_photos, "--model", model, *words)
        assert result.exit_code == 0, result.stderr
        (protocol,) = json.loads(report.read_text())["protocols"]
        found.append(protocol["equal_colorfulness"])
        for one, share in zip(found[-1], (0.7, 0.9), strict=True):
            assert one["share"] == share
            assert one["reached"] == pytest.approx(share, abs=0.005)
            told = f"At {share:.0%} of the truth's colorfulness (chroma x {one['factor']:.2f} gives"
            assert told in result.stdout
            assert f"PSNR {one['psnr']:.2f} dB, CIEDE2000 {one['de00']:.2f}" in result.stdout
        assert len(protocol["photos"][0]["equal_colorfulness"]) == 2
    for strong, weak in zip(*found, strict=True):
        assert strong["factor"] == pytest.approx(0.6 * weak["factor"], rel=0.01)
        assert strong["de00"] == pytest.approx(weak["de00"], abs=0.1)


def test_colors_too_weak_to_be_compared_are_said_so(tmp_path: Path, colour_photos: Path) -> None:
    report = tmp_path / "report.json"
    words = ("--protocol", "crop", "--size", "48", "--strength", "0", "--json", report)
    result = run("eval", colour_photos, "--model", write_tiny(tmp_path / "tiny.onnx"), *words)
    assert result.exit_code == 0
    assert result.stdout.count("can't be reached") == 2
    (protocol,) = json.loads(report.read_text())["protocols"]
    assert protocol["equal_colorfulness"] == [None, None]
    assert protocol["photos"][0]["equal_colorfulness"] == [None, None]


@pytest.mark.parametrize("damage", [kind.value for kind in DamageName])
def test_eval_damages_photos_first_and_says_so(tmp_path: Path, colour_photos: Path, damage: str) -> None:
    report = tmp_path / "report.json"
    words = ("--protocol", "crop", "--size", "32", "--damage", damage, "--json", report)
    assert run("eval", colour_photos, "--model", write_tiny(tmp_path / "tiny.onnx"), *words).exit_code == 0
    (protocol,) = json.loads(report.read_text())["protocols"]
    assert protocol["protocol"].endswith(f"; damage {damage}, {DAMAGES[damage].words}")
    assert protocol["gray"]["psnr"] > 10, "the truth is damaged in the same way"
    before = report.read_bytes()
    assert run("eval", colour_photos, "--model", write_tiny(tmp_path / "tiny.onnx"), *words).exit_code == 0
    assert report.read_bytes() == before, "always the same damage"


def test_a_photo_that_is_gone_in_the_second_round_fails_alone(
    tmp_path: Path, colour_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(found: object, *_: object) -> list[tuple[float, float]]:
        (colour_photos / "1.png").unlink()
        return [(1.0, 1.0)]

    monkeypatch.setattr("bwcolor.checks.evaluate.equal_factors", lost)
    words = ("--protocol", "crop", "--size", "32")
    result = run("eval", colour_photos, "--model", write_tiny(tmp_path / "tiny.onnx"), *words)
    assert result.exit_code == 1
    assert "failed: " in result.stderr
    assert "means over 1 photos" in result.stdout


def test_eval_says_what_doubt_is_worth(tmp_path: Path, colour_photos: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (4 + number, 4 + number, 3), np.uint8))
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(colour_photos / f"more{number}.png")
    report = tmp_path / "report.json"
    words = ["--model", write_tiny(tmp_path / "tiny.onnx"), "--size", "96", "--protocol", "crop", "--json", report]
    result = run("eval", colour_photos, *words)
    assert result.exit_code == 0, result.stderr
    (protocol,) = json.loads(report.read_text())["protocols"]
    doubt = protocol["doubt"]
    assert f"correlation of ranks {doubt['correlation']:.2f}" in result.stdout
    assert doubt["doubts"] == sorted(doubt["doubts"])
    assert doubt["doubts"][-1] > 0
    known = [photo["doubt"] for photo in protocol["photos"]]
    assert np.mean(known) == pytest.approx(np.average(doubt["doubts"], weights=[3, 3, 3, 3, 2]), rel=1e-6)
    assert run("eval", colour_photos, *words, "--detail", "fast").exit_code == 0
    (protocol,) = json.loads(report.read_text())["protocols"]
    assert protocol["doubt"] is None, "nobody looked twice"


def test_photos_in_the_json_are_named_by_their_path(
    tmp_path: Path, colour_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (colour_photos / "sub").mkdir()
    (colour_photos / "0.png").rename(colour_photos / "sub" / "1.png")
    model = write_tiny(tmp_path / "tiny.onnx")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time in place of the first report
        assert run("eval", "clic", "--model", model, "--protocol", "native", "--json", "r.json").exit_code == 0
    (protocol,) = json.loads(Path("r.json").read_text())["protocols"]
    assert sorted(photo["path"] for photo in protocol["photos"]) == ["1.png", "sub/1.png"]
    photo = colour_photos / "1.png"
    before = photo.read_bytes()
    for wrong in (photo, tmp_path):
        refused = run("eval", "clic", "--model", model, "--json", wrong)
        assert refused.exit_code == 2
        assert "in the way, not written by bwcolor eval" in refused.stderr
    assert photo.read_bytes() == before


def test_a_photo_that_takes_too_much_memory_fails_alone(
    tmp_path: Path, colour_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(lab: NDArray[np.float64]) -> NDArray[np.float64]:
        if lab.shape[0] == 20:
            raise MemoryError
        return hue_shares(lab)

    Image.fromarray(np.full((20, 30, 3), (200, 90, 40), np.uint8)).save(colour_photos / "large.png")
    monkeypatch.setattr("bwcolor.checks.evaluate.hue_shares", greedy)
    result = run("eval", colour_photos, "--model", write_tiny(tmp_path / "tiny.onnx"), "--protocol", "native")
    assert result.exit_code == 1
    assert "large.png: not enough memory" in result.stderr
    assert "means over 2 photos" in result.stdout


def test_json_that_can_not_be_written_is_said_before_anything_is_measured(tmp_path: Path, colour_photos: Path) -> None:
    model = write_tiny(tmp_path / "tiny.onnx")
    result = run("eval", colour_photos, "--model", model, "--json", tmp_path / "none" / "report.json")
    assert result.exit_code == 5
    assert "there is no folder" in result.stderr
    assert result.stdout == ""
