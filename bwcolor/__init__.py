"""bwcolor colorizes folders of old black-and-white photographs."""

import os

__version__ = "0.1.0"

# onnxruntime (from 1.29 on) would write an identifier into the home folder and send events to its makers. It looks for
# this when it is imported, so it must stand here; nothing of ours ever leaves the computer.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
