"""RGB profiles made from gray ones: Little CMS must see the same tones through both."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image, ImageCms

from bwcolor.imaging.color import RGB_TO_XYZ, WHITE
from bwcolor.photo.metadata import icc
from bwcolor.photo.metadata.icc import gray_to_rgb

VERSION_2, VERSION_4 = b"\x02\x40\0\0", b"\x04\x30\0\0"
SRGB = ImageCms.createProfile("sRGB")
INTENTS = [ImageCms.Intent.PERCEPTUAL, ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Intent.ABSOLUTE_COLORIMETRIC]


def curv(*entries: int) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(entries)}H", len(entries), *entries)


def para(function: int, *parameters: float) -> bytes:
    numbers = [round(parameter * 65536) for parameter in parameters]
    return b"para\0\0\0\0" + struct.pack(f">HH{len(numbers)}i", function, 0, *numbers)


def table(tones: NDArray[np.float64]) -> bytes:
    return curv(*(int(entry) for entry in np.round(tones * 65535)))


def description(text: str, version: bytes) -> bytes:
    if version == VERSION_4:
        record = struct.pack(">II4sII", 1, 12, b"deDE", 2 * len(text), 28)
        return b"mluc\0\0\0\0" + record + text.encode("utf-16-be")
    return b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text.encode() + b"\0" + bytes(78)


def profile(
    curve: bytes | None, *, version: bytes = VERSION_2, pcs: bytes = b"XYZ ", name: str = "Old scanner", **more: bytes
) -> bytes:
    """A gray profile written by hand, so that the code under test isn't judged by itself."""
    tags = {
        b"desc": description(name, version),
        b"cprt": b"text\0\0\0\0Copyright Someone\0" if version == VERSION_2 else description("Someone's", version),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        **{tag.encode(): data for tag, data in more.items()},
    }
    if curve is not None:
        tags[b"kTRC"] = curve
    entries, data, start = b"", b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        entries += tag + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    date = struct.pack(">6H", 2003, 7, 1, 0, 0, 0)
    header = struct.pack(">I", start + len(data)) + b"ADBE" + version + b"mntrGRAY" + pcs + date + b"acsp"
    illuminant = struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(68, b"\0") + illuminant.ljust(60, b"\0") + struct.pack(">I", len(tags)) + entries + data


def opened(data: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(data))


def seen(data: bytes, mode: str, intent: ImageCms.Intent) -> NDArray[np.int64]:
    """What the 256 levels of gray become in sRGB: (256, 3), 0..255."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(mode)
    exact = ImageCms.Flags.NOOPTIMIZE  # else Little CMS interpolates between a few levels
    transform = ImageCms.buildTransform(opened(data), SRGB, mode, "RGB", intent, exact)
    result = ImageCms.applyTransform(ramp, transform)
    assert result is not None
    seen_levels: NDArray[np.int64] = np.asarray(result, np.int64)[0]
    return seen_levels


X = np.linspace(0, 1, 1024)
SRGB_TABLE = table(np.where(X <= 0.04045, X / 12.92, ((X + 0.055) / 1.055) ** 2.4))
# Murray-Davies with a dot that grows by 20 % at the middle: what Photoshop's "Dot Gain 20%" is like
DOT_GAIN = table(np.clip(1 - (1 - X[::4]) - 0.8 * X[::4] * (1 - X[::4]), 0, 1))
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
CURVES = {
    "linear": curv(),
    "gamma 1.8": curv(round(1.8 * 256)),
    "gamma 2.2": curv(round(2.2 * 256)),
    "sRGB table": SRGB_TABLE,
    "dot gain": DOT_GAIN,
    "lifted black": table(0.02 + 0.95 * X**2),
    "para 0": para(0, 2.2),
    "para 1": para(1, 2.0, 0.9, 0.1),
    "para 1 with a dead start": para(1, 2.0, 1.1, -0.1),
    "para 2": para(2, 2.0, 0.95, -0.05, 0.05),
    "para 3": para(3, *SRGB_PARAMETERS),
    "para 4": para(4, 2.4, 0.9, 0.055, 0.08, 0.04, 0.01, 0.005),
}


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize("version", [VERSION_2, VERSION_4])
@pytest.mark.parametrize("curve", CURVES)
def test_tones_stay_the_same(curve: str, version: bytes, intent: ImageCms.Intent) -> None:
    source = profile(CURVES[curve], version=version)
    made = gray_to_rgb(source)
    assert made is not None
    expected, got = seen(source, "L", intent), seen(made, "RGB", intent)
    assert np.ptp(expected[:, 0]) > 150
    assert_allclose(got, expected, atol=1)
    assert np.ptp(got, axis=1).max() <= 1  # gray stays gray


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_of_lightness_becomes_one_of_luminance(curve: str) -> None:
    source = profile(CURVES[curve], version=VERSION_4, pcs=b"Lab ")
    made = gray_to_rgb(source)
    assert made is not None
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    assert_allclose(seen(made, "RGB", intent), seen(source, "L", intent), atol=1)


@pytest.mark.parametrize("version", [VERSION_2, VERSION_4])
def test_what_the_new_profile_says_of_itself(version: bytes) -> None:
    source = profile(CURVES["dot gain"] + b"trailing", version=version)
    made = gray_to_rgb(source)
    assert made is not None
    assert len(made) == int.from_bytes(made[:4], "big")
    assert len(made) % 4 == 0
    about = opened(made).profile
    assert about.profile_description == "Old scanner (RGB)"
    assert about.copyright == ("Copyright Someone" if version == VERSION_2 else "Someone's")
    assert (about.xcolor_space.strip(), about.connection_space.strip()) == ("RGB", "XYZ")
    assert about.device_class == "mntr"
    assert about.is_matrix_shaper
    assert made[8] == version[0]
    assert made[24:36] == source[24:36]
    assert made.count(CURVES["dot gain"]) == 1
    assert b"trailing" not in made  # three tags share one curve
    assert gray_to_rgb(made) is None  # it isn't gray any more


def test_a_parametric_curve_makes_it_version_4() -> None:
    made = gray_to_rgb(profile(para(0, 2.2)))
    assert made is not None
    assert made[8] == 4
    assert opened(made).profile.profile_description == "Old scanner (RGB)"


@pytest.mark.parametrize("name", ["Größe 灰度", "", "x" * 5000, "two\nlines\tand \x07 bell"])
def test_descriptions_of_all_kinds(name: str) -> None:
    made = gray_to_rgb(profile(curv(461), version=VERSION_4, name=name))
    assert made is not None
    shown = " ".join(name.replace("\x07", "").split(" ")).replace("\n", " ").replace("\t", " ")[:200] or "Gray"
    assert opened(made).profile.profile_description == f"{shown} (RGB)"


def test_primaries_are_srgbs_in_d50() -> None:
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = bradford @ (np.array(icc.D50) / 65536) / (bradford @ WHITE)
    adapted = np.linalg.inv(bradford) @ np.diag(gains) @ bradford @ RGB_TO_XYZ
    assert_allclose(np.array([*icc.PRIMARIES.values()]).T, 65536 * adapted, atol=0.6)
    assert tuple(map(sum, zip(*icc.PRIMARIES.values(), strict=True))) == icc.D50


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"no profile",
        bytes(200),
        ImageCms.ImageCmsProfile(SRGB).tobytes(),
        profile(None),
        profile(None, pcs=b"Lab ", A2B0=b"mft1" + bytes(400)),
        profile(curv(461), A2B0=b"mft1" + bytes(400)),
        profile(curv(461), pcs=b"Luv "),
        profile(curv(0)),
        profile(curv(65535, 0)),
        profile(curv(7, 7, 7)),
        profile(para(0, 0)),
        profile(para(0, -2)),
        profile(para(1, 2, 0, 1)),
        profile(para(0, 2.2, *[0] * 9)[:8] + b"\0\x05" + bytes(30)),
        profile(b"curv\0\0\0\0\xff\xff\xff\xff\0\0"),
        profile(b"curv\0\0\0\0\0\0\0\x05\0\0\0\0"),
        profile(b"curv"),
        profile(b"vcgt" + bytes(40)),
        profile(curv(461))[:-4],
        profile(curv(461))[:140],
        profile(curv(461)).replace(b"mntrGRAY", b"linkGRAY"),
        profile(curv(461))[:128] + b"\xff\xff\xff\xff" + profile(curv(461))[132:],
    ],
)
def test_what_can_not_be_used_gives_none(source: bytes) -> None:
    assert gray_to_rgb(source) is None


SOURCES = [
    profile(CURVES["gamma 2.2"]),
    profile(CURVES["para 4"], version=VERSION_4),
    profile(DOT_GAIN, pcs=b"Lab ", version=VERSION_4),
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_raises_and_all_results_open(data: st.DataObject) -> None:
    source = bytearray(data.draw(st.sampled_from(SOURCES)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.one_of(st.integers(0, 260), st.integers(0, len(source) - 1)))
        source[place] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, source[place] ^ 1]))
    made = gray_to_rgb(bytes(source[: data.draw(st.one_of(st.just(len(source)), st.integers(0, len(source))))]))
    if made is not None:
        assert opened(made).profile.is_matrix_shaper


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_gray_header(tail: bytes) -> None:
    gray_to_rgb(SOURCES[0][:128] + tail)
