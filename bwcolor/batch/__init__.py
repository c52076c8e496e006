"""A run over many photos that loses none: ledger, worker process, report."""
