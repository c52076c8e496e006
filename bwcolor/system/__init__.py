"""The computer: files that appear whole, disks, memory, processors, GPUs, packages."""
