"""How much a network is given at a time: the side of its tiles, and how many pictures a call."""

from dataclasses import replace

from bwcolor.errors import UsageError
from bwcolor.inference.failover import SMALLEST_TILE
from bwcolor.inference.onnx_model import BATCH, OnnxModel
from bwcolor.inference.session import Average
from bwcolor.models.spec import MAX_SIDE
from bwcolor.system.machine import memory

# Of a call at most: peak memory of `default` in fp16 on a CPU, 1 to 8 pictures of 96 to 768 px; int8 takes 340.
BYTES_A_PIXEL = 850
SHARE = 0.25  # of the free memory, for the calls of all photos in work


def portioned(model: OnnxModel | Average, tile: int, batch: int, jobs: int, most: int = 0) -> OnnxModel | Average:
    """The model, with tiles and calls as the user wants them, or as free memory allows.

    tile: px, side of the tiles; 0 for the model's own, halved while a call does not fit. batch: pictures a call; 0 for
    BATCH, or fewer. jobs: photos at once. most: bytes of memory that may be used; 0 for the machine's. Raises
    UsageError for tiles that the model can't take.
    """
    found = memory()
    room = int(SHARE * min((size for size in (found.free, found.most, most) if size), default=1 << 60) / jobs)
    if isinstance(model, OnnxModel):
        return _portioned(model, tile, batch, room)
    loaded = [one for one in model.networks if isinstance(one, OnnxModel)]
    tiled = [one for one in loaded if one.spec.shape != "square"] or loaded  # who sees whole photos only keeps to that
    return replace(
        model,
        networks=tuple(_portioned(one, tile, batch, room) if one in tiled else one for one in loaded),
    )


def _portioned(network: OnnxModel, tile: int, batch: int, room: int) -> OnnxModel:
    spec = network.spec
    if tile:
        _check(tile, network)
    side, pictures = tile or spec.tile_size, batch or BATCH

    def fits() -> bool:
        return BYTES_A_PIXEL * pictures * side**2 <= room

    while not batch and pictures > 1 and not fits():
        pictures //= 2
    while not tile and side // 2 >= SMALLEST_TILE and side // 2 % spec.multiple == 0 and not fits():
        side //= 2
    pictures = 1 if network.pictures == 1 else pictures  # a file that takes one picture a call
    return replace(network, spec=replace(spec, tile_size=side), pictures=pictures)


def _check(tile: int, network: OnnxModel) -> None:
    spec = network.spec
    if spec.shape == "square":
        raise UsageError(f"--tile {tile}: model {spec.name} sees whole photos only; leave --tile out.")
    if not SMALLEST_TILE <= tile <= MAX_SIDE or tile % spec.multiple:
        limits = f"from {SMALLEST_TILE} to {MAX_SIDE}"
        raise UsageError(f"--tile {tile}: model {spec.name} takes multiples of {spec.multiple} px {limits}.")
