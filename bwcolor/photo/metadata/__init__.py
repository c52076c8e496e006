"""What a file says beside its pixels: EXIF, XMP, IPTC, profiles, and how they are carried over."""
