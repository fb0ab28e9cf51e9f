"""Loading and encoding on other machines with Ray; one process here still commits."""
