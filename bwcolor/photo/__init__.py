"""A photo's file: reading scans, writing color photos."""
