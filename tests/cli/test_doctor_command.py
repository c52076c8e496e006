"""`bwcolor doctor`: on this machine as it is, and on machines that lack something."""

import getpass
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from bwcolor import __version__
from bwcolor.checks import doctor
from bwcolor.cli.doctor import doctor as command
from bwcolor.inference import registry
from bwcolor.inference.registry import Entry, bundled_models
from bwcolor.models import names as modelnames
from bwcolor.system import nvidia
from bwcolor.system.packages import install_line

LINE = re.compile(r"(ok|-|FAIL) +(\S+(?: \S+)*?)  +(.+)")
STATES = {"ok": "ok", "-": "absent", "FAIL": "bad"}
CHANGING = re.compile(r"\d+\.\d+ (s|ms|GB)\b")  # times, and free memory and disk
SCRIPT = """
import sys
import typer
from bwcolor.cli.doctor import doctor
{before}
app = typer.Typer(rich_markup_mode=None, add_completion=False)
app.command()(doctor)
try:
    app(sys.argv[1:])
finally:
    print(*(sys.modules), file=sys.stderr)
"""


def run(*arguments: str) -> Result:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def run_alone(
    *arguments: str, before: str = "", cwd: Path | None = None, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """In a process of its own. environment: variables to set, or to take away (None)."""
    variables = {**os.environ, **environment}
    line = [sys.executable, "-c", SCRIPT.format(before=before), *arguments]
    wanted = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(line, capture_output=True, text=True, env=wanted, cwd=cwd, check=False)


def lines(text: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(section, name) -> (state, the rest of its line)."""
    found, section = {}, ""
    for line in text.splitlines():
        if match := LINE.fullmatch(line):
            found[section, match[2]] = STATES[match[1]], match[3]
        else:
            section = line
    return found


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an NVIDIA GPU, wherever the tests run."""
    monkeypatch.setattr(nvidia, "driver", lambda: None)
    monkeypatch.setattr(nvidia, "gpu_without_driver", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_text_and_json_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, as_json = run(), run("--json")
    assert (text.exit_code, as_json.exit_code) == (0, 0), text.output
    assert (text.stderr, as_json.stderr) == ("", "")
    report = json.loads(as_json.stdout)
    assert {name: report[name] for name in ("format", "bwcolor", "exit_code", "devices")} == {
        "format": 1, "bwcolor": __version__, "exit_code": 0, "devices": ["cpu"],
    }  # fmt: skip
    told = lines(text.stdout)
    assert len(told) == sum(map(len, report["findings"].values()))
    for (section, name), (state, words) in told.items():
        entry = report["findings"][section][name]
        said = entry["words"] + (f". Next: {entry['step']}" if entry["step"] else "")
        assert (state, CHANGING.sub("", words)) == (entry["state"], CHANGING.sub("", said))
    assert list(report["findings"]) == ["system", "packages", "formats", "devices", "models", "disk"]
    cpu = report["findings"]["devices"]["cpu"]["facts"]
    assert cpu["ran"]
    assert 0 < cpu["median_seconds"] < 10
    assert cpu["colourfulness"] > registry.GRAY
    assert report["findings"]["formats"]["written"]["facts"]["formats"] == [
        "jpeg",
        "png",
        "tiff",
        "webp",
        "avif",
        "bmp",
    ]
    assert text.stdout.endswith("Photos can be colorized here, on cpu.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_gpu")
def test_hashes_are_computed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    models = json.loads(run("--json").stdout)["findings"]["models"]
    for path in bundled_models()["default"].files.values():
        facts = models[path.name]["facts"]
        assert facts["sha256"] == facts["on_record"] == modelnames.SHA256[path.name]
    monkeypatch.setitem(modelnames.SHA256, "default-fp16.onnx", "0" * 64)
    result = run()
    assert result.exit_code == 4
    state, words = lines(result.stdout)["models", "default-fp16.onnx"]
    assert state == "bad"
    assert f"on record is {'0' * 64}. Next: install bwcolor again" in words
    assert "Photos can't be colorized here" in result.stdout


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("damage", ["byte", "gone"])
def test_a_damaged_bundled_model(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = bundled_models()["default"]
    files = {precision: Path(shutil.copy(path, tmp_path)) for precision, path in entry.files.items()}
    content = bytearray(files["int8"].read_bytes())
    content[len(content) // 2] ^= 1
    files["int8"].write_bytes(content)
    if damage == "gone":
        files["int8"].unlink()
    monkeypatch.setattr(
        registry, "bundled_models", lambda: {"default": Entry("default", "bundled", files, entry.sha256)}
    )
    result = run()
    assert result.exit_code == 4
    told = lines(result.stdout)
    assert told["models", "default-int8.onnx"][0] == "bad"
    assert told["models", "default-fp16.onnx"][0] == "ok"


@pytest.mark.usefixtures("no_gpu")
def test_a_damaged_model_that_was_added(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BWCOLOR_MODELS", str(tmp_path))
    file = registry.find_model(str(tiny_model)).files[""]
    from bwcolor.models.modelfile import read_model_file

    read = read_model_file(file)
    registry.add_model(read, read.spec(), "mine")
    assert lines(run().stdout)["models", "mine.onnx"][0] == "ok"
    with (tmp_path / "mine.onnx").open("ab") as out:
        out.write(b"\0")
    result = run()
    assert lines(result.stdout)["models", "mine.onnx"][0] == "bad"
    assert result.exit_code == 0, "the default model works"


def test_a_model_that_paints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "try_out", lambda model: registry.Trial(0.1, 0.0))
    result = run()
    assert result.exit_code == 4
    state, words = lines(result.stdout)["devices", "cpu"]
    assert state == "bad"
    assert "hardly any colour. Next: " in words


@pytest.mark.parametrize("module", ["cv2", "onnxruntime", "numpy", "PIL"])
def test_a_missing_package(module: str) -> None:
    names = {"cv2": "opencv-python-headless", "onnxruntime": "onnxruntime", "numpy": "numpy", "PIL": "pillow"}
    before = (
        f"sys.modules[{module!r}] = None\nfrom importlib import metadata\ntrue = metadata.version\n"
        f"def version(name):\n    if name.startswith({names[module]!r}): raise metadata.PackageNotFoundError(name)\n"
        "    return true(name)\nmetadata.version = version"
    )
    result = run_alone(before=before)
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr
    (found,) = [
        words
        for (section, name), (_, words) in lines(result.stdout).items()
        if section == "packages" and name.startswith(names[module]) and name != "pillow-heif"
    ]
    assert re.match(rf"not installed\. Next: pip install \"?{names[module]}", found)
    assert json.loads(run_alone("--json", before=before).stdout)["exit_code"] == 3


@pytest.mark.usefixtures("no_gpu")
def test_both_onnxruntimes(monkeypatch: pytest.MonkeyPatch) -> None:
    true = metadata.version
    versions = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"}
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or true(name))
    result = run()
    assert result.exit_code == 0, "it runs here"
    told = lines(result.stdout)
    ((state, words),) = [told[key] for key in told if key[1].startswith("onnxruntime")]
    assert state == "bad"
    assert "onnxruntime-gpu 1.31.1, onnxruntime 1.30.0" in words
    assert "Next: pip uninstall -y onnxruntime-gpu onnxruntime, and then pip install" in words


def _driver(cuda: tuple[int, int] = (13, 0), obstacle: str = "") -> nvidia.Driver:
    gpus = () if obstacle else (nvidia.Gpu("NVIDIA T4", 16 * 10**9),)
    return nvidia.Driver("580.95.05", cuda, gpus, obstacle)


def _devices(monkeypatch: pytest.MonkeyPatch, driver: nvidia.Driver, built: str = "13.0") -> dict[str, Any]:
    monkeypatch.setattr(nvidia, "driver", lambda: driver)
    monkeypatch.setattr(nvidia, "cuda_of_onnxruntime", lambda: built)
    result = run()
    assert result.exit_code == 0, "the CPU works"
    return {name: found for (section, name), found in lines(result.stdout).items() if section == "devices"}


def test_a_driver_without_cuda_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "LIBRARIES", {sys.platform: ("libno-such.so.{major}",)})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = _devices(monkeypatch, _driver())
    assert told["nvidia driver"] == ("ok", "580.95.05, up to CUDA 13.0; NVIDIA T4 (16.0 GB)")
    state, words = told["cuda libraries"]
    assert state == "bad"
    assert "missing or damaged: libno-such.so.13" in words
    assert f"Next: {install_line('cuda')}" in words
    state, words = told["cuda:0"]
    assert state == "bad"
    assert words
    assert ". Next: " in words
    assert told["cpu"][0] == "ok"


def test_other_troubles_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    state, words = _devices(monkeypatch, _driver((12, 4)))["cuda libraries"]
    assert (state, words) == (
        "bad", "onnxruntime needs CUDA 13.0, the driver is too old for it. Next: update NVIDIA's driver",
    )  # fmt: skip
    state, words = _devices(monkeypatch, _driver(), built="")["cuda libraries"]
    assert (state, words.partition(". ")[0]) == ("bad", "this onnxruntime is built without CUDA")
    monkeypatch.setattr(nvidia, "LIBRARIES", {})
    told = _devices(monkeypatch, _driver((0, 0), "it can't be started (CUDA error 999)"))
    assert told["nvidia driver"][0] == "bad"
    assert "580.95.05: it can't be started (CUDA error 999). Next: " in told["nvidia driver"][1]
    assert "cuda:0" in told


def test_a_gpu_that_has_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda: None)
    monkeypatch.setattr(nvidia, "gpu_without_driver", lambda: True)
    result = run()
    assert lines(result.stdout)["devices", "nvidia driver"][0] == "bad"
    assert result.exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="HOME is not what names the home folder")
@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_nothing_names_the_user_or_the_machine(arguments: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "secret-home"
    temporary = home / "scratch"
    temporary.mkdir(parents=True)
    result = run_alone(
        *arguments,
        cwd=home,
        HOME=str(home),
        TMPDIR=str(temporary),
        BWCOLOR_MODELS=str(home / "models"),
        LOGNAME="zoe-x",
    )
    assert result.returncode == 0, result.stderr
    assert "secret-home" not in result.stdout
    assert "~/scratch" in result.stdout
    assert "~/models" in result.stdout
    assert "zoe-x" not in result.stdout
    for word in (platform.node(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(word)}\b", re.sub(r"/dev/vda\w*", "", result.stdout)) or len(word) < 4


@pytest.mark.skipif(sys.platform != "linux", reason="nobody can write to Linux' /proc")
def test_without_home_in_a_folder_that_cannot_be_written() -> None:
    result = run_alone(cwd=Path("/proc"), HOME=None, BWCOLOR_MODELS=None, XDG_DATA_HOME=None)
    assert result.returncode == 0, result.stderr
    state, words = lines(result.stdout)["disk", "current folder"]
    assert state == "absent"
    assert "can't be written" in words


@pytest.mark.usefixtures("no_gpu")
def test_no_home_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("BWCOLOR_MODELS")
    monkeypatch.setattr(Path, "home", nowhere)
    result = run()
    assert result.exit_code == 0
    assert lines(result.stdout)["disk", "models folder"][0] == "bad"
    assert "set BWCOLOR_MODELS" in result.stdout


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert lines(run().stdout)["disk", "current folder"][0] == "absent"
    finally:
        tmp_path.chmod(0o700)


def test_torch_is_never_imported_and_help_is_quick() -> None:
    assert not {"torch", "torchvision", "onnx"} & set(run_alone("--json").stderr.split())
    result = run_alone("--help")
    assert "--json" in result.stdout
    assert "format (1)" not in result.stdout, "what is for programs is in the docstring only"
    assert not {"numpy", "cv2", "PIL", "onnxruntime", "rich.progress"} & set(result.stderr.split())


def test_names_are_printed_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd() -> Any:
        yield doctor.Finding("system", "os", "ok", "a\x1b[31m\nb \u202e")

    monkeypatch.setattr(doctor, "CHECKS", {"system": odd})
    assert "\x1b" not in run().stdout
    assert "\u202e" not in run().stdout
    assert "\\u202e" in run("--json").stdout


def test_the_issue_form_asks_for_it(repository: Path) -> None:
    form = (repository / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    for words in ("bwcolor doctor", "bwcolor-report.jsonl", "no private photos", "The command"):
        assert words in form
    names = re.findall(r"^    id: (\w+)$", form, re.MULTILINE)
    assert len(names) == len(set(names)) >= 4
