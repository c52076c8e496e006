"""All cases, in the groups that docs/formats.md has."""

from matrix.descriptions import asked_for, turned, with_profiles
from matrix.expected import Case
from matrix.kinds import jpegs, others, pngs, tiffs

GROUPS: dict[str, tuple[Case, ...]] = {
    "JPEG": jpegs(),
    "PNG": pngs(),
    "TIFF": tiffs(),
    "Other formats": others(),
    "Turned photos": turned(),
    "Profiles and metadata": with_profiles(),
    "Other formats asked for": asked_for(),
}
CASES = tuple(case for group in GROUPS.values() for case in group)
