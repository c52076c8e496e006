"""How much a network is given at a time: the side of its tiles, and how many pictures a call."""

from dataclasses import replace

from bwcolor.errors import UsageError
from bwcolor.machine import memory
from bwcolor.session import Average, OnnxModel
from bwcolor.standing import SMALLEST_TILE

BATCH = 4  # pictures a call where memory allows: more gain nothing on a CPU
BYTES_A_PIXEL = 850  # of a call, at most: `default` in fp16 on a CPU; int8 takes 340 (benchmarks/tiles.py)
SHARE = 0.25  # of the free memory, for the calls of all photos in work


def portioned(model: OnnxModel | Average, tile: int, batch: int, jobs: int) -> OnnxModel | Average:
    """The model, with tiles and calls as the user wants them, or as free memory allows.

    tile: px, side of the tiles; 0 for the model's own, halved while a call does not fit. batch: pictures a call; 0 for
    BATCH, or fewer. jobs: photos at once. Raises UsageError for tiles that the model can't take.
    """
    room = int(SHARE * (memory().free or 1 << 60) / jobs)
    if isinstance(model, OnnxModel):
        return _portioned(model, tile, batch, room)
    each = [_portioned(one, tile, batch, room) if isinstance(one, OnnxModel) else one for one in model.networks]
    return replace(model, networks=tuple(each))


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
    return replace(network, spec=replace(spec, tile_size=side), pictures=min(network.pictures or pictures, pictures))


def _check(tile: int, network: OnnxModel) -> None:
    spec = network.spec
    if spec.shape == "square":
        raise UsageError(f"--tile {tile}: model {spec.name} sees whole photos only; leave --tile out.")
    if tile < SMALLEST_TILE or tile % spec.multiple:
        raise UsageError(
            f"--tile {tile}: model {spec.name} takes multiples of {spec.multiple} px, {SMALLEST_TILE} or more."
        )
