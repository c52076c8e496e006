"""Arguments and options that several commands share."""

import enum
from typing import Annotated

import typer


class Detail(enum.StrEnum):
    """The choices of --detail."""

    FAST = "fast"
    AUTO = "auto"
    MAX = "max"


class Tones(enum.StrEnum):
    """The choices of --tones."""

    FULL = "full"
    AS_IS = "as-is"


class OutputFormat(enum.StrEnum):
    """The choices of --format; two have the usual endings of their files as second names."""

    JPEG = "jpeg"
    JPG = "jpg"
    PNG = "png"
    TIFF = "tiff"
    TIF = "tif"
    WEBP = "webp"
    AVIF = "avif"
    BMP = "bmp"


class Depth(enum.StrEnum):
    """The choices of --depth."""

    SAME = "same"
    EIGHT = "8"


class Sampling(enum.StrEnum):
    """The choices of --chroma."""

    HALF = "420"
    FULL = "444"


class ColorInput(enum.StrEnum):
    """The choices of --color-input."""

    SKIP = "skip"
    COPY = "copy"
    RECOLOR = "recolor"


class SidecarChoice(enum.StrEnum):
    """The choices of --sidecars."""

    COPY = "copy"
    SKIP = "skip"


class LabelChoice(enum.StrEnum):
    """The choices of --label."""

    XMP = "xmp"
    VISIBLE = "visible"
    NONE = "none"


class ProgressStyle(enum.StrEnum):
    """The choices of --progress."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Redo(enum.StrEnum):
    """The choices of --redo."""

    STALE = "stale"


Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:N, or cuda:0,1 for several GPUs; an explicit cuda never runs on the CPU."),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME|FILE.onnx|A+B",
        help="A model's name (`bwcolor models` lists them), an ONNX file, or two of those, whose colors are averaged.",
    ),
]  # fmt: skip
Strength = Annotated[float, typer.Option(help="How much color: 0 (gray) to 1 (all that the model gives).")]
DetailChoice = Annotated[
    Detail,
    typer.Option(
        help="fast: look at each photo once. auto: twice, which is better. max: in tiles too; slow, and rarely better."
    ),
]
TonesChoice = Annotated[
    Tones,
    typer.Option(
        help="What the model looks at. full: a copy with more contrast, if the photo is faded or dark. as-is: the photo"
        " as it is. The brightness of the output stays the photo's own."
    ),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse photos with more pixels than this.")]
MaxFilePixels = Annotated[
    int, typer.Option(min=1, help="Refuse TIFFs whose pages have more pixels than this, all taken together.")
]
