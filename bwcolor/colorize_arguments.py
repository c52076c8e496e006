"""The arguments and options of the main job."""

from pathlib import Path
from typing import Annotated

import typer

from bwcolor.arguments import ColorInput, Depth, LabelChoice, OutputFormat, ProgressStyle, Redo, Sampling, SidecarChoice

Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTOS...", readable=False, help="Folders, taken with their sub-folders, or photos."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Where the colour photos go; by default PHOTOS_colored beside the input, for one photo NAME_colored.",
    ),
]
Saturation = Annotated[float, typer.Option(help="A further factor on colour, 0 to 4.")]
FormatChoice = Annotated[
    OutputFormat | None, typer.Option("--format", help="Of the outputs; by default each photo's own.")
]
DepthChoice = Annotated[Depth, typer.Option(help="8 writes 8 bits of photos that have more.")]
ChromaChoice = Annotated[
    Sampling, typer.Option(help="Resolution of colour in JPEG and AVIF: half (420) or full (444).")
]
ChromaQuality = Annotated[int, typer.Option(min=1, max=100, help="JPEG quality of colour.")]
ColorInputChoice = Annotated[ColorInput, typer.Option(help="What becomes of photos that are in colour already.")]
LabelOption = Annotated[
    LabelChoice, typer.Option(help="xmp: outputs say in metadata how they were made. visible: so does a mark.")
]
Sidecars = Annotated[
    SidecarChoice, typer.Option(help="XMP and JSON files that describe photos: copy them beside the outputs, or not.")
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Take only what fits, such as '*.tif'. Repeatable."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave out files and folders that fit. Repeatable.")
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Take hidden, trash, and thumbnail folders too.")]
FromFile = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Take only the photos that a file lists; - is standard input."),
]
Null = Annotated[bool, typer.Option("--null", "-0", help="Names in LIST end with NUL instead of lines.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Work on at most N photos in this run.")]
Flat = Annotated[bool, typer.Option("--flat", help="Put all outputs into one folder, called roll1_01.jpg.")]
Suffix = Annotated[str, typer.Option(metavar="TEXT", help="Put before the ending of outputs: _colored.")]
RedoChoice = Annotated[
    Redo | None, typer.Option(help="stale: photos made with another model or other settings are made anew.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try photos again that failed for good in an earlier run.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make all anew, and replace whatever has their names.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")]
Watch = Annotated[bool, typer.Option("--watch", help="Go on with photos that come into the folders later.")]
Ledger = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Record of what is done; by default in the output folder.")
]
Report = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Report, .jsonl, .csv or none; by default in the output folder."),
]
ProgressChoice = Annotated[
    ProgressStyle, typer.Option(help="rich: a bar. plain: lines. json: records on standard output.")
]
Timeout = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Give up a photo, or a page, after so long.")]
Jobs = Annotated[int, typer.Option(min=0, help="Photos worked on at once; 0: one per core, at most 16.")]
Tile = Annotated[int, typer.Option(min=0, metavar="PX", help="Side of the tiles of --detail max; 0: the model's own.")]
Batch = Annotated[int, typer.Option(min=0, help="Tiles given to the network at once; 0: as memory allows, at most 4.")]
MaxPages = Annotated[int, typer.Option(min=1, help="Refuse TIFFs with more pages than this.")]
MaxMemory = Annotated[
    int, typer.Option(min=0, metavar="MB", help="Memory that may be used; 0: four fifths of the computer's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed or was left out.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every photo.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where inside bwcolor an error came from.")]
