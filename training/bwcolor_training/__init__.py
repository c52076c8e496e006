"""Training of bwcolor's generators (PyTorch). Installed with the extra ``bwcolor[train]``."""
