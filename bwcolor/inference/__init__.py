"""Running a network: sessions, devices, failover, tiles, and the colors that come out."""
