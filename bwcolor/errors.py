"""The errors that bwcolor raises on purpose. Each message names the file and the next thing to try.

BwcolorError                exit code of the command
|-- UsageError              2   options or arguments that do not fit together
|-- DeviceError             3   device missing, or a package that is not installed
|-- ModelError              4   a model file that can't be used
|-- FolderError             5   input or output folder can't be used, disk full
|-- NoPhotosError           6   nothing to colorize
|-- BusyError               7   another run holds the output folder
`-- PhotoError              1   one photo can't be read, colorized or written; the run goes on
    `-- PassingError            the same, of a cause that may be gone when it is tried again
"""


class BwcolorError(Exception):
    """Base of all errors below; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(BwcolorError):
    exit_code = 2


class DeviceError(BwcolorError):
    exit_code = 3


class ModelError(BwcolorError):
    exit_code = 4


class FolderError(BwcolorError):
    exit_code = 5


class NoPhotosError(BwcolorError):
    exit_code = 6


class BusyError(BwcolorError):
    exit_code = 7


class PhotoError(BwcolorError):
    exit_code = 1


class PassingError(PhotoError):
    pass
