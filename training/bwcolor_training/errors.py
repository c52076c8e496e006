"""Errors of training that a user can mend; the command line prints them as one sentence."""

from bwcolor.errors import BwcolorError


class TrainingInputError(BwcolorError):
    """Photos, recipe, weights or checkpoint that training can't work with. Exit code 2."""

    exit_code = 2
