"""The command `bwcolor eval`: how good a model's colours are, under stated protocols.

Heavy packages are imported inside the command, so that --help stays quick.
"""

import enum
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bwcolor.cli.exit_codes import EXIT_SOME_FAILED, errors_as_sentences
from bwcolor.cli.options import Detail, DetailChoice, Device, MaxPixels, ModelName, Strength, Tones, TonesChoice
from bwcolor.errors import NoPhotosError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bwcolor.batch.progress import RunView
    from bwcolor.checks.equal_colorfulness import Factors
    from bwcolor.checks.eval_report import Measured
    from bwcolor.checks.evaluate import Evaluation, Found, Measure


class ProtocolName(enum.StrEnum):
    """The choices of --protocol, as in evaluate.PROTOCOLS."""

    CROP = "crop"
    RESIZE = "resize"
    NATIVE = "native"


class DamageName(enum.StrEnum):
    """The choices of --damage, as in damage.DAMAGES."""

    FADED = "faded"
    VERY_FADED = "very-faded"
    DARK = "dark"
    CLIPPED = "clipped"
    FOG = "fog"


def evaluate(
    photos: Annotated[Path, typer.Argument(help="A folder of color photos, or a single one.")],
    model: ModelName = "default",
    device: Device = "auto",
    strength: Strength = 1.0,
    detail: DetailChoice = Detail.AUTO,
    tones: TonesChoice = Tones.FULL,
    protocol: Annotated[
        list[ProtocolName] | None,
        typer.Option(
            help="crop: centre square at --size, as most papers do. resize: squashed to --size. native: whole photos as"
            " they are. May be repeated; by default all three."
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="px of the squares of crop and resize.")] = 256,
    damage: Annotated[
        DamageName | None,
        typer.Option(
            help="Damage the photos first, always in the same way: faded, very-faded, dark or clipped scans, or fog."
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Also list this many photos with the largest error.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures, also of each photo, to this file.")
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write the figures beside the model too, for `bwcolor models info`.")
    ] = False,
    max_pixels: MaxPixels = 300_000_000,
) -> None:
    """Measure a model: make colour photos gray, colorize them, compare with the truth."""
    with errors_as_sentences():
        from bwcolor.batch.plan import find_jobs
        from bwcolor.batch.progress import RunView
        from bwcolor.checks.eval_report import check_json, with_card, write_card, write_json
        from bwcolor.checks.evaluate import Measure
        from bwcolor.inference.registry import load
        from bwcolor.options import ColorizeOptions
        from bwcolor.system.text import printable

        if json_file:
            check_json(json_file)
        options = ColorizeOptions(strength=strength, detail=detail.value, tones=tones.value, max_pixels=max_pixels)
        names = list(dict.fromkeys(one.value for one in protocol or ProtocolName))
        plan = find_jobs(photos, None)
        paths = [job.source for job in plan.jobs]
        with RunView(2 * len(paths), photos.absolute(), 0) as view:  # two rounds
            network = load(model, device)
            view.say(*network.lines)
            owner = with_card(network) if card else None
            for left in plan.left_out:
                view.leave_out(left)
            if plan.hidden:
                view.say(plan.hidden.without_advice())
            measure = Measure(network, options, names, size, damage.value if damage else None)
            results, factors = _both_rounds(paths, measure, view)
        if not results:
            raise NoPhotosError(f"{photos}: none of its {len(paths)} photos can be evaluated.")
        typer.echo(printable(f"Model {network.label}"))
        measured = _by_protocol(results, factors, measure, len(paths) - len(results))
        if json_file:
            write_json(json_file, network, photos, measured)  # first, so that a closed pipe does not lose it
        for one in measured:
            _print_scores(one, worst)
        if json_file:
            typer.echo(printable(f"Written to {json_file}"))
        if owner:
            typer.echo(printable(f"Written to {write_card(owner, photos, measured)}"))
        if len(results) < len(paths) or any(left.failed for left in plan.left_out):
            raise typer.Exit(EXIT_SOME_FAILED)


def _both_rounds(
    paths: list[Path], measure: "Measure", view: "RunView"
) -> "tuple[list[list[Evaluation]], list[Factors]]":
    """The evaluations of each photo that both rounds could measure, in the order of paths, and each protocol's
    factors."""
    from bwcolor.checks.evaluate import equal_factors, evaluate_equal, evaluate_photos

    def heard(outcomes: "Iterable[tuple[Path, Found]]") -> "dict[Path, list[Evaluation]]":
        found = {}
        for path, outcome in outcomes:
            if isinstance(outcome, list):
                found[path] = outcome
            else:
                view.fail(path, str(outcome))
            view.advance(path)
        return found

    first = heard(evaluate_photos(paths, measure))
    if not first:
        return [], []
    factors = equal_factors([first[path] for path in paths if path in first])  # they ended in any order
    second = heard(evaluate_equal(first, factors, measure))
    return [second[path] for path in paths if path in second], factors


def _by_protocol(
    results: "list[list[Evaluation]]", factors: "list[Factors]", measure: "Measure", failed: int
) -> "list[Measured]":
    from bwcolor.checks.damage import DAMAGES
    from bwcolor.checks.eval_report import Measured
    from bwcolor.checks.evaluate import PROTOCOLS

    options = measure.options
    told = f"; BT.601 gray input; detail {options.detail}; tones {options.tones}; strength {options.strength:g}"
    if measure.damage:
        told += f"; damage {measure.damage}, {DAMAGES[measure.damage].words}"
    return [
        Measured(name, PROTOCOLS[name].words.format(size=measure.size) + told, list(evaluations), failed, of)
        for name, evaluations, of in zip(measure.names, zip(*results, strict=True), factors, strict=True)
    ]


def _print_scores(measured: "Measured", worst: int) -> None:
    from bwcolor.checks.evaluate import calibration
    from bwcolor.imaging.metrics import HUES, summarize
    from bwcolor.system.text import printable

    results = measured.results
    typer.echo(f"\nProtocol: {measured.protocol}; means over {len(results)} photos")
    typer.echo(
        f"{'':8}{'PSNR dB':>9}{'SSIM':>8}{'CIEDE2000':>11}{'median':>8}{'worst 10 %':>12}{'colourfulness':>15}"
        f"{'of truth':>10}"
    )
    model, gray = summarize([r.model for r in results]), summarize([r.gray for r in results])
    for name, one in (("model", model), ("gray", gray)):
        ratio = f"{100 * one.colourfulness_ratio:.1f} %"
        typer.echo(
            f"{name:8}{one.psnr:9.2f}{one.ssim:8.4f}{one.de00:11.2f}{one.de00_median:8.2f}{one.de00_worst:12.2f}"
            f"{one.colourfulness:15.2f}{ratio:>10}"
        )
    typer.echo(f"{'truth':8}{'':48}{model.colourfulness_truth:15.2f}")
    typer.echo(
        f"Colourfulness off by: difference of means {model.difference_of_means:.2f}, mean of differences"
        f" {model.mean_difference:.2f}. Blotches (99.9th percentile of a*b* jumps where L* is smooth):"
        f" {model.blotches:.1f}, truth {model.blotches_truth:.1f}"
    )
    ours, truth = (sum(getattr(r, of) for r in results) / len(results) for of in ("hues", "hues_truth"))
    shares = ", ".join(f"{hue} {100 * a:.0f} ({100 * b:.0f})" for hue, a, b in zip(HUES, ours, truth, strict=True))
    typer.echo(f"Pixels by hue, % (truth): {shares}")
    _print_equal(measured)
    if doubt := calibration(results):
        fifths = ", ".join(f"{b:.1f} (doubt {a:.1f})" for a, b in zip(doubt.doubts, doubt.errors, strict=True))
        correlation = "not known" if math.isnan(doubt.correlation) else f"{doubt.correlation:.2f}"
        typer.echo(
            f"CIEDE2000 of the least doubtful fifth of the photos to that of the most: {fifths}; correlation of ranks"
            f" {correlation}"
        )
    for result in sorted(results, key=lambda r: -r.model.de00)[:worst]:
        typer.echo(
            printable(f"{result.path}: CIEDE2000 {result.model.de00:.2f} (gray {result.gray.de00:.2f}),")
            + f" PSNR {result.model.psnr:.2f} dB (gray {result.gray.psnr:.2f})"
        )


def _print_equal(measured: "Measured") -> None:
    """What the outputs are worth when one factor makes them as colorful as a share of the truth."""
    from bwcolor.checks.equal_colorfulness import HARM, SHARES

    for share, one in zip(SHARES, measured.equal(), strict=True):
        asked = f"At {share:.0%} of the truth's colorfulness"
        if one is None:
            typer.echo(f"{asked}: can't be reached, the colors are too weak, or the photos have none")
            continue
        typer.echo(
            f"{asked} (chroma x {one.factor:.2f} gives {100 * one.reached:.1f} %): PSNR {one.psnr:.2f} dB, CIEDE2000"
            f" {one.de00:.2f}; {100 * one.harmed:.1f} % of the photos are more than {HARM:g} worse than gray"
        )
