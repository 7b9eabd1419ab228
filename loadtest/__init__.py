"""Load, failover and speed: what Apidex is measured with."""
