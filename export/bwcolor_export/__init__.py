"""From a checkpoint to a self-describing ONNX file. Installed with the extra ``bwcolor[train]``."""
