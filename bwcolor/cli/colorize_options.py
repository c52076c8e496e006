"""The arguments and options of the main job."""

from pathlib import Path
from typing import Annotated

import typer

from bwcolor.cli.options import (
    ColorInput,
    Depth,
    LabelChoice,
    OutputFormat,
    ProgressStyle,
    Redo,
    Sampling,
    SidecarChoice,
)

Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTOS", readable=False, help="Folders, taken with their sub-folders, or photos."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Where the results go; by default PHOTOS_colored beside the input, for a single photo NAME_colored.",
    ),
]
Saturation = Annotated[float, typer.Option(help="Color multiplier, 0 to 4.")]
FormatChoice = Annotated[
    OutputFormat | None,
    typer.Option("--format", case_sensitive=False, help="Format of the outputs; by default each photo's own."),
]
DepthChoice = Annotated[Depth, typer.Option(help="8: write 8 bits even where a photo has more.")]
ChromaChoice = Annotated[Sampling, typer.Option(help="Resolution of color in JPEG and AVIF: half (420) or full (444).")]
ChromaQuality = Annotated[int, typer.Option(min=1, max=100, help="JPEG quality of color.")]
ColorInputChoice = Annotated[ColorInput, typer.Option(help="What to do with photos that are already in color.")]
LabelOption = Annotated[
    LabelChoice, typer.Option(help="xmp: note in the metadata how an output was made. visible: mark a corner as well.")
]
Sidecars = Annotated[
    SidecarChoice, typer.Option(help="XMP and JSON files that describe photos: copy them beside the outputs, or not.")
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Take only files that match, such as '*.tif'. Repeatable."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave out files and folders that match. Repeatable.")
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Take hidden, trash, and thumbnail folders too.")]
FromFile = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Take only the photos listed in a file; - is standard input."),
]
Null = Annotated[bool, typer.Option("--null", "-0", help="LIST is NUL-separated.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Work on at most N photos in this run.")]
Flat = Annotated[bool, typer.Option("--flat", help="Put all outputs into one folder, called roll1_01.jpg.")]
Suffix = Annotated[str, typer.Option(metavar="TEXT", help="Text inserted before the file extension, such as _colored.")]
RedoChoice = Annotated[
    Redo | None, typer.Option(help="stale: colorize again what was made with another model or other settings.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try photos again that failed in an earlier run.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Colorize everything again, and replace whatever has the names of outputs.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be done; write nothing.")]
Watch = Annotated[bool, typer.Option("--watch", help="Keep running, and colorize new photos as they arrive.")]
Ledger = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where to keep the record of what is done; by default in the output folder."),
]
Report = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Report file, .jsonl or .csv, or none; by default in the output folder."),
]
ProgressChoice = Annotated[
    ProgressStyle, typer.Option(help="rich: a progress bar. plain: lines. json: records on standard output.")
]
Timeout = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", help="Time limit for each photo, or each page of one.")
]
Jobs = Annotated[int, typer.Option(min=0, help="Photos to work on at once; 0: one per core, at most 16.")]
Tile = Annotated[int, typer.Option(min=0, metavar="PX", help="Side of the tiles of --detail max; 0: the model's own.")]
Batch = Annotated[int, typer.Option(min=0, help="Tiles given to the network at once; 0: as memory allows, at most 4.")]
MaxPages = Annotated[int, typer.Option(min=1, help="Refuse TIFFs with more pages than this.")]
MaxMemory = Annotated[
    int, typer.Option(min=0, metavar="MB", help="Most memory to use; 0: four fifths of the computer's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed or was left out.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print a line for every photo, and what exactly runs where.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where inside bwcolor an error comes from.")]
