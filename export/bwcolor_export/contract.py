"""What a network made elsewhere takes and gives, as its owner says."""

from dataclasses import dataclass

from bwcolor.errors import UsageError
from bwcolor.models.spec import Range
from bwcolor.models.third_party import RANGE_PATTERN

# What our own training makes comes first; for the others the range has to be said.
INPUT_KINDS, OUTPUT_KINDS = ("luma", "l"), ("cbcr", "ab")
OUR_RANGES: dict[str, Range] = {"luma": (0.0, 1.0), "cbcr": (-0.5, 0.5)}


@dataclass(frozen=True, slots=True)
class Contract:
    """Kinds and ranges as in ModelSpec. arch: the recipe whose generator it is.

    plain: whether the output's kind or range was said, so that the last layer's own values are what
    counts; our generators multiply theirs by a constant.
    """

    arch: str
    input_kind: str
    output_kind: str
    input_range: Range
    output_range: Range
    plain: bool


def our_contract(recipe: str) -> Contract:
    """What our own training makes."""
    input_kind, output_kind = INPUT_KINDS[0], OUTPUT_KINDS[0]
    return Contract(recipe, input_kind, output_kind, OUR_RANGES[input_kind], OUR_RANGES[output_kind], plain=False)


def told_contract(
    arch: str, input_kind: str, output_kind: str, input_range: str, output_range: str
) -> Contract | None:  # fmt: skip
    """From the words of the command line, empty ones for what ours do; None without `arch`.

    Raises UsageError for what these networks don't know, or where a word is missing.
    """
    told = {
        "--input-kind": input_kind, "--output-kind": output_kind,
        "--input-range": input_range, "--output-range": output_range,
    }  # fmt: skip
    if not arch:
        extra = [option for option, text in told.items() if text]
        if extra:
            raise UsageError(f"{extra[0]}: only with --arch; a checkpoint of bwcolor train says it itself.")
        return None
    takes, takes_range = _end("--input", input_kind, input_range, INPUT_KINDS)
    gives, gives_range = _end("--output", output_kind, output_range, OUTPUT_KINDS)
    return Contract(arch, takes, gives, takes_range, gives_range, plain=bool(output_kind or output_range))


def _end(option: str, kind: str, text: str, known: tuple[str, ...]) -> tuple[str, Range]:
    """Kind and range of the input or the output."""
    if kind and kind not in known:
        raise UsageError(f"{option}-kind {kind}: these networks know only {' and '.join(known)}.")
    kind = kind or known[0]
    if not text and kind in OUR_RANGES:
        return kind, OUR_RANGES[kind]
    ends = RANGE_PATTERN.fullmatch(text.replace(" ", ""))
    if not ends:
        raise UsageError(f"{option}-range {text or 'is missing'}: say the two values for the ends as LOW,HIGH.")
    return kind, (float(ends[1]), float(ends[2]))
