"""Photos that are in colour already: left alone, copied or colorized anew; and tinted ones, which are not."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from photo.pictures import FakeModel, exif, flat, gray, rgb, saved, scene, tiff
from PIL import Image
from typer.testing import CliRunner, Result

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import find_jobs, settle
from bwcolor.batch.thread_pool import run
from bwcolor.checks.verify import verify_photo
from bwcolor.cli.app import app
from bwcolor.imaging.color import rgb_to_chroma
from bwcolor.options import ColorizeOptions

HEIGHT, WIDTH = 72, 100
GRAY = scene(HEIGHT, WIDTH)
CB, CR = -0.12, 0.1
OLD_CHROMA = np.stack(  # of a photo in colour: another one in each part
    [cv2.resize(np.random.default_rng(seed).normal(0, 0.25, (4, 5)), (WIDTH, HEIGHT)) for seed in (1, 2)], -1
)
COLOURS = cv2.cvtColor(
    np.dstack([GRAY, np.clip(128 + 255 * OLD_CHROMA[..., ::-1], 0, 255)]).astype(np.uint8), cv2.COLOR_YCrCb2RGB
)
SEPIA = np.clip(GRAY[..., None] * np.array([1.07, 0.95, 0.75]) + 4, 0, 255).astype(np.uint8)


def pages(*pictures: Any, **settings: Any) -> bytes:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for page in pictures:
            writer.write(page, contiguous=False, metadata=None, **settings)
    return out.getvalue()


def colorize(source: Path, **settings: Any) -> list[Outcome]:
    """Outcomes of a file or folder, in the order of the names; outputs go to the folder `out` beside it."""
    options = ColorizeOptions(jobs=1, **settings)
    plan = settle(find_jobs(source, source.parent / "out", options.overwrite), options)
    outcomes = run(plan.jobs, FakeModel(flat(CB, CR)), options)
    return sorted(outcomes, key=lambda outcome: outcome.job.source)


def one(tmp_path: Path, name: str, content: bytes, **settings: Any) -> tuple[Outcome, Path]:
    (tmp_path / name).write_bytes(content)
    (outcome,) = colorize(tmp_path / name, **settings)
    return outcome, tmp_path / "out"


def mean_chroma(path: Path) -> Any:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    middle = np.abs(GRAY / 255 - 0.5) < 0.2
    return rgb_to_chroma(pixels)[middle].mean(0)


IN_COLOUR = {
    "a.jpg": saved(Image.fromarray(COLOURS), "JPEG", quality=92),
    "a.png": saved(Image.fromarray(COLOURS), "PNG"),
    "a.tif": tiff(COLOURS),
    "a.webp": saved(Image.fromarray(COLOURS), "WEBP", quality=90),
    "a.bmp": saved(Image.fromarray(COLOURS), "BMP"),
    "a.gif": saved(Image.fromarray(COLOURS), "GIF"),
    "a.avif": saved(Image.fromarray(COLOURS), "AVIF", quality=90),
}


@pytest.mark.parametrize("name", IN_COLOUR)
def test_colour_is_left_alone_by_default(name: str, tmp_path: Path) -> None:
    outcome, out = one(tmp_path, name, IN_COLOUR[name])
    assert outcome.state == "skipped"
    assert (outcome.reason, outcome.left_alone) == ("in color already", "in color")
    assert not out.exists()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_an_output_of_ours_is_called_so(name: str, tmp_path: Path) -> None:
    """As it lies beside its photo after a run over that alone."""
    made, out = one(tmp_path, name, IN_COLOUR[name], color_input="recolor")
    assert made.state == "done"
    (tmp_path / "again").mkdir()
    outcome, _ = one(tmp_path / "again", name, (out / name).read_bytes())
    assert outcome.state == "skipped"
    assert (outcome.reason, outcome.left_alone) == ("made by bwcolor already", "made by bwcolor")


@pytest.mark.parametrize("form", [None, "png"])
@pytest.mark.parametrize("name", IN_COLOUR)
def test_colour_is_copied_byte_for_byte_under_its_own_name(name: str, form: Any, tmp_path: Path) -> None:
    outcome, out = one(tmp_path, name, IN_COLOUR[name], color_input="copy", format=form)
    assert outcome.state == "done"
    assert outcome.notes == ("in colour already: copied as they are",)
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() == IN_COLOUR[name]
    assert (out / name).stat().st_mtime_ns == (tmp_path / name).stat().st_mtime_ns
    again = colorize(tmp_path / name, color_input="copy", format=form)
    assert [outcome.state for outcome in again] == ["skipped"]
    assert [path.name for path in out.iterdir()] == [name]


@pytest.mark.parametrize("name", IN_COLOUR)
def test_colour_is_colorized_anew_from_its_brightness(name: str, tmp_path: Path) -> None:
    outcome, out = one(tmp_path, name, IN_COLOUR[name], color_input="recolor")
    assert outcome.state == "done"
    (output,) = out.iterdir()
    assert mean_chroma(output) == pytest.approx([CB, CR], abs=0.02)
    checks = verify_photo(output, tmp_path / name, 10**9)
    assert [check for check in checks if check.ok is False] == []


@pytest.mark.parametrize("settings", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"tile": (32, 32)},
                                      {"planarconfig": "separate"}])  # fmt: skip
@pytest.mark.parametrize("deep", [False, True])
def test_colour_pages_of_a_tiff_keep_their_colours_exactly(deep: bool, settings: Any, tmp_path: Path) -> None:
    factor = 257 if deep else 1
    colours = COLOURS.astype(np.uint16) * 257 + 3 if deep else COLOURS
    first = np.moveaxis(colours, -1, 0) if settings.get("planarconfig") else colours
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(first, photometric="rgb", contiguous=False, metadata=None, **settings)
        writer.write((GRAY * np.uint16(factor)).astype(colours.dtype), contiguous=False, metadata=None)
        writer.write(colours[:50], photometric="rgb", contiguous=False, metadata=None)
    outcome, folder = one(tmp_path, "a.tif", out.getvalue())
    assert outcome.state == "done"
    assert outcome.notes == ("pages that are in colour already keep their colours (--color-input recolor)",)
    with tifffile.TiffFile(folder / "a.tif") as made:
        assert_array_equal(made.pages[0].asarray(), colours)
        assert made.pages[1].shape == (HEIGHT, WIDTH, 3)
        assert_array_equal(made.pages[2].asarray(), colours[:50])
    checks = verify_photo(folder / "a.tif", tmp_path / "a.tif", 10**9)
    assert [check for check in checks if check.ok is False] == []


def test_a_page_that_keeps_its_colours_is_compressed_if_these_shrink(tmp_path: Path) -> None:
    """Its luma, computed from channels of 8 bits in 16, is a noise of 16 bits that LZW makes larger."""
    colours = COLOURS.astype(np.uint16) * np.uint16(257)
    noise = np.random.default_rng(1).integers(0, 1 << 16, GRAY.shape).astype(np.uint16)
    content = pages(noise, colours, compression="lzw", predictor=True)
    _, folder = one(tmp_path, "a.tif", content)
    with tifffile.TiffFile(folder / "a.tif") as made:
        compressions = [page.aspage().compression for page in made.pages]
        assert compressions == [tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.LZW]
        assert_array_equal(made.pages[1].asarray(), colours)


def test_colour_pages_with_alpha_keep_it(tmp_path: Path) -> None:
    with_alpha = np.dstack([COLOURS, GRAY[::-1]])
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        writer.write(GRAY, contiguous=False, metadata=None)
        writer.write(with_alpha, photometric="rgb", extrasamples=["unassalpha"], contiguous=False, metadata=None)
    outcome, folder = one(tmp_path, "a.tif", content.getvalue())
    assert outcome.state == "done"
    with tifffile.TiffFile(folder / "a.tif") as made:
        assert_array_equal(made.pages[1].asarray(), with_alpha)


def test_recolor_takes_colour_pages_too(tmp_path: Path) -> None:
    outcome, folder = one(tmp_path, "a.tif", pages(COLOURS, GRAY), color_input="recolor")
    assert outcome.notes == ()
    for page in range(2):
        with Image.open(folder / "a.tif") as image:
            image.seek(page)
            chroma = rgb_to_chroma(np.asarray(image.convert("RGB"), np.float32) / np.float32(255))
        assert chroma[np.abs(GRAY / 255 - 0.5) < 0.2].mean(0) == pytest.approx([CB, CR], abs=0.02)


@pytest.mark.parametrize("color_input", ["skip", "copy"])
def test_a_tiff_whose_pages_are_all_in_colour(color_input: Any, tmp_path: Path) -> None:
    outcome, folder = one(tmp_path, "a.tif", pages(COLOURS, COLOURS[:40]), color_input=color_input)
    assert outcome.state == ("done" if color_input == "copy" else "skipped")
    assert (folder / "a.tif").exists() == (color_input == "copy")


def test_mixed_pages_of_16_bits_written_with_8(tmp_path: Path) -> None:
    colours = COLOURS.astype(np.uint16) * 257
    outcome, folder = one(tmp_path, "a.tif", pages(GRAY.astype(np.uint16) * 257, colours), eight_bit=True)
    assert outcome.state == "done", outcome.reason
    with tifffile.TiffFile(folder / "a.tif") as made:
        assert_array_equal(made.pages[1].asarray(), COLOURS)


def test_several_pages_are_refused_in_a_format_for_one_picture(tmp_path: Path) -> None:
    for content in (pages(GRAY, COLOURS), pages(COLOURS, GRAY)):
        (tmp_path / "a.tif").write_bytes(content)
        plan = settle(find_jobs(tmp_path / "a.tif", tmp_path / "out"), ColorizeOptions(format="png"))
        assert plan.jobs == []
        assert [left.failed for left in plan.left_out] == [True]
        assert "pages" in plan.left_out[0].reason


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_colour_page_that_only_libtiff_reads(orientation: int, tmp_path: Path) -> None:
    ycc = Image.fromarray(COLOURS).convert("YCbCr")
    content = saved(ycc, "TIFF", tiffinfo={274: orientation}, save_all=True, append_images=[gray(GRAY)])
    with tifffile.TiffFile(io.BytesIO(content)) as source:
        assert source.pages[0].aspage().photometric == tifffile.PHOTOMETRIC.YCBCR
    outcome, folder = one(tmp_path, "a.tif", content)
    assert outcome.state == "done", outcome.reason
    with tifffile.TiffFile(folder / "a.tif") as made:
        page = made.pages[0].asarray()
    assert page.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(page.astype(int) - np.asarray(ycc.convert("RGB"))).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_sepia_is_colorized_from_its_brightness(kind: str, tmp_path: Path) -> None:
    name = f"a.{'jpg' if kind == 'JPEG' else 'png'}"
    settings = {"quality": 92} if kind == "JPEG" else {}
    outcome, folder = one(tmp_path, name, saved(Image.fromarray(SEPIA), kind, **settings))
    assert outcome.state == "done"
    assert mean_chroma(folder / name) == pytest.approx([CB, CR], abs=0.02), "nothing of the tint is left"
    before = np.asarray(Image.open(tmp_path / name).convert("L"), int)
    after = np.asarray(Image.open(folder / name).convert("L"), int)
    assert np.abs(after - before).mean() < 1


def test_sepia_without_strength_is_neutral(tmp_path: Path) -> None:
    _, folder = one(tmp_path, "a.png", saved(Image.fromarray(SEPIA), "PNG"), strength=0)
    pixels = np.asarray(Image.open(folder / "a.png"))
    assert (pixels == pixels[..., :1]).all()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "gray.jpg").write_bytes(saved(gray(GRAY), "JPEG"))
    (folder / "colour.jpg").write_bytes(IN_COLOUR["a.jpg"])
    (folder / "sub" / "colour.gif").write_bytes(IN_COLOUR["a.gif"])
    (folder / "sub" / "sepia.png").write_bytes(saved(Image.fromarray(SEPIA), "PNG"))
    return folder


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def outputs(folder: Path) -> set[str]:
    """Pictures; not the record of the run."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in files if path.parts[0] not in (".bwcolor", "bwcolor-report.jsonl")}


def test_a_mixed_folder(mixed: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = command(mixed, "--out", out, "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert "2 colorized, 2 skipped (in color already)" in result.stderr
    assert outputs(out) == {"gray.jpg", "sub/sepia.png"}
    result = command(mixed, "--out", out, "--model", tiny_model, "--color-input", "copy")
    assert result.exit_code == 0, result.stderr
    assert outputs(out) == {"gray.jpg", "sub/sepia.png", "colour.jpg", "sub/colour.gif"}
    assert (out / "sub" / "colour.gif").read_bytes() == IN_COLOUR["a.gif"]
    assert "note: 2 of them: in colour already: copied as they are" in result.stderr
    assert command("verify", out, mixed).exit_code == 0
    result = command(mixed, "--out", tmp_path / "anew", "--model", tiny_model, "--color-input", "recolor")
    assert result.exit_code == 0, result.stderr
    assert outputs(tmp_path / "anew") == {"gray.jpg", "sub/sepia.png", "colour.jpg", "sub/colour.gif.png"}


def test_a_folder_all_in_colour(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, content in IN_COLOUR.items():
        (folder / f"{name[2:]}-{name}").write_bytes(content)
    result = command(folder, "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert f"0 colorized, {len(IN_COLOUR)} skipped (in color already)" in result.stderr
    assert outputs(tmp_path / "out") == set()
    told = "7 photos are in color already and were left alone. -v shows which, and so does"
    for again in (result, command(folder, "--out", tmp_path / "out", "--model", tiny_model)):
        assert f"{told} {tmp_path / 'out' / 'bwcolor-report.jsonl'}. --color-input recolor" in again.stderr
        assert "a.jpg" not in again.stderr, "one line for all of them"
    shown = command(folder, "--out", tmp_path / "out", "--model", tiny_model, "-v", "--report", "none").stderr
    assert shown.count("skipped: ") == len(IN_COLOUR)
    assert "7 photos are in color already and were left alone. --color-input recolor" in shown


@pytest.mark.parametrize("options", [[], ["--flat", "--progress", "json"], ["-q"]])
def test_a_folder_of_our_own_outputs_is_left_as_it_is(
    options: list[str], mixed: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "colored"
    assert command(mixed, "--out", out, "--model", tiny_model).exit_code == 0
    (out / ".bwcolor").rename(tmp_path / "ledger")
    result = command(out, "--model", tiny_model, *options)
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "colored_colored").exists()
    assert outputs(out) == {"gray.jpg", "sub/sepia.png"}
    told = [line for line in result.stderr.splitlines() if "made by bwcolor" in line]
    expected = f"{out}: all 2 photos were made by bwcolor, so nothing was done. Name the original photos, or add"
    assert [line[: len(expected)] for line in told] == ([] if options == ["-q"] else [expected])
    assert "colorized" not in result.stderr
    one = command(out / "gray.jpg", "--model", tiny_model, *options)
    assert ("gray.jpg: this photo was made by bwcolor" in one.stderr) == (options != ["-q"])
    assert outputs(out) == {"gray.jpg", "sub/sepia.png"}


def test_copies_among_our_own_outputs_make_no_difference(mixed: Path, tiny_model: Path, tmp_path: Path) -> None:
    """And the ledger knows them again: a second run says what the first one said."""
    out, there = tmp_path / "colored", tmp_path / "there"
    assert command(mixed, "--out", out, "--model", tiny_model, "--color-input", "copy").exit_code == 0
    there.mkdir()
    told = f"{out}: all 4 photos are in color already, 2 of them made by bwcolor, so nothing was done."
    for options in ([], ["--out", there], ["--out", there]):
        result = command(out, "--model", tiny_model, *options)
        assert result.exit_code == 0, result.stderr
        assert told in result.stderr
    assert not (tmp_path / "colored_colored").exists()
    (out / "new.jpg").write_bytes(saved(Image.fromarray(scene(40, 56)), "JPEG"))
    result = command(out, "--out", there, "--model", tiny_model)
    assert "1 colorized, 2 skipped (in color already), 2 skipped (made by bwcolor already) in" in result.stderr
    assert "2 photos are in color already, and 2 photos were made by bwcolor; all 4 were left alone." in result.stderr


def test_a_folder_that_was_there_before_stays(mixed: Path, tiny_model: Path, tmp_path: Path) -> None:
    """And so does one with anything but our own outputs in it."""
    command(mixed, "--out", tmp_path / "colored", "--model", tiny_model)
    (tmp_path / "again").mkdir()
    assert command(tmp_path / "colored", "--out", tmp_path / "again", "--model", tiny_model).exit_code == 0
    assert (tmp_path / "again" / ".bwcolor" / "ledger.sqlite").is_file()
    (tmp_path / "colored" / "broken.jpg").write_bytes(b"no photo")
    assert command(tmp_path / "colored", "--model", tiny_model).exit_code == 1
    assert (tmp_path / "colored_colored" / "bwcolor-report.jsonl").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["a.jpg", "a.gif"])
def test_copying_a_single_photo_never_touches_it(name: str, overwrite: bool, tiny_model: Path, tmp_path: Path) -> None:
    """The default output lies beside the photo."""
    photo = tmp_path / name
    photo.write_bytes(IN_COLOUR[name])
    before = photo.stat()
    options = ["--overwrite"] if overwrite else []
    result = command(photo, "--model", tiny_model, "--color-input", "copy", *options)
    assert result.exit_code == 0, result.stderr
    after = photo.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "replaced by its copy"
    assert len(outputs(tmp_path)) == 2, "a copy beside it"


def test_a_turned_colour_photo_is_told_as_such(tmp_path: Path) -> None:
    outcome, _ = one(tmp_path, "a.jpg", saved(Image.fromarray(COLOURS), "JPEG", exif=exif(6)))
    assert outcome.state == "skipped"


def test_gray_stored_in_three_components_is_not_colour(tmp_path: Path) -> None:
    for name, content in (("a.jpg", saved(rgb(GRAY), "JPEG", quality=60)), ("b.png", saved(rgb(GRAY), "PNG"))):
        assert one(tmp_path, name, content)[0].state == "done"
