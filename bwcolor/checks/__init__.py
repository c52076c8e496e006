"""Looking back, at results and at the machine: verify, evaluate, doctor."""
