"""All recipes side by side: trained for the same time on the same photos, judged on the same held-out ones.

    python benchmarks/recipes.py PHOTOS HELD_OUT --minutes 30 [--together] [--out runs/recipes] [--recipes NAME ...]
        [--set RECIPE:KEY=VALUE ...] [--variant NAME=RECIPE ...] [--all KEY=VALUE ...] [--every N]
        [--colourfulness 0.7] [--json FILE]

Each recipe trains on one processor thread by `bwcolor train`; --together runs all of them at once, so that whatever
else the machine does disturbs all alike. A run that is finished in --out is not repeated. Held-out photos: centre crop
to a square, area resize to 256 px, BT.601 gray input;
--every N takes one photo in N. A --variant is a recipe under another name, for --set to change; --all settings are
everybody's. Since a dull model gains PSNR, each is also scored with its
chroma multiplied so that its colourfulness is --colourfulness of the truth's.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from bwcolor_training.checkpoint import load_checkpoint
from bwcolor_training.config import recipes
from bwcolor_training.networks.build import build_generator

from bwcolor.batch.plan import find_jobs
from bwcolor.checks.evaluate import square
from bwcolor.imaging.color import luma
from bwcolor.imaging.gamut import compose_pixels
from bwcolor.imaging.metrics import Summary, colourfulness, score, summarize
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.session import load_model
from bwcolor.photo.scan import read_rgb

SIZE = 256  # px
STEPS = 12  # of the bisection of the factor on chroma
FACTORS = (0.1, 10.0)  # smallest and largest factor that is tried


def train(arguments: argparse.Namespace, names: list[str]) -> None:
    running = []
    for name in names:
        out = arguments.out / name
        if (out / "model.onnx").exists():
            continue
        settings = [*arguments.all, *(text.partition(":")[2] for text in arguments.set if text.startswith(f"{name}:"))]
        recipe = dict(text.split("=", 1) for text in arguments.variant).get(name, name)
        resume = ["--resume"] if (out / "last.pt").exists() else [w for text in settings for w in ("--set", text)]
        command = [
            sys.executable, "-m", "bwcolor", "train", str(arguments.photos), "--recipe", recipe, "--out", str(out),
            "--minutes", str(arguments.minutes), "--threads", "1", "--quiet", *resume,
        ]  # fmt: skip
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        if not arguments.together:
            running[-1].wait()
    if any(process.wait() for process in running):
        sys.exit("A run failed; what it said stands above.")


def judge(model_file: Path, held_out: Path, every: int, wanted: float) -> tuple[Summary, Summary, float]:
    """Scores as the model is, and with chroma times the factor that gives the wanted colourfulness ratio."""
    model = load_model(model_file, "cpu")
    photos = []
    for job in find_jobs(held_out, None).jobs[::every]:
        truth = square(read_rgb(job.source), SIZE)
        gray = np.round(luma(truth.astype(np.float32))).astype(np.uint8)
        photos.append((truth, gray, predict_chroma(gray, 1, model, "fast")))
    target = wanted * float(np.mean([colourfulness(truth) for truth, _, _ in photos]))

    def colours(factor: float) -> float:
        return float(np.mean([colourfulness(compose_pixels(gray, None, factor * c)) for _, gray, c in photos]))

    low, high = FACTORS
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if colours(middle) < target else (low, middle)
    factor = (low * high) ** 0.5
    plain, scaled = (
        summarize([score(compose_pixels(gray, None, f * c), truth) for truth, gray, c in photos]) for f in (1.0, factor)
    )
    return plain, scaled, factor


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--recipes", nargs="+", default=list(recipes()))
    parser.add_argument("--set", action="append", default=[], metavar="RECIPE:KEY=VALUE")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=RECIPE")
    parser.add_argument("--all", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--colourfulness", type=float, default=0.7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    variants = [text.partition("=")[0] for text in arguments.variant]
    names = variants or arguments.recipes
    train(arguments, names)
    rows = []
    columns = [
        "recipe", "parameters", "crops", "processor minutes", "crops / processor s", "PSNR dB", "CIEDE2000", "ratio",
        "factor", f"PSNR at {arguments.colourfulness:.0%}", "CIEDE2000",
    ]  # fmt: skip
    say("| " + " | ".join(columns) + " |")
    say("|---" * len(columns) + "|")
    for name in names:
        state = load_checkpoint(arguments.out / name / "model.pt")
        parameters = sum(p.numel() for p in build_generator(state.config, pretrained=False).parameters())
        file = arguments.out / name / "model.onnx"
        plain, scaled, factor = judge(file, arguments.held_out, arguments.every, arguments.colourfulness)
        say(
            f"| `{name}` | {parameters:,} | {state.photos:,} | {state.cpu_seconds / 60:.1f}"
            f" | {state.photos / state.cpu_seconds:.1f} | {plain.psnr:.2f} | {plain.de00:.2f}"
            f" | {plain.colourfulness_ratio:.0%} | {factor:.2f} | {scaled.psnr:.2f} | {scaled.de00:.2f} |"
        )
        rows.append({
            "recipe": name, "parameters": parameters, "crops": state.photos, "cpu_seconds": state.cpu_seconds,
            "psnr": plain.psnr, "de00": plain.de00, "ratio": plain.colourfulness_ratio, "factor": factor,
            "scaled_psnr": scaled.psnr, "scaled_de00": scaled.de00,
        })  # fmt: skip
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
