"""Integral probability metrics: Müller 1997, Sriperumbudur et al. 2012."""
